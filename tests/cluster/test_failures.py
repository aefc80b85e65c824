"""What a user can do wrong ends in one clear line, exit code 2, no traceback, and nothing lost."""

from __future__ import annotations

import io
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import firetree, free_port, last_weights
from PIL import Image

from firetree import Plan
from firetree.planning.candidates import Choice

SHORT = ("--optim.steps", 4)


def write_npz(path: Path, labels: range, size: int = 8) -> Path:
    images = np.zeros((len(labels), size, size), np.uint8)
    y = np.array(labels, np.int64)
    np.savez(path, train_x=images, train_y=y, test_x=images, test_y=y)
    return path


def write_parquet(folder: Path) -> Path:
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    rows = [
        {"img": {"bytes": image.getvalue(), "path": "a.png"}, "label": k % 2} for k in range(200)
    ]
    folder.mkdir()
    for split in ("train", "test"):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}-00000-of-00001.parquet")
    return folder


def cut_parquet(folder: Path) -> Path:
    file = write_parquet(folder) / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    return folder


def wrong_toml(path: Path) -> Path:
    path.write_text("[optim]\nlearnin_rate = 0.1\n")
    return path


def plan_for_three(path: Path) -> Path:
    plan = Plan("other", 3, 4, 4, ((4, Choice("ring", 3, (0, 1, 2))),), 1.0, 1.0, "latency", ())
    path.write_text(plan.to_json())
    return path


CASES = {
    "a plan for another cluster": (
        lambda folder: ["digits", "--plan", plan_for_three(folder / "plan.json")],
        "a plan for 3 ranks on",
    ),
    "a plan that is none": (
        lambda folder: ["digits", "--plan", wrong_toml(folder / "plan.json")],
        "plan.json is not JSON",
    ),
    "unknown recipe": (lambda _: ["digitz"], "no recipe 'digitz'; did you mean 'digits'?"),
    "misspelt option": (
        lambda _: ["digits", "--optim.momentun", 0.5],
        "unknown option '--optim.momentun'; did you mean '--optim.momentum'?",
    ),
    "misspelt field in a file": (
        lambda folder: [wrong_toml(folder / "mine.toml")],
        "has no field 'optim.learnin_rate'",
    ),
    "value out of range": (
        lambda _: ["digits", "--optim.lr", -1],
        "optim.lr = -1.0; expected a number above 0",
    ),
    "value of a wrong kind": (
        lambda _: ["digits", "--optim.lr", "fast"],
        "--optim.lr is fast; expected a number",
    ),
    "unknown choice": (lambda _: ["digits", "--optim.rule", "cosinus"], "invalid choice 'cosinus'"),
    "missing data file": (
        lambda folder: ["fashion-squeezenet", "--data.path", folder / "none.npz"],
        "none.npz does not exist",
    ),
    "no data file named": (lambda _: ["fashion-squeezenet"], "data.path is missing"),
    "label above the classes": (
        lambda folder: [
            *("fashion-squeezenet", "--data.path", write_npz(folder / "a.npz", range(5, 25))),
        ],
        "label 10 (int64) of image 5 (train_x[5] of a.npz); expected an integer from 0 to 9",
    ),
    "negative label": (
        lambda folder: [
            *("fashion-squeezenet", "--data.path", write_npz(folder / "a.npz", range(-1, 9))),
        ],
        "label -1",
    ),
    "corrupt parquet": (
        lambda folder: ["cifar-squeezenet", "--data.path", cut_parquet(folder / "cut")],
        "train-00000-of-00001.parquet",
    ),
    "world size above the batch": (
        lambda _: ["digits", "--optim.batch-size", 1],
        "2 workers cannot share batches of 1",
    ),
    "unknown algorithm": (
        lambda _: ["digits", "--sync.algorithm", "rings"],
        "no algorithm 'rings'; did you mean 'ring'?",
    ),
    "network that cannot be": (
        lambda _: ["digits", "--model.squeeze-ratio", 2],
        "squeeze_ratio = 2.0; expected above 0 and at most 1",
    ),
    "resume without a folder": (lambda _: ["digits", "--resume"], "--resume without the run"),
}


IN_EACH_WORKER = ("missing data file", "no data file named", "negative label", "corrupt parquet")
"""Mistakes that several workers find as they find a label above the classes."""


