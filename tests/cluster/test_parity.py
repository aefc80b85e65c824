"""Real processes over real sockets: our schedules against torch.distributed.all_reduce."""

from __future__ import annotations

import hashlib

import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks

from firetree import collectives

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int32, torch.int64, torch.uint8)
SMALL_SIZES = (0, 1, 2, 1009)
FIVE_MB_OF_FLOAT32 = 1_250_000
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 0.05}


def values(rank: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1000 + rank)
    if dtype.is_floating_point:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
    return torch.randint(0, 30, (size,), generator=generator).to(dtype)


def compare_with_all_reduce(algorithm: str, chunks: int | None) -> list[str]:
    """Digests of every sum, after checking each against torch's own."""
    group = dist.new_group(backend="gloo")
    schedule = collectives.build(algorithm, dist.get_world_size(), chunks)
    executor = collectives.Executor(schedule, group)
    cases = [(size, dtype) for dtype in DTYPES for size in SMALL_SIZES]
    cases += [(FIVE_MB_OF_FLOAT32, torch.float32), (FIVE_MB_OF_FLOAT32, torch.bfloat16)]
    digests = []
    for size, dtype in cases:
        ours = values(dist.get_rank(), size, dtype)
        theirs = ours.clone()
        executor.run(ours)
        dist.all_reduce(theirs)
        if dtype.is_floating_point:
            tolerance = TOLERANCE[dtype]
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=4 * tolerance)
        else:
            assert torch.equal(ours, theirs)
        digests.append(hashlib.sha256(ours.view(torch.uint8).numpy().tobytes()).hexdigest())
    return digests


def compare_all() -> list[list[str]]:
    return [
        compare_with_all_reduce(algorithm, chunks)
        for algorithm in collectives.names()
        for chunks in (None, 7)
    ]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5, 8])
def test_sums_equal_all_reduce_and_are_bit_identical_on_all_ranks(world_size: int) -> None:
    first, *others = run_on_ranks(world_size, compare_all)
    assert all(other == first for other in others)


def sum_twice(algorithm: str) -> tuple[bool, list[int], int]:
    schedule = collectives.build(algorithm, dist.get_world_size())
    executor = collectives.Executor(schedule, dist.new_group(backend="gloo"))
    first = values(dist.get_rank(), 1009, torch.float32)
    second = first.clone()
    executor.run(first)
    executor.run(second)
    return torch.equal(first, second), executor.sent_bytes, 2 * first.nbytes


@pytest.mark.parametrize("algorithm", collectives.names())
def test_a_second_run_gives_the_same_bits_and_counts_its_bytes(algorithm: str) -> None:
    world_size = 4
    results = run_on_ranks(world_size, sum_twice, algorithm)
    assert all(same for same, _, _ in results)
    links = collectives.Links(latency_s=0.0, rate_bytes_s=1.0)
    expected = collectives.ALGORITHMS[algorithm].cost(world_size, results[0][2], links).sent_bytes
    busiest = max(sum(sent) for _, sent, _ in results)
    assert busiest == pytest.approx(expected, rel=0.01)
