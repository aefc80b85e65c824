"""A command on one machine opens no port that another machine can reach, and runs nobody's code."""

from __future__ import annotations

import os
import pickle
import socket
import time
from pathlib import Path

import pytest
from command import LIMIT_S, descendants, free_port, start
from test_resume import wait_for_workers

COMMANDS = {
    "train": ("train", "digits", "--workers", 2, "--optim.steps", 150, "--run-dir", "run"),
    "train alone": ("train", "digits", "--optim.steps", 150, "--run-dir", "run"),
    "plan auto": (
        *("train", "digits", "--workers", 2, "--plan", "auto", "--optim.steps", 20),
        *("--run-dir", "run"),
    ),
    "probe": ("probe", "--workers", 2, "--brief"),
    "bench allreduce": (
        *("bench", "allreduce", "--world-size", 2, "--sizes", "1kb", "--predict"),
        *("--algorithms", "ring", "--repeats", 1),
    ),
}
DEAR = ("plan auto", "bench allreduce", "train alone")
SLOW = pytest.mark.slow
STATE_LISTENING = "0A"


def listening(pid: int) -> set[str]:
    """The addresses, in hexadecimal as in /proc/net, at which a process listens."""
    return {place.partition(":")[0] for place in ports(pid)}


def ports(pid: int) -> set[str]:
    """The addresses with their ports."""
    sockets = set()
    try:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            sockets.add(os.readlink(file))
    except OSError:
        return set()
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == STATE_LISTENING and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1])
    return found


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SLOW if name in DEAR else ()) for name in COMMANDS]
)
def test_a_command_on_one_machine_listens_on_loopback_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    job = start(*COMMANDS[name])
    seen: set[str] = set()
    while job.poll() is None:
        for pid in (job.pid, *descendants(job.pid)):
            seen |= listening(pid)
        time.sleep(0.02)
    assert job.returncode == 0, job.communicate()
    loopback = socket.inet_aton("127.0.0.1")[::-1].hex().upper()
    assert seen == (set() if name == "train alone" else {loopback})


class Payload:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.file}",)


def own_address() -> str:
    """An address of this host's that other machines use."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return str(asked.getsockname()[0])


def test_a_stranger_can_neither_join_nor_make_a_rank_run_code(tmp_path: Path) -> None:
    port = free_port()
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    run = ("train", "digits", "--optim.steps", 30, "--run-dir", tmp_path / "run")
    rank_0 = start(*run, environ={**shared, "RANK": "0"})
    strangers = [until_it_answers(port) for _ in range(3)]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((own_address(), port), timeout=5)
    code = pickle.dumps(Payload(tmp_path / "ran"))
    for stranger in strangers:
        stranger.sendall(code)
    rank_1 = start(*run, environ={**shared, "RANK": "1"})
    for job in (rank_0, rank_1):
        _, err = job.communicate(timeout=LIMIT_S)
        assert job.returncode == 0, err
        assert ("refused connections of another job, secret or program: 3" in err) is (
            job is rank_0
        )
    assert not (tmp_path / "ran").exists()


def until_it_answers(port: int) -> socket.socket:
    until_s = time.monotonic() + LIMIT_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=5)
        except OSError:
            assert time.monotonic() < until_s
            time.sleep(0.05)


@SLOW
def test_nothing_but_the_ranks_roll_listens_once_all_have_come(tmp_path: Path) -> None:
    port = free_port()
    job = start(
        *("train", "digits", "--workers", 2, "--run-dir", tmp_path / "run"),
        *("--optim.steps", 100_000, "--checkpoint-steps", 5),
        environ={"MASTER_PORT": str(port)},
    )
    wait_for_workers(job.pid, tmp_path / "run")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert [len(ports(pid)) for pid in descendants(job.pid)] == [1, 1]
