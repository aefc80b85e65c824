"""Carries out a case of `diagnosis.py`: `firetree run --sync observe SCRIPT` on each host of a lab.

Ranks are forked from a process that has imported everything, so that a run takes seconds.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import firetree
from diagnosis_cases import SCRIPTS, Case
from fault_ranks import FORKS, enter
from firetree.lab import Lab, namespaces
from firetree.reporting import Verdict

LIMIT_S = 90.0
BUSY = (sys.executable, "-c", "while True: pass")

os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # read when torch is imported, before a rank is forked
FORKS.set_forkserver_preload(
    [
        "torch.distributed",
        "torch._dynamo",
        "torch.utils.data",
        "firetree.commands.run",
        "fault_ranks",
    ]
)


class CaseError(Exception):
    """A run that came to no verdict; what its ranks said."""


def verdict_of(case: Case) -> Verdict:
    """Run the case, and report on it.

    Raises:
        CaseError: a rank failed, or did not end.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="firetree-diagnosis-"))
        )
        lab = stack.enter_context(Lab(case.network))
        ranks = _Ranks(case, lab, folder)
        stack.callback(ranks.end)
        ranks.start()
        ranks.run_through()
        return firetree.report(folder / "run").verdict


def run_as(environ: Mapping[str, str], namespace: Path, out: Path, argv: Sequence[str]) -> None:
    """What `firetree ARGUMENTS` does, as a host's process."""
    enter(environ, namespace, out)
    multiprocessing.set_start_method("fork", force=True)  # python's own, for loaders' workers
    sys.argv = ["firetree", *argv]
    from firetree.__main__ import main

    main()


class _Ranks:
    """The ranks of a case, a process each."""

    def __init__(self, case: Case, lab: Lab, folder: Path) -> None:
        self._case, self._lab, self._folder = case, lab, folder
        self._processes = []

    def start(self) -> None:
        options = [
            f"{part:g}" if isinstance(part, float | int) else part for part in self._options()
        ]
        script = [str(SCRIPTS / f"{self._case.script}.py"), *options]
        command = ["run", "--sync", "observe", "--run-dir", str(self._folder / "run"), *script]
        for rank in range(self._case.network.size):
            environ = {**self._lab.environment(rank), "OMP_NUM_THREADS": "1"}
            namespace = namespaces.path(self._lab.namespace(rank))
            self._out(rank).write_text("")
            arguments = (environ, namespace, self._out(rank), command)
            process = FORKS.Process(target=run_as, args=arguments)
            process.start()
            self._processes.append(process)

    def _options(self) -> Iterator[str | float]:
        yield from ("--steps", self._case.steps)
        for name, value in self._case.options.items():
            yield from (name,) if value == "" else (name, value)

    def run_through(self) -> None:
        """Let what is wrong happen at its times, and wait for all ranks."""
        self._wait(lambda: "step" in self._said(0))
        for host in range(self._case.network.size):
            for _ in range(self._case.neighbours):
                self._lab.start(host, BUSY)
        if self._case.cores is not None:
            self._lab.limit_cpu(self._victim, self._case.cores)
        start_s = time.monotonic()
        for after_s, span_s in self._case.pauses_s:
            time.sleep(max(0.0, start_s + after_s - time.monotonic()))
            self._lab.pause(self._victim)
            time.sleep(span_s)
            self._lab.resume(self._victim)
        self._wait(lambda: all(process.exitcode is not None for process in self._processes))
        if any(process.exitcode for process in self._processes):
            raise CaseError(self._last_words())

    @property
    def _victim(self) -> int:
        [victim] = self._case.victims[0]
        return victim

    def _wait(self, true: Callable[[], bool]) -> None:
        until_s = time.monotonic() + LIMIT_S
        while not true():
            if any(process.exitcode for process in self._processes) or time.monotonic() > until_s:
                raise CaseError(self._last_words())
            time.sleep(0.02)

    def _out(self, rank: int) -> Path:
        return self._folder / f"rank-{rank}.txt"

    def _said(self, rank: int) -> str:
        return self._out(rank).read_text(errors="replace")

    def _last_words(self) -> str:
        ends = [
            f"rank {rank} ({process.exitcode}): {self._said(rank)[-1500:]}"
            for rank, process in enumerate(self._processes)
        ]
        return "\n".join(ends)

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
