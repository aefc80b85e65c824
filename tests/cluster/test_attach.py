"""`firetree.attach` in a plain DDP script that is not firetree's trainer."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import firetree
from firetree import Plan
from firetree.errors import UserError
from firetree.planning.candidates import Choice
from firetree.planning.forest import Forest
from firetree.sync import algorithm_names
from firetree.wires.own_connections import SentBytes

BATCH, STEPS = 24, 6


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 300), nn.Tanh(), nn.Linear(300, 400), nn.Linear(400, 5))


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(BATCH, 20, generator=generator), torch.randn(BATCH, 5, generator=generator)


def train(model: nn.Module, rank: int, world_size: int) -> list[Tensor]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(STEPS):
        x, y = (part.tensor_split(world_size)[rank] for part in batch(step))
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def planned() -> Plan:
    """One bucket size along a forest, the other by the backend's own all-reduce."""
    forest = Forest(((0, 1), (3, 2)), leaf_parts=(0, 0, 8, 0), gates=1, chunks=6)
    choices = ((100_000, Choice("forest", 6, forest=forest)), (500_000, Choice("gloo", 8)))
    size = sum(parameter.nbytes for parameter in net().parameters())
    return Plan("net", 4, size, 100_000, choices, 1.0, 1.1, "host 2 up", ())


def train_attached(algorithm: str | Plan) -> tuple[list[Tensor], str, int]:
    model = DistributedDataParallel(net(), bucket_cap_mb=0.1)
    synchroniser = firetree.attach(model, algorithm=algorithm)
    weights = train(model, dist.get_rank(), dist.get_world_size())
    digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights)).hexdigest()
    return weights, digest, len(synchroniser.record.take().buckets)


def train_by_every_algorithm() -> list[tuple[list[Tensor], str, int]]:
    return [train_attached(algorithm) for algorithm in (*algorithm_names(), planned())]


def test_ranks_agree_to_the_bit_and_equal_one_process_on_the_whole_batch() -> None:
    of_ranks = run_on_ranks(4, train_by_every_algorithm)
    alone = train(net(), 0, 1)
    for algorithm, *results in zip((*algorithm_names(), "plan"), *of_ranks, strict=True):
        assert len({digest for _, digest, _ in results}) == 1, algorithm
        for ours, expected in zip(results[0][0], alone, strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
        assert results[0][2] > STEPS, "several buckets a step were synchronised"


def attach_what_does_not_fit() -> list[str]:
    messages = []
    for plan in (planned(), dataclasses.replace(planned(), world_size=2)):
        with pytest.raises(UserError) as refusal:
            firetree.attach(DistributedDataParallel(nn.Linear(10, 10)), plan)
        messages.append(str(refusal.value))
    return messages


def test_a_plan_for_another_cluster_or_model_is_refused() -> None:
    for other_cluster, other_model in run_on_ranks(2, attach_what_does_not_fit):
        assert "a plan for 4 ranks on 2" in other_cluster
        assert "this model has 440" in other_model


def sent_by_count_and_by_kernel() -> tuple[int, int]:
    model = DistributedDataParallel(nn.Linear(1000, 500))
    synchroniser = firetree.attach(model, algorithm="ring")
    dist.barrier()
    by_kernel = SentBytes()
    before = by_kernel.count()
    for _ in range(3):
        model(torch.ones(1, 1000)).sum().backward()
    dist.barrier()  # what was handed to the kernel last has then arrived
    after = by_kernel.count()
    return synchroniser.sent_bytes(), after - before


def test_the_kernel_counts_the_bytes_that_the_executor_counts() -> None:
    for counted, by_kernel in run_on_ranks(3, sent_by_count_and_by_kernel):
        assert counted == pytest.approx(3 * 2 * 2 / 3 * 4 * 500_500, rel=1e-3)
        assert by_kernel == pytest.approx(counted, rel=0.01)


def lose_a_peer() -> str:
    model = DistributedDataParallel(nn.Linear(10, 10))
    firetree.attach(model, algorithm="binomial_tree", timeout_s=2)
    if dist.get_rank() == 2:
        return "left"
    with pytest.raises(RuntimeError) as failure:
        model(torch.ones(1, 10)).sum().backward()
    return str(failure.value)


def test_a_rank_that_leaves_ends_the_backward_pass_with_its_name() -> None:
    messages = run_on_ranks(3, lose_a_peer)
    assert "rank 2" in messages[0]
    assert "chunk 0" in messages[0]
