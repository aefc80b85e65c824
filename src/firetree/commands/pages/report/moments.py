"""One step after another on a page: some steps of a trace, rank by rank, as data for `timeline.js`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from firetree.commands.text.report import bucket_name
from firetree.output import printable
from firetree.reporting import Diagnosis, Stretch
from firetree.reporting.rounds import StepTable
from firetree.reporting.timeline import phases_of
from firetree.trace import BucketSpan, OpenStep, RankTrace, StepTrace, Trace, TransferSpan

MOST_RANKS, MOST_STEPS, MOST_FLOWS = 16, 8, 3000
"""Of a step with more flows, only the phases and buckets are drawn."""

MOST_BYTES = 400_000
"""Of the data: with many buckets and peers there are fewer steps, at least one."""

PHASES = {
    "data": "waiting for data",
    "forward": "forward pass",
    "backward": "backward pass",
    "others": "waiting for other ranks",
    "network": "waiting for the network",
    "optimizer": "optimiser",
    "evaluation": "evaluation",
    "saving": "saving",
    "other": "other",
}
"""What a rank does or waits for, in the order of the legend."""

Moments = dict[str, Any]
_Round = Sequence[StepTrace]
"""One step, as all ranks saw it."""


def moments(found: Diagnosis, trace: Trace, rounds: StepTable | None) -> Moments:
    """Some steps with each rank's phases, buckets and transfers; times are whole microseconds."""
    ranks = _ranks_shown(found, trace)
    steps: list[Moments] = []
    if any(trace.ranks[rank].now for rank in ranks):
        steps.append(_open(trace, ranks))
    by_number = {one[0].step: one for one in (rounds.steps if rounds else ())}
    chosen = [*_chosen(found, by_number)]
    for count, (number, title) in enumerate(chosen):
        told = _moment(title, number, by_number[number], ranks)
        if steps and len(json.dumps([*steps, told])) > MOST_BYTES:
            missing = f"Steps that would make the page too large: {len(chosen) - count}."
            break
        steps.append(told)
    else:
        missing = ""
    left = len(trace.ranks) - len(ranks)
    return {
        "ranks": [[rank, printable(trace.ranks[rank].header.name)] for rank in ranks],
        "left": " ".join(
            filter(None, [f"Ranks that are not drawn: {left}." * bool(left), missing])
        ),
        "names": PHASES,
        "steps": steps,
    }


def _ranks_shown(found: Diagnosis, trace: Trace) -> list[int]:
    """All ranks; of many the culprits and the first others."""
    culprits = set(found.verdict.culprit.ranks)
    if found.standstill:
        culprits |= {missing.rank for missing in found.standstill.missing}
    order = sorted(range(len(trace.ranks)), key=lambda rank: (rank not in culprits, rank))
    return sorted(order[:MOST_RANKS])


def _chosen(found: Diagnosis, rounds: Mapping[int, _Round]) -> Iterator[tuple[int, str]]:
    """Which steps, and why: of each stretch a typical one, the judged first; and the slowest."""
    judged = found.stretches[found.judged] if found.stretches else None
    others = [it for it in reversed(found.stretches) if it is not judged]
    seen: set[int] = set()
    for stretch in [judged, *others][: MOST_STEPS - 1]:
        if stretch and (number := _typical(stretch, rounds)) is not None:
            seen.add(number)
            yield number, f"typical of steps {stretch.first_step:,} to {stretch.last_step:,}"
    told = [number for number in _in_detail(rounds) if number not in seen]
    if told:
        yield max(told, key=lambda number: _slowest_s(rounds[number])), "the slowest told in detail"


def _in_detail(rounds: Mapping[int, _Round]) -> list[int]:
    return [number for number, one in rounds.items() if all(step.phases for step in one)]


def _typical(stretch: Stretch, rounds: Mapping[int, _Round]) -> int | None:
    """A step near the median, if possible one with details; of several the latest."""
    numbers = [it for it in rounds if stretch.first_step <= it <= stretch.last_step]
    detailed = [it for it in numbers if all(step.phases for step in rounds[it])]
    return min(
        detailed or numbers,
        key=lambda number: (_off(rounds[number], stretch.median_s), -number),
        default=None,
    )


def _off(one: _Round, median_s: float) -> int:
    """By how many twentieths of the median a step is off."""
    return round(20 * abs(_slowest_s(one) / (median_s or 1.0) - 1))


def _slowest_s(one: _Round) -> float:
    return max(step.step_s for step in one)


