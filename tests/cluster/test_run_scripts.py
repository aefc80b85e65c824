"""`firetree run` watches a script's DDP models, and says in the end what holds them back."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import firetree, free_port, start

from firetree.trace import read_trace

SCRIPT = """
import os, signal, sys, time
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

STEPS = 12

def main(arguments, rank=None, world_size=None):
    if rank is None:
        dist.init_process_group("gloo")
    else:
        dist.init_process_group("gloo", rank=rank, world_size=world_size)
    torch.manual_seed(0)
    model = DDP(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(dist.get_rank())
    for step in range(STEPS):
        if step == 7 and dist.get_rank() == 1:
            time.sleep(1.5)  # until the steps so far have been told
            match arguments:
                case ["exit", code]: os._exit(int(code))
                case ["raise", text]: raise ValueError(text)
                case ["signal", number]: os.kill(os.getpid(), int(number))
        loss = nn.functional.mse_loss(model(torch.randn(4, 8)), torch.randn(4, 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if dist.get_rank() == 0:
        print("sum", sum(p.detach().double().sum().item() for p in model.parameters()))
    dist.destroy_process_group()

def spawned(rank, *arguments):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=arguments[0])
    main(arguments[1:], rank, 2)

if __name__ == "__main__":
    if sys.argv[1:2] == ["spawn"]:
        torch.multiprocessing.spawn(spawned, sys.argv[2:], nprocs=2)
    else:
        main(sys.argv[1:])
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return path


def test_ranks_of_another_launcher_are_watched_and_rank_0_tells_the_verdict(script: Path) -> None:
    observed = "run", "--sync", "observe", "--run-dir", "mine"
    code, out, err = firetree(*observed, script, "--lr", "1", ranks=2)
    assert (code, out[:4]) == (0, "sum ")
    assert "train.py, 2 workers" in err
    assert err.endswith("\n      $ firetree report mine\n")
    trace = read_trace("mine")
    assert [[it.step for it in rank.steps] for rank in trace.ranks] == [[*range(12)]] * 2
    assert [it.kind for it in trace.events] == ["started", "ended"]
    about = json.loads(Path("mine/script.json").read_text())
    assert about["command"] == [str(script), "--lr", "1"]


def test_a_name_sums_by_that_algorithm_and_ends_with_the_same_weights(script: Path) -> None:
    _, plain, _ = firetree("run", "--sync", "observe", "--run-dir", "plain", script, ranks=2)
    _, ring, _ = firetree("run", "--sync", "ring", "--run-dir", "ring", script, ranks=2)
    assert float(ring[4:]) == pytest.approx(float(plain[4:]), abs=1e-5)
    assert read_trace("ring").ranks[0].header.algorithm == "ring"
    assert read_trace("plain").ranks[0].header.algorithm == "gloo"


def test_by_default_it_chooses_and_says_what(script: Path) -> None:
    code, _, err = firetree("run", "--run-dir", "mine", script, ranks=2)
    assert code == 0
    (planned,) = (it for it in read_trace("mine").events if it.kind == "planned")
    assert f"firetree: auto: {planned.text}\n" in err


def test_a_folder_that_holds_a_run_is_refused_before_the_script_runs(script: Path) -> None:
    Path("mine/trace").mkdir(parents=True)
    code, out, err = firetree("run", "--run-dir", "mine", script)
    assert (code, out) == (2, "")
    folder = Path("mine").absolute()
    assert err == f"firetree: run folder {folder} holds a run already; choose another\n"


def test_a_rank_that_raises_shows_its_own_traceback_and_the_others_name_it(script: Path) -> None:
    job = start("run", "--workers", "2", "--run-dir", "mine", script, "raise", "too hot")
    _, err = job.communicate(timeout=120)
    assert job.returncode == 1
    assert re.search(rf'Traceback .*\n.*File "{script}", line [0-9]+, in <module>', err)
    assert "firetree/" not in err.partition("ValueError: too hot")[0]
    assert "firetree: worker 1 ended with exit code 1; the others were ended" in err
    (failed,) = (it for it in read_trace("mine").events if it.kind == "failed" and it.rank == 1)
    assert failed.text.endswith("failed at step 7: ValueError: too hot")


@pytest.mark.parametrize(
    ("how", "value", "code"),
    [pytest.param("exit", 7, 7, marks=pytest.mark.slow), ("signal", 9, 137)],
)
def test_the_exit_code_is_that_of_the_worker_that_died_and_the_trace_names_it(
    how: str, value: int, code: int, script: Path
) -> None:
    job = start("run", "--workers", "2", "--run-dir", "mine", script, how, value)
    _, err = job.communicate(timeout=120)
    assert job.returncode == code
    assert "firetree report mine" in err
    trace = read_trace("mine")
    first, second = (it for it in trace.events if it.kind == "failed")
    assert second.text.startswith("rank 0 on ")
    assert "CollectiveError: rank 1 went away" in second.text
    assert (first.rank, first.step) == (1, 6)  # whose end its next one would have told
    assert first.text.endswith("went away at step 6")
    assert len(trace.ranks[1].steps) == 6


@pytest.mark.slow
def test_processes_that_the_script_spawns_are_watched_too(script: Path) -> None:
    port = free_port()
    code, out, err = firetree("run", "--run-dir", "mine", script, "spawn", port)
    assert (code, out[:4]) == (0, "sum ")
    assert "train.py, 2 workers" in err
    assert [len(rank.steps) for rank in read_trace("mine").ranks] == [12, 12]


@pytest.mark.slow
def test_a_spawned_process_that_raises_is_named_with_its_error(script: Path) -> None:
    port = free_port()
    code, _, err = firetree("run", "--run-dir", "mine", script, "spawn", port, "raise", "too hot")
    assert code == 1
    assert "ProcessRaisedException" in err
    first = next(it for it in read_trace("mine").events if it.kind == "failed")
    assert first.text.endswith("failed at step 7: ValueError: too hot")


@pytest.mark.parametrize(
    "how",
    [
        ("--no-python", str(Path(sys.executable).with_name("firetree"))),
        pytest.param(("-m", "firetree"), marks=pytest.mark.slow),
    ],
)
def test_torchrun_starts_it(how: tuple[str, ...], script: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, *how, "run", "--run-dir", "mine", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout[:4]) == (0, "sum "), done.stderr
    assert done.stderr.count("$ firetree report mine") == 1
    assert [len(rank.steps) for rank in read_trace("mine").ranks] == [12, 12]


def test_ctrl_c_reaches_the_script(script: Path) -> None:
    waits = "import sys, time\ntry:\n    print('on', flush=True)\n    time.sleep(60)\n"
    script.write_text(f"{waits}except KeyboardInterrupt:\n    print('off')\n    sys.exit(0)\n")
    job = start("run", "--workers", "2", script)
    assert job.stdout
    assert [job.stdout.readline() for _ in range(2)] == ["on\n"] * 2
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=60)
    assert out == "off\n" * 2
    assert job.returncode == 130
    assert err.endswith("firetree: interrupted by SIGINT\n")
