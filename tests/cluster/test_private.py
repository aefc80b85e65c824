"""What two hosts of a lab say to each other can be read on the way, but not with a secret."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
import safetensors.numpy
from command import COMMAND, firetree

from firetree.wires import new_secret

HOST = r"""
unset GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME
if [ $RANK = 0 ]; then
  {python} {folder}/capture.py {folder}/capture &
  listener=$!
  trap 'kill $listener' EXIT
  until [ -e {folder}/capture ]; do sleep 0.05; done
fi
{command} train digits --optim.steps 2 --optim.lr 1e-30 --run-dir {folder}/run
"""

CAPTURE = """
import socket, sys
packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
packets.bind(("eth0", 0))
with open(sys.argv[1], "wb", buffering=0) as file:
    while True:
        file.write(packets.recv(1 << 17))
"""


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("private", [False, True])
def test_weights_and_recipe_are_on_the_wire_only_without_a_secret(
    tmp_path: Path, private: bool
) -> None:
    (tmp_path / "capture.py").write_text(CAPTURE)
    folder, command = shlex.quote(str(tmp_path)), [*COMMAND]
    if private:
        new_secret(tmp_path / "secret")
        command += ["--secret", str(tmp_path / "secret")]
    script = tmp_path / "host.sh"
    script.write_text(
        HOST.format(folder=folder, python=sys.executable, command=shlex.join(command))
    )
    code, _, err = firetree("lab", "--hosts", 2, "--rate", "200mbit", "--", "bash", script)
    assert code == 0, err
    assert ("in private" if private else "in clear") in err
    captured = (tmp_path / "capture").read_bytes()
    [weights] = tmp_path.glob("run/checkpoints/step-*/model.safetensors")
    tensors = safetensors.numpy.load_file(weights)  # those of the start: the rate is next to none
    pieces = [tensor.tobytes()[:64] for tensor in tensors.values() if tensor.nbytes >= 1024]
    assert len(pieces) > 5
    assert len(captured) > 500_000
    read = [piece in captured for piece in pieces]
    assert not any(read) if private else sum(read) > len(pieces) / 2
    assert (b"squeezenet_small" in captured) is not private


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--sync.algorithm", "gloo"), "Gloo's all-reduce cannot be private"),
        (("--secret",), "--secret has no value; expected a file of firetree secret new"),
        (("--secret", "missing.pem"), "missing.pem: No such file or directory"),
        (("--secret=missing.pem",), "missing.pem: No such file or directory"),
    ],
)
def test_what_cannot_be_private_is_refused_in_one_line(
    tmp_path: Path, options: tuple[str, ...], complaint: str
) -> None:
    secret = tmp_path / "secret"
    new_secret(secret)
    run = ("train", "digits", "--workers", 2, "--run-dir", tmp_path / "run", "--optim.steps", 2)
    ours = () if options[0].startswith("--secret") else ("--secret", secret)
    code, _, err = firetree(*run, *ours, *options)
    assert (code, err.count("\n")) == (2, 1), err
    assert complaint in err


def test_a_secret_for_what_sends_nothing_is_refused_in_one_line(tmp_path: Path) -> None:
    code, _, err = firetree("report", tmp_path, "--secret", tmp_path / "secret")
    assert (code, err.count("\n")) == (2, 1), err
    assert "--secret is for train, run, probe, bench, sweep, lab; report sends nothing" in err


def test_a_run_in_private_plans_without_gloo(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    new_secret(secret)
    run = ("train", "digits", "--workers", 2, "--run-dir", tmp_path / "run", "--optim.steps", 2)
    code, _, err = firetree(*run, "--secret", secret, "--plan", "auto")
    assert code == 0, err
