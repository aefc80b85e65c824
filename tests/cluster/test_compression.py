"""Fewer bytes on real ranks: what is summed, what is kept back, and that a run goes on the same."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from command import resumed_weights
from ranks import run_on_ranks
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from firetree import collectives
from firetree.errors import UserError
from firetree.planning.compressions import parse_compression
from firetree.sync import attach
from firetree.sync.compression import compressor

ALGORITHMS = ("binomial_tree", "ring", "double_binary_tree", "gloo")
LOSSY = ("int8", "topk:0.1", "topk:1", "sparseloco:0.1:1", "turns:7")


def gradients(rank: int, step: int) -> torch.Tensor:
    return torch.randn(3000, generator=torch.Generator().manual_seed(100 * rank + step))


def sums_of_many_steps(name: str) -> tuple[float, float]:
    """How far the sum over all steps is off, of the exact sum's length, and what was kept back."""
    rank, ranks = dist.get_rank(), range(dist.get_world_size())
    summing = compressor(parse_compression(name), dist.group.WORLD, torch.device("cpu"))
    summed, exact = torch.zeros(3000), torch.zeros(3000)
    for step in range(60):
        buffer = gradients(rank, step)
        summing.average(0, buffer, lambda it: dist.all_reduce(it), ranks=1)
        summed += buffer
        exact += sum(gradients(other, step) for other in ranks)
    kept = summing.errors[0].clone()
    dist.all_reduce(kept)
    same = summed.clone()
    dist.broadcast(same, src=0)
    assert torch.equal(same, summed)
    return ((summed + kept - exact).norm() / exact.norm()).item(), kept.norm().item()


@pytest.mark.parametrize("name", LOSSY)
def test_what_is_lost_in_a_step_is_kept_back_and_comes_later(name: str) -> None:
    for off, kept in run_on_ranks(3, sums_of_many_steps, name):
        assert off < 1e-5
        assert (kept == 0) == (name == "topk:1")


def hook_against_pytorchs() -> tuple[torch.Tensor, torch.Tensor]:
    found = []
    for ours in (True, False):
        torch.manual_seed(0)
        model = DistributedDataParallel(torch.nn.Linear(50, 20))
        if ours:
            attach(model, "ring", compression="fp16")
        else:
            model.register_comm_hook(None, fp16_compress_hook)
        torch.manual_seed(dist.get_rank())
        model(torch.randn(8, 50)).square().mean().backward()
        found.append(model.module.weight.grad)
    return found[0], found[1]


def test_16_bits_give_what_pytorchs_own_hook_gives() -> None:
    for ours, theirs in run_on_ranks(2, hook_against_pytorchs):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-5)


