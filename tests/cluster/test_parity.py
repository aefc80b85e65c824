"""Real processes over real sockets: our schedules against torch.distributed.all_reduce."""

from __future__ import annotations

import hashlib
from typing import cast

import pytest
import torch
import torch.distributed as dist
from ranks import meshed, run_on_ranks

from firetree import collectives
from firetree.collectives import Executor
from firetree.collectives.over_nccl import OverNccl
from firetree.collectives.schedule import Collective

ALGORITHMS = (*collectives.names(), "kary_tree:2", "sharded_parameter_server:2", "hierarchical:3")

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int32, torch.int64, torch.uint8)
ODD_DTYPES = (torch.float32, torch.uint8)
SMALL_SIZES = (0, 1, 2, 1009)
FIVE_MB_OF_FLOAT32 = 1_250_000
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 0.05}


def values(rank: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1000 + rank)
    if dtype.is_floating_point:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
    return torch.randint(0, 30, (size,), generator=generator).to(dtype)


def expected_sums() -> dict[tuple[int, torch.dtype], torch.Tensor]:
    """torch's own sums of every case, which all of ours are compared with."""
    cases = [(size, dtype) for dtype in DTYPES for size in SMALL_SIZES]
    cases += [(FIVE_MB_OF_FLOAT32, torch.float32), (FIVE_MB_OF_FLOAT32, torch.bfloat16)]
    sums = {case: values(dist.get_rank(), *case) for case in cases}
    for value in sums.values():
        dist.all_reduce(value)
    return sums


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.view(torch.uint8).numpy().tobytes()).hexdigest()


def compare(executor: Executor, sums: dict[tuple[int, torch.dtype], torch.Tensor]) -> list[str]:
    """Digests of every sum, after checking each against torch's own."""
    digests = []
    for (size, dtype), theirs in sums.items():
        ours = values(dist.get_rank(), size, dtype)
        executor.run(ours)
        if dtype.is_floating_point:
            tolerance = TOLERANCE[dtype]
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=4 * tolerance)
        else:
            assert torch.equal(ours, theirs)
        digests.append(digest(ours))
    return digests


def compare_all() -> list[list[str]]:
    mesh, sums = meshed(), expected_sums()
    odd = {case: sums[case] for case in sums if case[0] in (1, 1009) and case[1] in ODD_DTYPES}
    return [
        compare(Executor(collectives.build(name, dist.get_world_size(), chunks), mesh), cases)
        for name in ALGORITHMS
        for chunks, cases in ((None, sums), (7, odd))
    ]


@pytest.mark.parametrize(
    "world_size",
    [
        2,
        pytest.param(3, marks=pytest.mark.slow),
        5,
        pytest.param(8, marks=pytest.mark.slow),
        pytest.param(16, marks=pytest.mark.slow),
    ],
)
def test_sums_equal_all_reduce_and_are_bit_identical_on_all_ranks(world_size: int) -> None:
    first, *others = run_on_ranks(world_size, compare_all)
    assert all(other == first for other in others)


def sum_all_in_rounds() -> list[tuple[str, str]]:
    return [sum_in_rounds(name) for name in ALGORITHMS]


def sum_in_rounds(name: str) -> tuple[str, str]:
    """The same sum over wires, and by the rounds that are made for NCCL (here over Gloo)."""
    group = cast(dist.ProcessGroup, dist.new_group(backend="gloo"))
    schedule = collectives.build(name, dist.get_world_size(), 7)
    in_order = values(dist.get_rank(), 1009, torch.float32)
    rounds = in_order.clone()
    Executor(schedule, meshed()).run(in_order)
    OverNccl(schedule, collectives.prove(schedule), group).carry(rounds)
    return digest(in_order), digest(rounds)


def test_grouped_rounds_give_the_same_bits() -> None:
    of_ranks = run_on_ranks(5, sum_all_in_rounds)
    for name, *results in zip(ALGORITHMS, *of_ranks, strict=True):
        assert len({bits for both in results for bits in both}) == 1, name


def run_halves(name: str, kind: Collective) -> tuple[torch.Tensor, list[int]]:
    schedule = collectives.build(name, dist.get_world_size(), 6, kind)
    buffer = torch.full((6,), 10.0 ** dist.get_rank())
    Executor(schedule, meshed()).run(buffer)
    return buffer, list(schedule.owners)


@pytest.mark.parametrize("name", ["ring", "circulant", "sharded_parameter_server"])
def test_reduce_scatter_sums_at_the_owners(name: str) -> None:
    results = run_on_ranks(3, run_halves, name, "reduce_scatter")
    for rank, (buffer, owners) in enumerate(results):
        owned = [
            value for value, owner in zip(buffer.tolist(), owners, strict=True) if owner == rank
        ]
        assert owned == [111.0] * 2


def test_broadcast_copies_the_root() -> None:
    assert all(
        buffer.tolist() == [1.0] * 6
        for buffer, _ in run_on_ranks(3, run_halves, "chain", "broadcast")
    )


def sum_all_twice() -> list[tuple[bool, list[int], int]]:
    return [sum_twice(algorithm) for algorithm in collectives.names()]


def sum_twice(algorithm: str) -> tuple[bool, list[int], int]:
    schedule = collectives.build(algorithm, dist.get_world_size())
    executor = Executor(schedule, meshed())
    first = values(dist.get_rank(), 1009, torch.float32)
    second = first.clone()
    executor.run(first)
    executor.run(second)
    return torch.equal(first, second), executor.sent_bytes, 2 * first.nbytes


def test_a_second_run_gives_the_same_bits_and_counts_its_bytes() -> None:
    world_size = 4
    of_ranks = run_on_ranks(world_size, sum_all_twice)
    links = collectives.LinkGraph(latency_s=0.0, rate_bytes_s=1.0)
    for algorithm, *results in zip(collectives.names(), *of_ranks, strict=True):
        assert all(same for same, _, _ in results), algorithm
        chunks = collectives.build(algorithm, world_size).chunks
        cost = collectives.find(algorithm).cost(world_size, chunks, results[0][2], links)
        busiest = max(sum(sent) for _, sent, _ in results)
        assert busiest == pytest.approx(cost.sent_bytes, rel=0.01), algorithm
