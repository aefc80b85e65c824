"""Predict the time of a training step with DDP's buckets.

The all-reduces of buckets run one after another, as buckets become ready, beside the backward pass (Li
et al., "PyTorch distributed: experiences on accelerating data parallel training", 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firetree.models.profile import Profile
from firetree.planning.compressions import Compression


@dataclass(frozen=True, slots=True)
class Bucket:
    """Gradients of one all-reduce; `ready_s` is when the last one is ready, from the backward pass's start."""

    size_bytes: int
    ready_s: float


@dataclass(frozen=True, slots=True)
class StepPrediction:
    """`step_s` ends when all gradients are summed; `exposed_s` of it comes after the backward pass."""

    step_s: float
    exposed_s: float


def bucketed(profile: Profile, bucket_bytes: int) -> list[Bucket]:
    """DDP's buckets: each takes gradients in order until it holds `bucket_bytes` or more."""
    buckets, size_bytes = [], 0
    for gradient in profile.gradients:
        size_bytes += gradient.size_bytes
        if size_bytes >= bucket_bytes:
            buckets.append(Bucket(size_bytes, gradient.ready_s))
            size_bytes = 0
    if size_bytes:
        buckets.append(Bucket(size_bytes, profile.gradients[-1].ready_s))
    return buckets


def step(
    profile: Profile, bucket_bytes: int, all_reduce_s: Callable[[int], float]
) -> StepPrediction:
    """The time of a step in which the all-reduce of a bucket takes `all_reduce_s(size_bytes)`."""
    end_s = 0.0
    for bucket in bucketed(profile, bucket_bytes):
        end_s = max(end_s, bucket.ready_s) + all_reduce_s(bucket.size_bytes)
    exposed_s = max(0.0, end_s - profile.backward_s)
    return StepPrediction(profile.compute_s + exposed_s, exposed_s)


def compressed_step(
    profile: Profile,
    compression: Compression,
    world_size: int,
    bucket_bytes: int,
    all_reduce_s: Callable[[int], float],
) -> StepPrediction:
    """The time of a step that compresses its buckets of `bucket_bytes`, each on one core before its sum."""
    fewer = compression.compressed(profile, world_size)
    arithmetic_s = compression.arithmetic_s(profile)

    def sum_s(sent_bytes: int) -> float:
        return all_reduce_s(sent_bytes) + arithmetic_s * sent_bytes / fewer.size_bytes

    sent_share = fewer.size_bytes / profile.size_bytes
    return step(fewer, max(1, round(bucket_bytes * sent_share)), sum_s)


def local_step(
    profile: Profile,
    local_steps: int,
    all_reduce_s: Callable[[int], float],
    fragments: int = 1,
    overlap_steps: int = 0,
) -> StepPrediction:
    """The mean time of a step when ranks average all parameters after every `local_steps` steps.

    They do so in so many fragments one by one, each of which `overlap_steps` steps hide.
    """
    fragment_s = all_reduce_s(round(profile.size_bytes / fragments))
    exposed_s = max(0.0, fragment_s - overlap_steps * profile.compute_s) * fragments / local_steps
    return StepPrediction(profile.compute_s + exposed_s, exposed_s)
