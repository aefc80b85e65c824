"""Faults drawn at random amid all-reduces over wires: does a rank hang, or sum wrongly? Who is named, and when?

Two to five real ranks on loopback sum again and again until one is killed or stopped for a while, or
one of its connections is shut down or reset. Every other rank must end with a CollectiveError that
names a rank, and no sum may be wrong, not even one that is tried after the error. Exit code 1 where one
is. The same `--seed` draws the same faults; when they strike depends on the machine's load.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from statistics import median, quantiles

from fault_ranks import FORKS
from results import write_section
from wire_fault_ranks import FAULTS, Report, Trial, draw, serve

LIMIT_S = 30.0
"""A rank that has not ended by then hangs; the longest timeout is a third of it."""


@dataclass
class Outcome:
    """What each rank that can has reported, None from one that hangs or crashes, and when the fault was."""

    trial: Trial
    struck_s: float
    reports: dict[int, Report | None]

    @property
    def ended(self) -> list[Report]:
        return [report for report in self.reports.values() if report]

    @property
    def noticed_s(self) -> list[float]:
        """How long after the fault each rank had its error."""
        return [report.at_s - self.struck_s for report in self.ended if report.error]

    def faults(self) -> list[str]:
        """What is not as it must be."""
        return [
            f"rank {rank} {fault}"
            for rank, report in self.reports.items()
            for fault in self._faults_of(rank, report)
        ]

    def _faults_of(self, rank: int, report: Report | None) -> Iterator[str]:
        if report is None:
            yield "hangs or has crashed"
        elif report.is_wrong:
            yield f"has a wrong sum after {report.sums} right ones"
        elif not report.error and self.trial.fault != "stopped":
            yield "has noticed nothing"
        elif report.error and report.peer not in {*range(self.trial.ranks)} - {rank}:
            yield f"names no other rank: {report.error}"
        elif report.goes_on:
            yield f"went on after its error: {report.error}"


class Ranks:
    """Processes that live from trial to trial, but for those that are killed."""

    def __init__(self) -> None:
        self.processes: dict[int, BaseProcess] = {}
        self.pipes: dict[int, Connection] = {}

    def run(self, trial: Trial) -> Outcome:
        ranks = range(trial.ranks)
        for rank in ranks:
            if rank not in self.processes:
                self._start(rank)
            self.pipes[rank].send(trial)
        for _ in ("addresses", "ready"):
            told = [self.pipes[rank].recv() for rank in ranks]
            self._tell(ranks, told)
        struck_s = strike(trial, self.processes[trial.victim].pid)
        enough_now = [0] if trial.fault == "stopped" else []
        self._tell(enough_now, "enough")
        until_s = time.monotonic() + LIMIT_S
        reports = {rank: received(self.pipes[rank], until_s) for rank in ranks}
        for rank in [rank for rank in ranks if reports[rank] is None]:
            self._end(rank)
        self._tell(self.processes.keys() & {*ranks} - {*enough_now}, "enough")
        if trial.fault == "killed":
            del reports[trial.victim]
        else:
            struck_s = getattr(reports[trial.victim], "struck_s", struck_s)
        return Outcome(trial, struck_s, reports)

    def close(self) -> None:
        for rank in [*self.processes]:
            self._end(rank)

    def _start(self, rank: int) -> None:
        self.pipes[rank], theirs = FORKS.Pipe()
        self.processes[rank] = FORKS.Process(target=serve, args=(rank, theirs), daemon=True)
        self.processes[rank].start()
        theirs.close()

    def _end(self, rank: int) -> None:
        process = self.processes.pop(rank)
        process.kill()
        process.join()
        self.pipes.pop(rank).close()

    def _tell(self, ranks: Iterable[int], what: object) -> None:
        for rank in ranks:
            self.pipes[rank].send(what)


def strike(trial: Trial, pid: int) -> float:
    """Kill or stop a rank, if that is the fault; returns when."""
    if trial.fault not in ("killed", "stopped"):
        return 0.0  # the rank's own affair
    time.sleep(trial.after_s)
    struck_s = time.monotonic()
    if trial.fault == "killed":
        os.kill(pid, signal.SIGKILL)
    else:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(trial.pause_s)
        os.kill(pid, signal.SIGCONT)
    return struck_s


def received(pipe: Connection, until_s: float) -> Report | None:
    try:
        return pipe.recv() if pipe.poll(max(0.0, until_s - time.monotonic())) else None
    except (EOFError, OSError):
        return None


def rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    heading = [
        "fault",
        "faults",
        "all-reduces",
        "ranks with an error",
        "with a wrong sum",
        "that hang",
    ]
    of_faults = [[it for it in outcomes if it.trial.fault == fault] for fault in FAULTS]
    return [
        [*heading, "noticed after ms: median", "95 %", "most"],
        *(row(fault, some) for fault, some in zip(FAULTS, of_faults, strict=True) if some),
    ]


def row(fault: str, outcomes: Sequence[Outcome]) -> list[str]:
    ended = [report for outcome in outcomes for report in outcome.ended]
    noticed_s = [time_s for outcome in outcomes for time_s in outcome.noticed_s]
    counts = (
        len(outcomes),
        sum(max((report.sums for report in outcome.ended), default=0) for outcome in outcomes),
        len(noticed_s),
        sum(report.is_wrong or report.goes_on for report in ended),
        sum(None in outcome.reports.values() for outcome in outcomes),
    )
    times_s = (median(noticed_s), quantiles(noticed_s, n=20)[-1], max(noticed_s))
    times = [f"{1e3 * time_s:.1f}" for time_s in times_s] if fault != "stopped" else [""] * 3
    return [fault, *(f"{count:,}" for count in counts), *times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-table", action="store_true", help="only print what goes wrong")
    options = parser.parse_args()
    dice, outcomes = random.Random(options.seed), list[Outcome]()
    with closing(Ranks()) as ranks:
        for number in range(options.faults):
            outcomes.append(ranks.run(draw(dice)))
            if faults := outcomes[-1].faults():
                print(f"{number} {outcomes[-1].trial}: {'; '.join(faults)}", flush=True)
    bad = sum(bool(outcome.faults()) for outcome in outcomes)
    print(f"{bad} of {len(outcomes)} trials did not end as they must")
    if not options.no_table:
        write_section(
            "Faults amid all-reduces over wires",
            f"python benchmarks/wire_faults.py --faults {options.faults} --seed {options.seed}",
            "Two to five ranks on loopback sum 1 kB to 4 MB again and again by any algorithm, all drawn at "
            "random; the fault strikes up to 50 ms after they began. A rank is killed, or stopped for up "
            "to half a second with a timeout of 0.3 s, or its own process shuts down or resets one of its "
            "connections. Each rank must end with an error that names another one, and the next "
            "all-reduce that it tries must fail; only a stop may end with no error at all. "
            f"{bad} trials ended otherwise. The times are of all ranks with an error, also of "
            f"those that hear of it only from others; the load was {os.getloadavg()[1]:.0f}.",
            rows(outcomes),
        )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
