"""A trace as Chrome's trace events, which Perfetto and Chrome's own viewer open.

A rank is a process. Its tracks hold its steps with their phases, its buckets, and its transfers by peer;
what overlaps is on several tracks of one name. Times are whole microseconds since the trace's first.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from firetree.reporting.timeline import in_lanes, phases_of
from firetree.trace import (
    BucketSpan,
    Event,
    OpenStep,
    Phase,
    RankTrace,
    StepTrace,
    Trace,
    TransferSpan,
)
from firetree.wires.tcp_info import TcpInfo

ChromeEvent = dict[str, Any]
"""`ph` is its kind, `pid` the rank, `tid` the track, `ts` and `dur` microseconds."""

_Clock = Callable[[float], int]

_STEPS = 1
"""The track of the steps; those after it are for buckets and transfers."""

_NAMES: dict[Phase, str] = {"data": "waiting for data", "communication": "waiting for sums"}


def to_chrome_json(trace: Trace) -> str:
    """The trace as a file for https://ui.perfetto.dev, which reads it on one's own machine.

    Example:
        >>> Path("out.json").write_text(to_chrome_json(firetree.Run("runs/demo").trace()))
    """
    events = ",\n".join(map(_ENCODER.encode, chrome_events(trace)))
    return f'{{"displayTimeUnit": "ms", "traceEvents": [\n{events}\n]}}\n'


_ENCODER = json.JSONEncoder(separators=(",", ":"))


def chrome_events(trace: Trace) -> Iterator[ChromeEvent]:
    """The events of the format: those that name things first, then each rank's by time."""
    clock = _clock(trace)
    rank_of = {
        span.local: rank.header.rank
        for rank in trace.ranks
        for step in rank.steps
        for span in step.connections
    }
    for rank in trace.ranks:
        named, told = _rank_events(rank, trace, rank_of, clock)
        yield from named
        yield from sorted(told, key=lambda it: (it["ts"], -it.get("dur", 0)))
    yield from (_instant(event, clock) for event in sorted(trace.events, key=lambda it: it.at_s))


def _clock(trace: Trace) -> _Clock:
    starts_s = [step.start_s for rank in trace.ranks for step in rank.steps]
    opened_s = [rank.now.since_s for rank in trace.ranks if rank.now]
    first_s = min(chain(starts_s, opened_s, (event.at_s for event in trace.events)), default=0.0)
    return lambda at_s: max(0, round((at_s - first_s) * 1e6))


def _rank_events(
    rank: RankTrace, trace: Trace, rank_of: dict[str, int], clock: _Clock
) -> tuple[list[ChromeEvent], list[ChromeEvent]]:
    """The names of a rank and of its tracks; and what is on them."""
    pid = rank.header.rank
    named = [
        _named(pid, "process_name", name=rank.header.name),
        _named(pid, "process_sort_index", sort_index=pid),
        _named(pid, "thread_name", _STEPS, name="steps"),
    ]
    if rank.header.address:
        named.append(_named(pid, "process_labels", labels=rank.header.address))
    told = list(chain.from_iterable(_steps(pid, rank, clock)))
    lanes = chain(_bucket_lanes(pid, rank, clock), _transfer_lanes(pid, rank, trace, clock))
    for track, (name, slices) in enumerate(lanes, _STEPS + 1):
        named.append(_named(pid, "thread_name", track, name=name))
        named.append(_named(pid, "thread_sort_index", track, sort_index=track))
        told += [{**one, "tid": track} for one in slices]
    told += _counters(pid, rank, rank_of, clock)
    return named, told


def _named(pid: int, what: str, track: int = 0, **named: object) -> ChromeEvent:
    return {"ph": "M", "pid": pid, "tid": track, "ts": 0, "name": what, "args": named}


def _slice(pid: int, name: str, kind: str, start: int, end: int, **told: object) -> ChromeEvent:
    args = {key: value for key, value in told.items() if value not in (None, "", ())}
    return {
        "ph": "X",
        "pid": pid,
        "tid": _STEPS,
        "ts": start,
        "dur": max(0, end - start),
        "name": name,
        "cat": kind,
        "args": args,
    }


def _steps(pid: int, rank: RankTrace, clock: _Clock) -> Iterator[list[ChromeEvent]]:
    """Each step with the phases in it, and the one that is not over."""
    latest_s = rank.now.since_s if rank.now else float("inf")
    next_starts_s = [*(step.start_s for step in rank.steps[1:]), latest_s]
    for step, next_s in zip(rank.steps, next_starts_s, strict=False):
        yield _step(pid, step, next_s, clock)
    if rank.now:
        yield _open_step(pid, rank.now, clock)