def sum_by_many_buckets(name: str) -> tuple[int, float]:
    """Buckets of a step, and how far the gradients of many steps are off, of the exact ones' length."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(50, 100), torch.nn.Linear(100, 20))
    model = DistributedDataParallel(net, bucket_cap_mb=0.005)
    exact = DistributedDataParallel(copy.deepcopy(net))
    synchroniser = attach(model, "ring", compression=name)
    torch.manual_seed(dist.get_rank())
    summed = torch.zeros(sum(p.numel() for p in net.parameters()))
    expected, buckets = summed.clone(), 0
    for step in range(60):
        x = torch.randn(8, 50)
        for one in (model, exact):
            one.zero_grad()
            one(x).square().mean().backward()
        buckets = len(synchroniser.record.take().buckets)
        if step:  # what the first step keeps back is lost: DDP cuts other buckets after it
            for total, one in ((summed, model), (expected, exact)):
                total += torch.cat([p.grad.flatten() for p in one.parameters()])
    return buckets, ((summed - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", ["int8", "topk:0.1", "powersgd:4", "demo:1000:1"])
def test_each_of_many_buckets_keeps_back_its_own(name: str) -> None:
    for buckets, off in run_on_ranks(2, sum_by_many_buckets, name):
        assert buckets > 1
        assert off < 0.1


def step_after_one_left_out(name: str) -> float:
    """How long a gradient of length 1 is after one that was too long for its length to be finite."""
    model = DistributedDataParallel(torch.nn.Linear(100, 30, bias=False))
    synchroniser = attach(model, "ring", compression=name)
    for scale in (1e-3, 1e-3, 1e-3, 1e20):
        model.zero_grad()
        (scale * model(torch.ones(1, 100)).sum()).backward()
    synchroniser.forget_spoiled()
    model.zero_grad()
    (model(torch.ones(1, 100)).sum() / 3000**0.5).backward()
    return model.module.weight.grad.norm().item()


@pytest.mark.parametrize("name", ["int8", "topk:1", "powersgd:4"])
def test_a_step_that_is_left_out_leaves_nothing_for_the_next(name: str) -> None:
    for length in run_on_ranks(2, step_after_one_left_out, name):
        assert length == pytest.approx(1, rel=0.02)


def short(run_dir: Path, *options: object) -> tuple[object, ...]:
    return (
        *("train", "digits", "--run-dir", run_dir, "--optim.batch-size", 32),
        *("--optim.lr", 0.05, *options),
    )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            ("--sync.compression", "int8", "--sync.algorithm", "ring"), marks=pytest.mark.slow
        ),
        pytest.param(
            ("--sync.compression", "powersgd:2", "--optim.batch-rule", "lars"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (
                *("--sync.compression", "demo:8", "--optim.optimizer", "signsgd"),
                *("--optim.lr", 0.001),
            ),
            marks=pytest.mark.slow,
        ),
        (
            *("--sync.local-steps", 4, "--sync.outer-lr", 0.7, "--sync.outer-momentum", 0.9),
            *("--sync.compression", "sparseloco:0.05", "--optim.ema", 0.9, "--optim.accumulate", 2),
        ),
    ],
    ids=["int8", "powersgd", "DeMo", "local steps"],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    tmp_path: Path, options: tuple[object, ...]
) -> None:
    run_dir = tmp_path / "run"
    always = ("--optim.steps", 20, "--checkpoint-steps", 10, "--optim.rule", "constant")
    asked = short(run_dir, *options, *always)
    resumed_weights(asked, run_dir, step=10, steps=20, ranks=2)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("int9", "did you mean 'int8'?"),
        ("fp16:2", "expected fp16 without a number"),
        ("topk:2", "expected a share above 0 and at most 1, as topk:0.01"),
        ("powersgd:0", "expected a rank of 1 or more, as powersgd:4"),
        ("powersgd:two", "expected a rank of 1 or more, as powersgd:4"),
        ("powersgd:inf", "expected a rank of 1 or more, as powersgd:4"),
        ("powersgd:4:0.9", "expected a rank of 1 or more, as powersgd:4"),
        ("sparseloco:0", "expected a share above 0 and at most 1, as sparseloco:0.02"),
        ("sparseloco:0.02:1.1", "expected a decay from 0 to 1, as sparseloco:0.02:0.95"),
        ("turns:0", "expected a number of turns of 1 or more, as turns:25"),
        ("demo:0.5", "expected a number of components of 1 or more, as demo:32"),
        ("demo::-1", "expected a decay from 0 to 1, as demo:32:0.999"),
    ],
)
def test_a_compression_that_cannot_be_is_refused(text: str, end: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_compression(text)
    assert str(caught.value).endswith(end)


def int8_by_each_algorithm() -> list[torch.Tensor]:
    found = []
    for algorithm in ALGORITHMS:
        torch.manual_seed(0)
        model = DistributedDataParallel(torch.nn.Linear(100, 30))
        attach(model, algorithm, compression="int8")
        torch.manual_seed(dist.get_rank())
        model(torch.randn(8, 100)).square().mean().backward()
        found.append(model.module.weight.grad)
    return found


def test_8_bits_add_up_alike_along_every_algorithm() -> None:
    assert set(ALGORITHMS[:-1]) <= set(collectives.names())
    for found in run_on_ranks(4, int8_by_each_algorithm):
        assert all(torch.equal(found[0], other) for other in found[1:])


def tables_beside_layers(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """After a step too large: a table's sparse gradient, DDP's own, and that of the layer beside it."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.EmbeddingBag(9, 40, sparse=True), torch.nn.Linear(40, 3))
    model = DistributedDataParallel(net)
    exact = DistributedDataParallel(copy.deepcopy(net))
    attach(model, "ring", compression=name)
    words = torch.arange(3).unsqueeze(1) + dist.get_rank()
    for scale in (1, 1, float("inf"), 1):
        for one in (model, exact):
            one.zero_grad()
            (one(words).sum() * scale).backward()
    tables = (one.module[0].weight.grad.to_dense() for one in (model, exact))
    return *tables, model.module[1].weight.grad


@pytest.mark.parametrize("name", ["int8", "topk:0.1", "powersgd:1"])
def test_sparse_gradients_pass_whole_beside_what_is_compressed(name: str) -> None:
    for ours, theirs, layer in run_on_ranks(2, tables_beside_layers, name):
        assert torch.equal(ours, theirs)
        assert layer.isfinite().all()