def _moment(title: str, number: int, one: _Round, ranks: Sequence[int]) -> Moments:
    start_s = min(step.start_s for step in one)
    rows = [_row(one[rank], one, start_s) for rank in ranks]
    layers = {
        bucket_name(bucket.index, bucket.model): list(map(printable, bucket.layers))
        for step in one
        for bucket in step.buckets
        if bucket.layers
    }
    if sum(len(row["flows"]) for row in rows) > MOST_FLOWS:
        title += "; its transfers are too many to be drawn"
        rows = [{**row, "flows": []} for row in rows]
    return {"step": number, "title": title, "layers": layers, "rows": rows}


def _row(step: StepTrace, one: _Round, start_s: float) -> Moments:
    return {
        "phases": [
            [kind, _us(a_s - start_s), _us(b_s - start_s)] for kind, a_s, b_s in _parts(step, one)
        ],
        "buckets": [
            [
                bucket_name(bucket.index, bucket.model),
                bucket.size_bytes,
                _us(bucket.ready_s - start_s),
                _us(bucket.start_s - start_s),
                _us(bucket.end_s - start_s),
            ]
            for bucket in step.buckets
        ],
        "flows": [flow for bucket in step.buckets for flow in _flows(bucket, start_s)],
    }


def _us(duration_s: float) -> int:
    return round(duration_s * 1e6)


def _parts(step: StepTrace, one: _Round) -> Iterator[tuple[str, float, float]]:
    """Phases, of which a wait for sums is divided where the last rank's gradients were ready."""
    passes = 0
    for span in phases_of(step):
        if span.phase != "communication":
            yield span.phase, span.start_s, span.end_s
            continue
        ready_s = _all_ready_s(one, passes) or span.start_s
        passes += 1
        edge_s = min(max(ready_s, span.start_s), span.end_s)
        if edge_s > span.start_s:
            yield "others", span.start_s, edge_s
        if span.end_s > edge_s:
            yield "network", edge_s, span.end_s


def _all_ready_s(one: _Round, number: int) -> float | None:
    """When the last rank had computed the gradients of a backward pass."""
    ready_s = [step.passes[number].ready_s for step in one if number < len(step.passes)]
    return max(ready_s) if len(ready_s) == len(one) else None


def _flows(bucket: BucketSpan, start_s: float) -> Iterator[list[Any]]:
    """A bucket's transfers to a peer as one, and those from it."""
    by_peer: dict[tuple[bool, int], list[TransferSpan]] = defaultdict(list)
    for transfer in bucket.transfers:
        by_peer[transfer.kind != "send", transfer.peer].append(transfer)
    for (is_received, peer), transfers in sorted(by_peer.items()):
        yield [
            int(is_received),
            peer,
            bucket_name(bucket.index, bucket.model),
            len(transfers),
            sum(it.size_bytes for it in transfers),
            _us(min(it.start_s for it in transfers) - start_s),
            _us(max(it.end_s for it in transfers) - start_s),
        ]


def _open(trace: Trace, ranks: Sequence[int]) -> Moments:
    """The step that is not over: what each rank was in when it was last heard of."""
    opened = [trace.ranks[rank].now for rank in ranks]
    start_s = min(_begins_s(trace.ranks[rank]) for rank in ranks)
    end_s = max(now.at_s for now in opened if now)
    layers = {
        bucket_name(bucket.index, bucket.model): list(map(printable, bucket.layers))
        for now in opened
        if now
        for bucket in now.buckets
    }
    rows = [_open_row(now, start_s, end_s) for now in opened]
    number = max(now.step for now in opened if now)
    return {
        "step": number,
        "title": "it is not over, or never was",
        "layers": layers,
        "rows": rows,
        "isOpen": True,
    }


def _begins_s(rank: RankTrace) -> float:
    moments_s: Iterable[float] = [rank.now.since_s] if rank.now else []
    moments_s = [*moments_s, *(bucket.ready_s for bucket in (rank.now.buckets if rank.now else ()))]
    return min(moments_s, default=float("inf"))


def _open_row(now: OpenStep | None, start_s: float, end_s: float) -> Moments:
    if now is None:
        return {"phases": [], "buckets": [], "flows": []}
    kind = "others" if now.phase == "communication" else now.phase
    return {
        "phases": [[kind, _us(now.since_s - start_s), _us(end_s - start_s)]],
        "buckets": [
            [
                bucket_name(bucket.index, bucket.model),
                None,
                _us(bucket.ready_s - start_s),
                _us(bucket.ready_s - start_s),
                _us((bucket.end_s or end_s) - start_s),
            ]
            for bucket in now.buckets
        ],
        "flows": [],
    }