def _step(pid: int, step: StepTrace, next_s: float, clock: _Clock) -> list[ChromeEvent]:
    phases = phases_of(step)
    end_s = max((it.end_s for it in phases), default=step.start_s)
    start, end = clock(step.start_s), clock(min(end_s, next_s))
    whole = _slice(
        pid,
        f"step {step.step}",
        "step",
        start,
        end,
        mean_of_steps=step.count if step.count > 1 else None,
        algorithm=step.algorithm,
        samples=step.samples,
        sent_bytes=step.sent_bytes,
        cpu_s=step.cpu_s,
        starved_s=step.starved_s,
    )
    inner = (
        _slice(
            pid,
            _NAMES.get(it.phase, it.phase),
            "phase",
            _within(clock(it.start_s), start, end),
            _within(clock(it.end_s), start, end),
        )
        for it in phases
    )
    return [whole, *(it for it in inner if it["dur"])]


def _within(moment: int, start: int, end: int) -> int:
    return min(max(moment, start), end)


def _open_step(pid: int, now: OpenStep, clock: _Clock) -> list[ChromeEvent]:
    """Begun and not ended, as viewers draw what was cut off."""
    names = f"step {now.step}", _NAMES.get(now.phase, now.phase)
    return [
        {
            "ph": "B",
            "pid": pid,
            "tid": _STEPS,
            "ts": clock(now.since_s),
            "name": name,
            "cat": "open",
        }
        for name in names
    ]


_Lane = tuple[str, list[ChromeEvent]]


def _bucket_lanes(pid: int, rank: RankTrace, clock: _Clock) -> Iterator[_Lane]:
    for lane in in_lanes(bucket for step in rank.steps for bucket in step.buckets):
        yield "buckets", [_bucket(pid, bucket, clock) for bucket in lane]


def _bucket(pid: int, bucket: BucketSpan, clock: _Clock) -> ChromeEvent:
    return _slice(
        pid,
        f"bucket {bucket.index}" + (f" of model {bucket.model}" if bucket.model else ""),
        "bucket",
        clock(bucket.start_s),
        clock(bucket.end_s),
        size_bytes=bucket.size_bytes,
        layers=bucket.layers,
        waited_to_begin_s=round(max(0.0, bucket.start_s - bucket.ready_s), 6),
    )


def _transfer_lanes(pid: int, rank: RankTrace, trace: Trace, clock: _Clock) -> Iterator[_Lane]:
    by_peer: dict[tuple[int, bool], list[TransferSpan]] = defaultdict(list)
    for step in rank.steps:
        for bucket in step.buckets:
            for transfer in bucket.transfers:
                by_peer[transfer.peer, transfer.kind != "send"].append(transfer)
    for (peer, is_received), transfers in sorted(by_peer.items()):
        name = f"{'from' if is_received else 'to'} {_name(trace, peer)}"
        for lane in in_lanes(transfers):
            yield name, [_transfer(pid, transfer, clock) for transfer in lane]


def _name(trace: Trace, rank: int) -> str:
    return trace.ranks[rank].header.name if rank < len(trace.ranks) else f"rank {rank}"


def _transfer(pid: int, transfer: TransferSpan, clock: _Clock) -> ChromeEvent:
    start, end = clock(transfer.start_s), clock(transfer.end_s)
    name = f"{transfer.kind} chunk {transfer.chunk}"
    return _slice(pid, name, "transfer", start, end, size_bytes=transfer.size_bytes)


def _counters(
    pid: int, rank: RankTrace, rank_of: dict[str, int], clock: _Clock
) -> Iterator[ChromeEvent]:
    """Cores in use in a step, and the rate of each link while it is busy."""
    for step in rank.steps:
        if step.step_s > 0:
            yield _counter(pid, "CPU cores in use", clock(step.start_s), step.cpu_s / step.step_s)
        for wire in step.wires:
            yield from _rates(pid, f"rank {wire.peer}", wire.tcp, clock(wire.start_s))
        for span in step.connections:
            peer = rank_of.get(span.remote)
            name = span.remote if peer is None else f"rank {peer}"
            yield from _rates(pid, name, span.tcp, clock(span.start_s))


def _rates(pid: int, peer: str, tcp: TcpInfo, moment: int) -> Iterable[ChromeEvent]:
    if tcp.acked_bytes and tcp.busy_s:
        mbit_s = tcp.acked_bytes * 8e-6 / tcp.busy_s
        yield _counter(pid, f"to {peer}, Mbit/s", moment, mbit_s)


def _counter(pid: int, name: str, moment: int, value: float) -> ChromeEvent:
    return {"ph": "C", "pid": pid, "tid": 0, "ts": moment, "name": name, "args": {"value": value}}


def _instant(event: Event, clock: _Clock) -> ChromeEvent:
    """An event of the run as a whole, or of one rank."""
    reach = {"s": "g", "pid": 0} if event.rank is None else {"s": "p", "pid": event.rank}
    told = {"text": event.text, "step": event.step}
    name = f"{event.kind}: {event.text}"
    return {"ph": "i", **reach, "tid": 0, "ts": clock(event.at_s), "name": name, "args": told}