@pytest.mark.parametrize(
    ("case", "workers"),
    [
        pytest.param(
            case,
            workers,
            marks=pytest.mark.slow if workers == 2 and case in IN_EACH_WORKER else (),
        )
        for case in CASES
        for workers in (1, 2)
    ],
)
def test_a_users_mistake_is_one_line(tmp_path: Path, case: str, workers: int) -> None:
    if case == "world size above the batch" and workers == 1:
        workers = 2
    make, message = CASES[case]
    run_dir = [] if case == "resume without a folder" else ["--run-dir", tmp_path / "run"]
    code, out, err = firetree("train", *make(tmp_path), "--workers", workers, *run_dir)
    assert_one_line(code, err, message)
    assert out in ("", "starting 2 workers\n")
    assert not list(tmp_path.glob("run/**/*.safetensors"))


def assert_one_line(code: int, err: str, message: str) -> None:
    assert code == 2, err
    assert err.startswith("firetree: ")
    assert err.count("\n") == 1, err
    assert message in err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    code, _, err = firetree("train", "digitz", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("firetree: no recipe 'digitz'")


@pytest.mark.parametrize(
    "environ", [{}, {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}]
)
def test_a_port_in_use_is_one_line(tmp_path: Path, environ: dict[str, str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, _, err = firetree(
            *("train", "digits", "--workers", 2, "--run-dir", tmp_path / "run"),
            environ={**environ, "MASTER_PORT": str(port)},
        )
    assert_one_line(code, err, f"port {port} is in use; set MASTER_PORT")


RANK_1 = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}


def test_a_rank_0_that_cannot_be_reached_fails_the_run(tmp_path: Path) -> None:
    port = free_port()
    code, _, err = firetree(
        *("train", "digits", "--run-dir", tmp_path / "run", "--sync.timeout-s", 3),
        environ={**RANK_1, "MASTER_PORT": str(port)},
    )
    assert code == 1
    assert err == (
        f"firetree: rank 1 cannot reach rank 0 at 127.0.0.1:{port}: nothing listened there within 3 s; "
        "is it running, and the port right?\n"
    )


def test_a_name_of_rank_0_that_does_not_resolve_is_told_at_once(tmp_path: Path) -> None:
    code, _, err = firetree(
        *("train", "digits", "--run-dir", tmp_path / "run", "--sync.timeout-s", 100_000),
        environ={**RANK_1, "MASTER_ADDR": "nosuch1.invalid"},
    )
    assert_one_line(code, err, "nosuch1.invalid does not resolve to an address; set MASTER_ADDR")


def test_a_stranger_at_rank_0s_port_is_told_from_rank_0(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        code, _, err = firetree(
            *("train", "digits", "--run-dir", tmp_path / "run", "--sync.timeout-s", 3),
            environ={**RANK_1, "MASTER_PORT": str(stranger.getsockname()[1])},
        )
    assert code == 1
    assert err.count("\n") == 1, err
    assert "no word from it within 3 s; is what listens there rank 0 of this job?" in err


def test_tasks_that_nobody_starts_are_told(tmp_path: Path) -> None:
    code, _, err = firetree(
        *("train", "digits", "--run-dir", tmp_path / "run"),
        environ={"SLURM_PROCID": "0", "SLURM_NTASKS": "6"},
    )
    assert_one_line(
        code, err, "SLURM gave this job 6 tasks, and nothing starts them; put srun before"
    )


def test_a_transport_that_gloo_lacks_is_told(tmp_path: Path) -> None:
    code, _, err = firetree(
        *("train", "digits", "--run-dir", tmp_path / "run"),
        environ={"GLOO_DEVICE_TRANSPORT": "TCP_TLS"},
    )
    assert_one_line(code, err, "GLOO_DEVICE_TRANSPORT=TCP_TLS in the environment; expected TCP")


def test_a_loss_that_is_no_number_fails_the_run_and_keeps_its_checkpoints(tmp_path: Path) -> None:
    code, _, err = firetree(
        *("train", "digits", "--workers", 2, "--run-dir", tmp_path / "run", "--optim.lr", 1e9),
        *("--optim.warmup-epochs", 0, "--checkpoint-steps", 1, "--optim.weight-decay", 100),
    )
    assert code == 1
    assert err.startswith(("firetree: the loss is ", "firetree: the gradient of "))
    assert "lower optim.lr; to resume: firetree train digits --workers 2 " in err
    assert list(tmp_path.glob("run/checkpoints/step-*"))


def test_after_a_mistake_the_same_run_folder_can_be_used(tmp_path: Path) -> None:
    run = ("train", "digits", "--run-dir", tmp_path / "run", *SHORT)
    assert firetree(*run, "--model.squeeze-ratio", 2)[0] == 2
    assert firetree(*run)[0] == 0


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_read_only_run_folder_is_one_line(tmp_path: Path, workers: int) -> None:
    with mounted(tmp_path / "disk", "ro") as disk:
        code, _, err = firetree(
            "train", "digits", "--workers", workers, "--run-dir", disk / "run", *SHORT
        )
    assert_one_line(code, err, "Read-only file system")


@pytest.mark.parametrize(
    ("workers", "size_kb"),
    [
        (1, 4),
        (1, 64),
        (1, 700),
        (2, 4),
        *(pytest.param(2, it, marks=pytest.mark.slow) for it in (64, 700)),
    ],
)
def test_a_full_disk_is_one_line_and_loses_no_earlier_checkpoint(
    tmp_path: Path, workers: int, size_kb: int
) -> None:
    with mounted(tmp_path / "disk", f"size={size_kb}k") as disk:
        code, _, err = firetree(
            *("train", "digits", "--workers", workers, "--run-dir", disk / "run"),
            *("--optim.steps", 4, "--checkpoint-steps", 1),
        )
        assert_one_line(code, err, "No space left on device")
        written = sorted(path.name for path in disk.glob("run/checkpoints/step-*"))
        assert written == ([] if size_kb < 700 else ["step-00000001"])


def test_a_run_that_exists_is_not_overwritten_and_another_model_cannot_resume_it(
    tmp_path: Path,
) -> None:
    run = ("train", "digits", "--run-dir", tmp_path / "run")
    assert firetree(*run, *SHORT)[0] == 0
    before = last_weights(tmp_path / "run")

    code, _, err = firetree(*run, *SHORT)
    assert_one_line(code, err, "holds a run already")
    code, _, err = firetree(*run, "--resume", "--model.base-e", 32)
    assert_one_line(code, err, "it has model.base_e = None, this recipe 32")
    code, _, err = firetree(*run, "--resume", "--model.name", "squeezenet_v1_1")
    assert_one_line(code, err, "it has model.name = 'squeezenet_small'")
    code, _, err = firetree(*run, "--resume", "--optim.batch-size", 32)
    assert_one_line(code, err, "it has optim.batch_size = 64")
    assert last_weights(tmp_path / "run") == before


def test_other_images_cannot_resume_a_run(tmp_path: Path) -> None:
    one, other = (write_npz(tmp_path / f"{size}.npz", range(10), size) for size in (8, 12))
    run = ("train", "fashion-squeezenet", "--run-dir", tmp_path / "run", *SHORT)
    assert firetree(*run, "--data.path", one)[0] == 0
    code, _, err = firetree(*run, "--data.path", other, "--resume")
    assert_one_line(code, err, "the run's data had size 8, these 12")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("reprot",), "no command 'reprot'; did you mean 'report'?"),
        (("report",), "no run;"),
        (("report", "/none/such"), "no run folder /none/such"),
        (("report", "--jsn"), "unknown option '--jsn'; did you mean '--json'?"),
        (
            ("predict", "--model", "X", "a.png"),
            "unknown option '--model'; give MODEL without an option",
        ),
        (("predict", "-m", "X"), "unknown option '-m'"),
        ((), "firetree has no command; expected one of train, run, report, plan, "),
        (("train",), "RECIPE is missing; see firetree train --help"),
        (("compress",), "MODEL and OUT.fire are missing; see firetree compress --help"),
        (("scan", "X"), "--images is missing; see firetree scan --help"),
        (("train", "digits", "again"), "'again' is one argument too many"),
        (("train", "digits", "--workers", "0"), "--workers 0; expected 1 or more"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    code, _, err = firetree(*arguments)
    assert_one_line(code, err, message)
