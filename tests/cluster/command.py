"""Run the real command in real processes, as a user would."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

COMMAND = (sys.executable, "-m", "firetree")
LIMIT_S = 120.0
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch.distributed", "torch._dynamo", "firetree.commands.main"])
_STARTED: list[subprocess.Popen[str]] = []


def firetree(
    *arguments: object,
    ranks: int = 1,
    environ: Mapping[str, str] | None = None,
    meanwhile: Callable[[list[int]], object] | None = None,
) -> tuple[int, str, str]:
    """Run to the end: exit code, standard output and standard error.

    Without variables of its own, which a fresh interpreter might read, the command is forked from a
    process that has imported it before: most of a short command's time is its imports. As one of
    several `ranks` it finds the others as under mpirun; the answer is that of rank 0. `meanwhile` is
    given the processes while they run.
    """
    if environ is None:
        return _forked([*map(str, arguments)], ranks, meanwhile)
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, **environ},
    )
    return done.returncode, done.stdout, done.stderr


def _forked(
    arguments: list[str], ranks: int, meanwhile: Callable[[list[int]], object] | None
) -> tuple[int, str, str]:
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        outputs = [(out, err), *[(Path(os.devnull),) * 2] * (ranks - 1)]
        processes = [
            FORKS.Process(target=_command, args=(arguments, {**os.environ, **environ}, *files))
            for environ, files in zip(_places(ranks), outputs, strict=True)
        ]
        for process in processes:
            process.start()
        if meanwhile:
            meanwhile([process.pid for process in processes])
        deadline_s = time.monotonic() + LIMIT_S
        for process in processes:
            process.join(deadline_s - time.monotonic())
        late = [process.pid for process in processes if process.is_alive()]
        for pid in late:
            kill_whole_job(pid)
        if late:
            raise TimeoutError(f"firetree {' '.join(arguments)} took over {LIMIT_S:.0f} s")
        return processes[0].exitcode, out.read_text(), err.read_text()


def _places(ranks: int) -> list[dict[str, str]]:
    """What mpirun tells each of so many ranks; nothing to one that is alone."""
    if ranks == 1:
        return [{}]
    sizes = dict.fromkeys(("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"), str(ranks))
    shared = {"MASTER_PORT": str(free_port()), "GLOO_SOCKET_IFNAME": "lo", **sizes}
    return [{**shared, "OMPI_COMM_WORLD_RANK": str(rank)} for rank in range(ranks)]


def _command(arguments: list[str], environ: Mapping[str, str], out: Path, err: Path) -> None:
    """In the new process: what `python -m firetree` does."""
    os.environ.clear()
    os.environ.update(environ)
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["firetree", *arguments]
    from firetree.commands.main import main

    main()


def free_port() -> int:
    """A free port below those that the kernel gives to clients.

    A client that asks for one of these before the server listens can be connected to itself, and
    then holds the port.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def start(*arguments: object, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start without waiting; what still runs when the test is over is killed."""
    job = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environ or {})},
    )
    _STARTED.append(job)
    return job


def end_what_was_started() -> None:
    while _STARTED:
        job = _STARTED.pop()
        if job.poll() is None:
            kill_whole_job(job.pid)
            job.communicate()


def descendants(pid: int) -> list[int]:
    """Processes started by `pid`, and by those."""
    try:
        tasks = [task.name for task in Path(f"/proc/{pid}/task").iterdir()]
        texts = [Path(f"/proc/{pid}/task/{task}/children").read_text() for task in tasks]
    except OSError:
        return []
    children = [int(child) for text in texts for child in text.split()]
    return [*children, *(deeper for child in children for deeper in descendants(child))]


def alive(pid: int) -> bool:
    """Whether the process still runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def kill_whole_job(pid: int) -> None:
    """Kill a process and all that it started, and wait for them to be gone."""
    processes = [pid, *descendants(pid)]
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    while any(map(alive, processes)):
        time.sleep(0.01)


def last_weights(run_dir: Path) -> bytes:
    """The bytes of the last checkpoint's weights."""
    newest = max((run_dir / "checkpoints").glob("step-*"))
    return (newest / "model.safetensors").read_bytes()


def resumed_weights(
    asked: tuple[object, ...], run_dir: Path, step: int, steps: int, ranks: int = 1
) -> bytes:
    """Weights at the end of a run, which one that is broken off after `step` and resumed ends with too."""
    code, _, err = firetree(*asked, ranks=ranks)
    assert (code, err) == (0, "")
    whole = last_weights(run_dir)
    forget_after(run_dir, step)
    code, out, err = firetree(*asked, "--resume", ranks=ranks)
    assert code == 0, err
    assert f"resumed at step {step} of {steps}" in out
    assert last_weights(run_dir) == whole
    return whole


def forget_after(run_dir: Path, step: int) -> None:
    """Leave a run's folder with no checkpoint after that of `step`, as if it had been broken off."""
    for folder in (run_dir / "checkpoints").glob("step-*"):
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)
