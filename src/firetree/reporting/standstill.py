"""After a hang or a death: who had not arrived, at which bucket and layer, and who waited.

A rank in `communication` waits for the others' gradients; so whoever is elsewhere has not arrived. Where all
wait, the one that lacks a bucket which the others have handed over keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from firetree.network.units import format_duration
from firetree.output import listed
from firetree.reporting.hosts import Hosts, begun
from firetree.reporting.thresholds import GAP_STEPS, HANG_S
from firetree.reporting.values import Cause, Culprit, Missing, Standstill, Verdict
from firetree.trace import Event, OpenBucket, OpenStep, RankTrace, Trace

_WAITS = ("communication", "backward")


def standstill_of(trace: Trace, hosts: Hosts, typical_s: float) -> Standstill | None:
    """Why a run does not go on; None where it does, or has ended well.

    Args:
        typical_s: of a step; what lasts a few of them is no hang.
    """
    failed = _failure(trace.events)
    if failed is None and any(event.kind == "ended" for event in _newest(trace.events)):
        return None
    open_steps = {
        rank: now for rank, traced in enumerate(trace.ranks) if (now := _open_step(traced))
    }
    longest_s = max((now.at_s - now.since_s for now in open_steps.values()), default=0.0)
    if failed is None and longest_s < max(HANG_S, GAP_STEPS * typical_s):
        return None
    step = max([now.step for now in open_steps.values()], default=_last_step(trace) + 1)
    waiting = tuple(rank for rank, now in open_steps.items() if now.step == step and _waits(now))
    late = [rank for rank in range(len(trace.ranks)) if rank not in waiting] if waiting else []
    if not late and (without := _without_a_bucket(open_steps)):
        late = [without]
        waiting = tuple(rank for rank in waiting if rank != without)
    if not late and failed and failed.rank is not None:
        late = [failed.rank]
    missing = tuple(_missing(rank, open_steps, waiting, step, hosts) for rank in late)
    error = failed.error if failed and failed.rank in late else ""
    return Standstill(missing, waiting, step, failed.text if failed else "", error)


def _newest(events: Sequence[Event]) -> Sequence[Event]:
    """What happened since the run was started last."""
    starts = [k for k, event in enumerate(events) if event.kind == "started"]
    return events[starts[-1] :] if starts else events


def _failure(events: Sequence[Event]) -> Event | None:
    return next((event for event in _newest(events) if event.kind == "failed"), None)


def _open_step(traced: RankTrace) -> OpenStep | None:
    """Where a rank is, unless it has gone on since."""
    now = traced.now
    if now is None or (traced.steps and now.step <= traced.steps[-1].step):
        return None
    return now


def _last_step(trace: Trace) -> int:
    return max((traced.steps[-1].step for traced in trace.ranks if traced.steps), default=-1)


def _waits(now: OpenStep) -> bool:
    """Whether a rank has computed its gradients, and waits for their sum."""
    return now.phase == "communication"


def _without_a_bucket(open_steps: dict[int, OpenStep]) -> int | None:
    """The rank that has not handed over a bucket which others have."""
    handed = {rank: {_key(it) for it in now.buckets} for rank, now in open_steps.items()}
    everything = set().union(*handed.values())
    lacking = [rank for rank, keys in handed.items() if keys < everything]
    return lacking[0] if lacking else None


def _key(bucket: OpenBucket) -> tuple[int, int]:
    return bucket.model, bucket.index


def _missing(
    rank: int, open_steps: dict[int, OpenStep], waiting: Sequence[int], step: int, hosts: Hosts
) -> Missing:
    now = open_steps.get(rank)
    bucket = next(_awaited(now, [open_steps[other] for other in waiting]), None)
    found = Missing(rank, hosts.of(rank), step, "", 0.0)
    if bucket:
        found = replace(found, bucket=bucket.index, layers=bucket.layers)
    if now:
        found = replace(found, step=now.step, doing=now.phase, since_s=now.at_s - now.since_s)
    return found


def _awaited(now: OpenStep | None, others: Sequence[OpenStep]) -> Iterator[OpenBucket]:
    """The buckets that others have handed over, and a rank has not."""
    own = {_key(it) for it in now.buckets} if now else set()
    for other in others:
        for bucket in other.buckets:
            if bucket.end_s is None and _key(bucket) not in own:
                yield bucket


_DOING = {
    "data": "reading data",
    "forward": "in its forward pass",
    "backward": "in its backward pass",
    "communication": "waiting for a sum",
    "optimizer": "in its optimizer",
    "evaluation": "evaluating",
    "saving": "saving",
    "other": "outside of a step's parts",
    "": "not heard of",
}


def standstill_verdict(found: Standstill, hosts: Hosts) -> Verdict:
    """The standstill in a sentence."""
    kind: Cause = "death" if found.failed else "hang"
    ranks = tuple(it.rank for it in found.missing)
    culprit = Culprit(ranks, tuple(hosts.of(rank) for rank in ranks))
    why = [*map(_where, found.missing)]
    if found.waiting:
        why.append(f"{hosts.all_called(found.waiting)} waited")
    if found.failed:
        why.append(f"what failed: {found.failed}")
    if not ranks:
        sentence = f"The run {'ended' if found.failed else 'stands'} at step {found.step}; nothing says for whom."
    elif found.error:
        sentence = (
            f"The run ended at step {found.step}: {hosts.all_called(ranks)} failed: {found.error}."
        )
        return Verdict(kind, culprit, begun(sentence), 1.0, tuple(why), _ON_ERROR)
    else:
        ends = "ended" if found.failed else "stands"
        sentence = f"The run {ends} at step {found.step}: {hosts.all_called(ranks)} did not arrive"
        # One that was seen to be somewhere for so long was alive, whatever ended the others' wait.
        if kind == "hang" or found.missing[0].since_s >= HANG_S:
            kind, doing = "hang", f"{_DOING[found.missing[0].doing]}{_since(found.missing[0])}"
            sentence += f", {doing}"
        sentence += "."
    return Verdict(kind, culprit, begun(sentence), 1.0, tuple(why), _ADVICE[kind], _COMMAND[kind])


_ON_ERROR = "Mend what it says; the script's output on that rank shows where."
_ADVICE = {
    "hang": "See on that host what the process does; a rank that skips a layer or a batch makes the others wait for good.",
    "death": "See on that host why its process ended: its own output, or the kernel's word that memory was short.",
}
_COMMAND = {
    "hang": "py-spy dump --pid PID",
    "death": "dmesg -T | grep -i -E 'killed process|out of memory'",
}


def _since(missing: Missing) -> str:
    return f" for {format_duration(missing.since_s)}" if missing.since_s else ""


def _where(missing: Missing) -> str:
    """`rank 2 on gpu-box was in its backward pass, for 31 s, before bucket 1 (fc1, fc2)`."""
    said = f"rank {missing.rank} on {missing.host} was {_DOING[missing.doing]}{_since(missing)}"
    if missing.bucket is not None:
        layers = f" ({listed(missing.layers)})" if missing.layers else ""
        said += f"; bucket {missing.bucket}{layers} lacked its gradients"
    return said
