"""What a rank does in `wire_faults.py`: all-reduces over wires, again and again, until one fails.

A module of its own, so that ranks are forked from a process that has imported everything.
"""

from __future__ import annotations

import itertools
import random
import socket
import struct
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import torch

from firetree import collectives
from firetree.collectives import Executor
from firetree.errors import CollectiveError
from firetree.wires import Wire, connect

FAULTS = ("killed", "stopped", "shut down", "reset")
CONNECT_S = 30.0
_PERIOD = 1009


@dataclass(frozen=True)
class Trial:
    """What meets which of how many ranks, and when; `peer` is at the other end of the wire that is cut."""

    fault: str
    algorithm: str
    ranks: int
    elements: int
    victim: int
    peer: int
    after_s: float
    pause_s: float

    @property
    def timeout_s(self) -> float:
        return 0.3 if self.fault == "stopped" else 10.0

    @property
    def schedule(self) -> collectives.Schedule:
        return _schedule(self.algorithm, self.ranks, 4 * self.elements)


def _schedule(algorithm: str, ranks: int, size_bytes: int) -> collectives.Schedule:
    chunks = collectives.chunks_for(algorithm, ranks, size_bytes)
    return collectives.build(algorithm, ranks, chunks)


def draw(dice: random.Random) -> Trial:
    ranks = dice.randint(2, 5)
    algorithm, elements = dice.choice(collectives.names()), int(250 * 4096 ** dice.random())
    victim = dice.randrange(ranks)
    program = _schedule(algorithm, ranks, 4 * elements).programs[victim]
    return Trial(
        fault=dice.choice(FAULTS),
        algorithm=algorithm,
        ranks=ranks,
        elements=elements,
        victim=victim,
        peer=dice.choice(program).peer,
        after_s=dice.uniform(0.0, 0.05),
        pause_s=dice.uniform(0.0, 0.5),
    )


@dataclass
class Report:
    """How a rank ended: after so many right sums, by a wrong one, or by an error, which came `at_s`."""

    sums: int = 0
    is_wrong: bool = False
    error: str = ""
    peer: int | None = None
    at_s: float = 0.0
    goes_on: bool = False
    """Whether another all-reduce after the error did not fail."""
    struck_s: float = 0.0
    """When this rank cut a wire of its own."""


def serve(rank: int, pipe: Connection) -> None:
    """Be this rank in one trial after another: each is sent, then comes a report, then "enough"."""
    torch.set_num_threads(1)
    while True:
        report = _in_trial(pipe.recv(), rank, pipe)
        pipe.send(report)
        pipe.recv()


def _in_trial(trial: Trial, rank: int, pipe: Connection) -> Report:
    """Join the others, and sum until told that it is enough, or until an error."""

    def gather(value: Any) -> Any:
        pipe.send(value)
        return pipe.recv()

    listener = socket.create_server(("127.0.0.1", 0))
    mesh = connect(gather, rank, range(trial.ranks), listener, CONNECT_S)
    mesh.timeout_s = trial.timeout_s
    executor, report = Executor(trial.schedule, mesh), Report()
    gather("ready")
    if rank == trial.victim and trial.fault in ("shut down", "reset"):
        Thread(target=_cut, args=(trial, mesh.wires[trial.peer], report)).start()
    try:
        _sum(trial, rank, executor, report, pipe)
    except CollectiveError as error:
        report.at_s, report.error, report.peer = time.monotonic(), str(error), error.peer
        report.goes_on = not _fails(executor, trial)
    mesh.close()
    return report


def _cut(trial: Trial, wire: Wire, report: Report) -> None:
    time.sleep(trial.after_s)
    report.struck_s = time.monotonic()
    if trial.fault == "shut down":
        wire.outgoing.shutdown(socket.SHUT_RDWR)
    else:
        wire.outgoing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()


def _sum(trial: Trial, rank: int, executor: Executor, report: Report, pipe: Connection) -> None:
    """Rank r adds 2**r times what all ranks know, so that no other sum is right.

    The first element says who was told that it is enough: all ranks end after the same all-reduce.
    """
    known = torch.arange(trial.elements + _PERIOD).remainder(_PERIOD).float()
    for number in itertools.count():
        part = known[number % _PERIOD :][: trial.elements]
        buffer, due = part * 2**rank, part * (2**trial.ranks - 1)
        buffer[0] = pipe.poll()
        executor.run(buffer)
        is_enough = bool(buffer[0] == 1)
        due[0] = is_enough
        if not torch.equal(buffer, due):
            report.is_wrong = True
            return
        report.sums += 1
        if is_enough:
            return


def _fails(executor: Executor, trial: Trial) -> bool:
    try:
        executor.run(torch.ones(trial.elements))
    except CollectiveError:
        return True
    return False
