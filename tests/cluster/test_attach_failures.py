"""What a script sees of `attach` where a rank is lost, and what it must not be given."""

from __future__ import annotations

import contextlib
import threading

import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks
from torch import nn
from torch.distributed.algorithms.join import Join
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import _apply_optimizer_in_backward
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import firetree
from firetree.errors import UserError
from firetree.torch_private import group_store

WAYS = (
    *(("binomial_tree", "none"), ("ring", "fp16"), ("gloo", "none"), ("ring", "int8")),
    *(("ring", "topk:0.1"), ("ring", "powersgd:1")),
)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 40), nn.Linear(40, 1))


def backward(model: nn.Module) -> None:
    model.zero_grad()
    model(torch.ones(2, 20)).sum().backward()


def stop_after_three_steps(algorithm: str, compression: str) -> list[str]:
    """Rank 1 stops; the others say why, twice, and have no gradients to step along."""
    store = group_store()
    model = DistributedDataParallel(net(), bucket_cap_mb=0.001)
    firetree.attach(model, algorithm, compression=compression, timeout_s=1)
    for _ in range(3):
        backward(model)
    if dist.get_rank() == 1:
        store.wait([f"{algorithm} {compression}"])
        store.set(f"{algorithm} {compression}: heard", "")
        return []
    told = []
    for _ in range(2):
        with pytest.raises(firetree.CollectiveError) as caught:
            backward(model)
        told.append(str(caught.value))
        assert all(p.grad is None for p in model.parameters())
    store.set(f"{algorithm} {compression}", "")
    store.wait([f"{algorithm} {compression}: heard"])  # rank 0 has the store
    return told


def stop_in_every_way() -> list[list[str]]:
    return [stop_after_three_steps(*way) for way in WAYS]


def test_a_stopped_rank_ends_every_way_to_sum_within_the_timeout() -> None:
    for way, (first, again) in zip(WAYS, run_on_ranks(2, stop_in_every_way)[0], strict=True):
        assert "did not answer within 1 s" in first, way
        assert again == first, way


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool):
        super().__init__()
        self.first, self.second, self._reentrant = nn.Linear(20, 8), nn.Linear(8, 1), reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.requires_grad_()
        return self.second(checkpoint(self.first, x, use_reentrant=self._reentrant))


def scaled(model: nn.Module) -> None:
    torch.amp.GradScaler("cpu").scale(model(torch.ones(2, 20)).sum()).backward()


SCRIPTS = {
    "a static graph": (net, {"static_graph": True}, backward),
    "views": (net, {"gradient_as_bucket_view": True}, backward),
    "checkpointing": (lambda: Checkpointed(False), {}, backward),
    "reentrant checkpointing": (lambda: Checkpointed(True), {"static_graph": True}, backward),
    "a scaler": (net, {}, scaled),
    "compiling": (net, {}, lambda model: backward(torch.compile(model, backend="eager"))),
    # Last, as DDP's own sum of what is unused stays open in the default group.
    "unused parameters": (net, {"find_unused_parameters": True}, backward),
}


def leave_every_script(names: tuple[str, ...]) -> list[str]:
    """Rank 1 stops after three steps, in one script after another."""
    store, told = group_store(), []
    for name in names:
        build, options, script = SCRIPTS[name]
        model = DistributedDataParallel(build(), **options)
        firetree.attach(model, timeout_s=1)
        for _ in range(3):  # then DDP has its buckets
            script(model)
        if dist.get_rank() == 1:
            store.wait([name])
            store.set(f"{name}: heard", "")
            continue
        for _ in range(2):
            with pytest.raises(firetree.CollectiveError) as caught:
                script(model)
            told.append(str(caught.value))
        store.set(name, "")
        store.wait([f"{name}: heard"])  # the store ends with this rank
    return told


@pytest.mark.parametrize(
    "names",
    [
        tuple(name for name in SCRIPTS if name != "compiling"),
        pytest.param(("compiling",), marks=pytest.mark.slow),
    ],
    ids=["", "compiling"],
)
def test_a_failed_sum_keeps_its_type_wherever_the_backward_pass_is_called(
    names: tuple[str, ...],
) -> None:
    told = run_on_ranks(2, leave_every_script, names)[0]
    assert len(told) == 2 * len(names)
    assert all(line.startswith("rank 1 did not answer within 1 s") for line in told)


