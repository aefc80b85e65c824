"""Writes the trace of all ranks into rank 0's folder: a process of its own on rank 0's host.

So neither reading nor writing holds up rank 0's training, and the trace goes on where rank 0 dies or
hangs. It ends by itself once all ranks are gone. `telemetry` starts it, and is what speaks to it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from firetree import trace
from firetree.documents import Count, parse_json
from firetree.errors import UserError
from firetree.observing.board import Board
from firetree.observing.messages import Arrivals, Told, heard, line_of
from firetree.output import printable
from firetree.trace import Event, EventKind, TraceHeader
from firetree.wires import Listener, Wire, WireClosedError, given_secret

WRITE_EVERY_S = 1.0
SILENT_S = 10.0
"""A rank says something each second; one that is silent for so long is stopped, stuck or cut off."""
LINGER_S = 1.0
"""How long rank 0 waits at its end for what others still tell."""
_BUSY = 0.05
"""The largest share of the time that writing takes: to a slow disk, it is done less often."""
_KEEPALIVE = {socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
"""A host that is gone without a word is noticed after 25 s."""
_GENTLE = 5
"""Of nice: training comes first."""
_MOST_UNSENT_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the collector is told at its start: two inherited descriptors, and who will come.

    `folder` is the run folder, locked; `listening` a socket; `within_s` how long ranks may take to come.
    """

    run_dir: str
    folder: Count
    listening: Count
    token: str
    headers: tuple[TraceHeader, ...]
    within_s: float


@dataclass(slots=True, eq=False)
class _Rank:
    """A rank as the collector knows it; `step` is the one that it is in."""

    header: TraceHeader
    wire: Wire
    arrivals: Arrivals
    heard_s: float
    step: int = 0
    is_silent: bool = False
    unsent: bytearray = field(default_factory=bytearray)

    def answer(self, **said: object) -> None:
        """Say something to it, unless it has not read for long, or is gone, which reading finds."""
        if len(self.unsent) < _MOST_UNSENT_BYTES:
            self.unsent += line_of(**said)
        with suppress(WireClosedError):
            del self.unsent[: self.wire.send(memoryview(bytes(self.unsent)))]


