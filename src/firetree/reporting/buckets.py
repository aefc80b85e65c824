"""The buckets of a step, the slowest first, and layers whose own backward pass takes remarkably long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

from firetree.reporting.causes import Suspect
from firetree.reporting.rounds import StepTable
from firetree.reporting.thresholds import GENERAL_SHARE, LEAST_LAYERS, UNLIKE
from firetree.reporting.values import BucketReport
from firetree.trace import BucketSpan, StepTrace

Key = tuple[int, int]
"""Of a bucket: its model and index."""


def backward_start_s(step: StepTrace) -> float:
    """When a step's last backward pass began."""
    starts_s = [span.start_s for span in step.phases if span.phase == "backward"]
    if starts_s:
        return starts_s[-1]
    return step.start_s + step.data_wait_s + step.forward_s


def bucket_reports(rounds: StepTable) -> tuple[BucketReport, ...]:
    """All buckets, those that workers wait for longest first."""
    seen = defaultdict[Key, list[tuple[StepTrace, BucketSpan]]](list)
    layers: dict[Key, tuple[str, ...]] = {}
    for one in rounds.steps:
        for step in one:
            for bucket in step.buckets:
                key = bucket.model, bucket.index
                seen[key].append((step, bucket))
                layers[key] = bucket.layers or layers.get(key, ())
    found = [_report(key, spans, layers[key]) for key, spans in seen.items()]
    return tuple(sorted(found, key=lambda it: (-it.exposed_s, -it.sum_s, it.model, it.index)))


def _report(
    key: Key, spans: Sequence[tuple[StepTrace, BucketSpan]], layers: tuple[str, ...]
) -> BucketReport:
    return BucketReport(
        index=key[1],
        model=key[0],
        size_bytes=spans[-1][1].size_bytes,
        layers=layers,
        ready_s=median(max(0.0, it.ready_s - backward_start_s(step)) for step, it in spans),
        sum_s=median(max(0.0, it.end_s - it.start_s) for _, it in spans),
        exposed_s=median(_exposed_s(step, it) for step, it in spans),
    )


def _exposed_s(step: StepTrace, bucket: BucketSpan) -> float:
    """For how long a rank waited for this bucket alone: from its last gradient, or the sum before."""
    ready_s = max((it.ready_s for it in step.passes), default=bucket.ready_s)
    before_s = [it.end_s for it in step.buckets if it.end_s < bucket.end_s]
    return max(0.0, bucket.end_s - max([ready_s, *before_s]))


def buffers_share(rounds: StepTable) -> float:
    """The part of a step for which ranks wait for rank 0's buffers, before each forward pass of DDP's."""
    told = [step for one in rounds.steps for step in one if step.phases]
    waited_s = sum(
        span.end_s - span.start_s
        for step in told
        for span, after in pairwise(step.phases)
        if (span.phase, after.phase) == ("communication", "forward")
    )
    return waited_s / max(sum(step.step_s for step in told), 1e-9)


def heavy_in_time(rounds: StepTable, compute_share: float) -> Suspect | None:
    """The layer that takes longest in the backward pass, if that is remarkable and a large part of a step."""
    times = defaultdict[str, list[float]](list)
    for one in rounds.steps:
        for step in one:
            for layer in step.layer_times:
                times[layer.layer].append(layer.backward_s)
    means_s = {name: fmean(seconds) for name, seconds in times.items()}
    if len(means_s) < LEAST_LAYERS:
        return None
    (name, longest_s), (_, next_s) = sorted(means_s.items(), key=lambda it: -it[1])[:2]
    part = longest_s / sum(means_s.values()) if longest_s else 0.0
    parts = rounds.mean_parts()
    share = part * parts.backward_s / parts.step_s if parts.step_s else 0.0
    is_small = part < GENERAL_SHARE or share < GENERAL_SHARE * compute_share
    if is_small or longest_s < UNLIKE * next_s:
        return None
    return Suspect("heavy_layer", share, (), part, next_s, name)