def join_while_another_stops() -> str:
    model, store = DistributedDataParallel(net()), group_store()
    firetree.attach(model, timeout_s=1)
    if dist.get_rank() == 1:
        with contextlib.suppress(RuntimeError), Join([model]):  # of the group that rank 0 leaves
            model(torch.ones(2, 20))  # whose backward pass never comes
            store.wait(["told"])
            raise RuntimeError
        return ""
    with pytest.raises(firetree.CollectiveError) as caught, Join([model]):
        pass  # no samples here: zeros are summed while others train
    store.set("told", "")
    return str(caught.value)


def test_a_rank_that_has_joined_is_told_too() -> None:
    told = run_on_ranks(2, join_while_another_stops)[0]
    assert told.startswith("rank 1 did not answer within 1 s")


def shard() -> nn.Module:
    sharded = net()
    fully_shard(sharded)
    return sharded


def stepping() -> DistributedDataParallel:
    model = net()
    _apply_optimizer_in_backward(torch.optim.SGD, model.parameters(), {"lr": 0.1})
    return DistributedDataParallel(model)


def summing_by_compiled_code() -> DistributedDataParallel:
    with torch._dynamo.config.patch(optimize_ddp="python_reducer"):
        return DistributedDataParallel(net())


def refused() -> dict[str, tuple[str, int]]:
    """What each mistake is told, and how many threads it leaves."""
    attached = DistributedDataParallel(net())
    firetree.attach(attached)
    hooked = DistributedDataParallel(net())
    hooked.register_comm_hook(None, lambda state, bucket: bucket.buffer())
    mistakes = {
        "twice": lambda: firetree.attach(attached),
        "hooked": lambda: firetree.attach(hooked),
        "stepping": lambda: firetree.attach(stepping()),
        "compiled": lambda: firetree.attach(summing_by_compiled_code()),
        "sharded": lambda: firetree.attach(shard()),
        "bare": lambda: firetree.attach(net()),
        "wrapped": lambda: firetree.attach(nn.Sequential(attached)),
        "number": lambda: firetree.attach(DistributedDataParallel(net()), 7),
        "chunks": lambda: firetree.attach(DistributedDataParallel(net()), chunks=100_000),
        "compression": lambda: firetree.attach(DistributedDataParallel(net()), compression=8),
        "timeout": lambda: firetree.attach(DistributedDataParallel(net()), timeout_s=-1),
        "text": lambda: firetree.attach(DistributedDataParallel(net()), timeout_s="a minute"),
        "nan": lambda: firetree.attach(DistributedDataParallel(net()), timeout_s=float("nan")),
        "complex": lambda: firetree.attach(
            DistributedDataParallel(net().to(torch.complex64)), compression="powersgd"
        ),
    }
    told = {}
    for name, mistake in mistakes.items():
        before = threading.active_count()
        with pytest.raises(UserError) as caught:
            mistake()
        told[name] = str(caught.value), threading.active_count() - before
    return told


def test_a_mistake_is_told_at_once_and_leaves_nothing() -> None:
    [told] = run_on_ranks(1, refused)
    lines = {name: line for name, (line, _) in told.items()}
    assert all(threads == 0 for _, threads in told.values())
    assert "has the communication hook Hook.firetree already" in lines["twice"]
    assert "already" in lines["hooked"]
    assert "the model's optimizer steps in the backward pass" in lines["stepping"]
    assert "python_reducer" in lines["compiled"]
    assert "which shards its weights over the ranks" in lines["sharded"]
    assert "expected DistributedDataParallel(Sequential(…))" in lines["bare"]
    assert "expected the DistributedDataParallel that it holds" in lines["wrapped"]
    assert "algorithm is 7; expected a name such as 'ring'" in lines["number"]
    assert "chunks is 100000; expected a number from 1 to 4096" in lines["chunks"]
    assert "compression" in lines["compression"]
    assert "timeout_s is -1; expected seconds" in lines["timeout"]
    assert "timeout_s is 'a minute'" in lines["text"]
    assert "timeout_s is nan" in lines["nan"]
    assert "complex weights" in lines["complex"]


def test_before_the_ranks_have_met_the_script_is_told_to_begin_there() -> None:
    with pytest.raises(UserError, match=r"after torch\.distributed\.init_process_group$"):
        firetree.attach(net())


def cut_small() -> float:
    model = DistributedDataParallel(nn.Linear(7, 1, bias=False))
    firetree.attach(model, "ring", chunks=4096)
    model(torch.full((1, 7), float(dist.get_rank()))).sum().backward()
    return float(model.module.weight.grad.sum())


def test_more_chunks_than_numbers_are_as_many_as_numbers() -> None:
    assert run_on_ranks(2, cut_small) == [3.5, 3.5]