class Collector:
    """The ranks' connections, and the folder that what they tell is written to.

    Args:
        run_dir: where their traces have begun.
        headers: of all ranks.
        streams: a connection of each, by rank.
        board: gets rank 0's steps.
    """

    def __init__(
        self,
        run_dir: Path,
        headers: Sequence[TraceHeader],
        streams: Mapping[int, socket.socket],
        board: Board,
    ):
        self._run_dir = run_dir
        self._here: dict[int, _Rank] = {}
        self._unwritten: dict[int, list[str]] = {rank: [] for rank in streams}
        self._step, self._failed = 0, False
        self._board = board
        self._leaving: _Rank | None = None
        self._leave_s = float("inf")
        self._poll = select.poll()
        for rank, stream in streams.items():
            _keep_alive(stream)
            wire = Wire.over(stream)
            known = _Rank(headers[rank], wire, Arrivals(wire), time.monotonic())
            self._here[stream.fileno()] = known
            self._poll.register(stream, select.POLLIN)

    def run(self) -> None:
        """Write what comes until all ranks are gone (OSError or UserError where that fails)."""
        count = len(self._here)
        self._note("started", "1 rank" if count == 1 else f"{count} ranks")
        write_s = time.monotonic()
        while self._here:
            wait_s = max(0.0, min(write_s, self._leave_s) - time.monotonic())
            for descriptor, _ in self._poll.poll(wait_s * 1e3):
                self._hear(self._here[descriptor])
            if (now_s := time.monotonic()) >= write_s:
                self._look_for_silent(now_s)
                self._write()
                write_s = now_s + max(WRITE_EVERY_S, (time.monotonic() - now_s) / _BUSY)
            if now_s >= self._leave_s:
                self._let_rank_0_go()
        if not self._failed:
            self._note("ended", "all ranks ended")
        self._let_rank_0_go()

    def give_up(self, why: str) -> None:
        """Tell rank 0 why its trace ends here, and let all ranks go."""
        for rank in filter(None, (*self._here.values(), self._leaving)):
            rank.answer(text=printable(why) if rank.header.rank == 0 else "")
            rank.wire.close()

    def _hear(self, rank: _Rank) -> None:
        """Take what has come from a rank."""
        incoming = map(heard, rank.arrivals.arrived())
        while told := self._next(rank, incoming):
            self._take(rank, told)
            if told.goodbye:
                self._end(rank)
                return

    def _next(self, rank: _Rank, incoming: Iterator[Told]) -> Told | None:
        try:
            return next(incoming, None)
        except WireClosedError:
            self._lose(rank, "went away")
        except UserError as error:
            self._lose(rank, f"sent what is no trace, {printable(str(error))},")
        return None

    def _take(self, rank: _Rank, told: Told) -> None:
        now_s = time.monotonic()
        if rank.is_silent:
            self._note("waiting", f"is back after {now_s - rank.heard_s:.0f} s", rank)
        rank.heard_s, rank.is_silent = now_s, False
        if told.asked_s is not None:
            rank.answer(asked_s=told.asked_s, there_s=now_s)
        if told.step is not None:
            rank.step = told.step + 1
            self._unwritten[rank.header.rank].append(told.line)
        if told.now or told.is_over:
            rank.step = told.now.step if told.now else rank.step
            trace.write_now(self._run_dir, rank.header.rank, told.now)
        if told.event:
            self._add(told.event)
        self._step = max(self._step, rank.step)

    def _end(self, rank: _Rank) -> None:
        """A rank has said goodbye; rank 0 stays until the others have, but not for long."""
        self._drop(rank)
        if rank.header.rank == 0:
            self._leaving, self._leave_s = rank, time.monotonic() + LINGER_S
        else:
            rank.wire.close()

    def _lose(self, rank: _Rank, how: str) -> None:
        """A rank is gone without a goodbye."""
        self._drop(rank)
        rank.wire.close()
        self._note("failed", how, rank)

    def _drop(self, rank: _Rank) -> None:
        descriptor = rank.wire.incoming.fileno()
        self._poll.unregister(descriptor)
        del self._here[descriptor]

    def _let_rank_0_go(self) -> None:
        """Once all that has come is written: rank 0 may report it."""
        self._write()
        if self._leaving:
            self._leaving.wire.close()
        self._leaving, self._leave_s = None, float("inf")

    def _look_for_silent(self, now_s: float) -> None:
        for rank in self._here.values():
            if not rank.is_silent and now_s - rank.heard_s > SILENT_S:
                rank.is_silent = True
                what = f"says nothing for {SILENT_S:.0f} s: it is stopped, stuck or cut off,"
                self._note("waiting", what, rank)

    def _write(self) -> None:
        for rank, lines in self._unwritten.items():
            if lines:
                trace.append_step_lines(self._run_dir, rank, lines)
                if rank == 0:
                    self._board.add([*lines])
                lines.clear()

    def _note(self, kind: EventKind, what: str, rank: _Rank | None = None) -> None:
        """Add an event that no rank has told."""
        step, text, number = self._step, what, None
        if rank:
            step, number = rank.step, rank.header.rank
            text = f"{rank.header.name} {what} at step {step}"
        self._add(Event(kind, time.monotonic(), step, text, number))

    def _add(self, event: Event) -> None:
        self._failed |= event.kind == "failed"
        trace.add_event(self._run_dir, event)


def _keep_alive(stream: socket.socket) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        stream.setsockopt(socket.IPPROTO_TCP, option, value)


def main() -> None:
    """Do what standard input asks for."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(
            number, signal.SIG_IGN
        )  # the ranks get them, and end the collector by their end
    os.nice(_GENTLE)
    asked = parse_json(Assignment, sys.stdin.buffer.read(), "the collector's assignment")
    until_s = time.monotonic() + asked.within_s
    with closing(Listener(socket.socket(fileno=asked.listening), given_secret())) as listener:
        streams = listener.accept(bytes.fromhex(asked.token), range(len(asked.headers)), until_s)
    board = Board(Path(asked.run_dir))
    collector = Collector(Path(asked.run_dir), asked.headers, streams, board)
    try:
        collector.run()
    except Exception as error:
        collector.give_up(str(error))
    os.close(asked.folder)  # the trace is whole
    board.close()


if __name__ == "__main__":
    main()
