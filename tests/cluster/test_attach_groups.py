"""`attach` beside other process groups: whose ranks sum, who must attach, and what must be alike."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import cast

import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import firetree
from firetree.errors import UserError
from firetree.torch_private import group_store


def group_of(*ranks: int) -> dist.ProcessGroup:
    return cast(dist.ProcessGroup, dist.new_group(list(ranks)))


def layer(group: dist.ProcessGroup | None = None, width: int = 4) -> DistributedDataParallel:
    torch.manual_seed(width)
    return DistributedDataParallel(nn.Linear(width, 1, bias=False), process_group=group)


def mean_of_ranks(model: DistributedDataParallel) -> float:
    """The gradient for inputs that are this rank's number."""
    width = model.module.weight.shape[1]
    model.zero_grad()
    model(torch.full((1, width), float(dist.get_rank()))).sum().backward()
    return float(model.module.weight.grad[0, 0])


def in_two_groups() -> list[float]:
    """Groups in which ranks have other numbers, and attach at other times, again and again."""
    groups = [group_of(0, 2), group_of(1, 3)]
    mine = groups[dist.get_rank() % 2]
    means = []
    for _ in range(3):
        time.sleep(0.1 * (dist.get_rank() in (1, 2)))
        model = layer(mine)
        firetree.attach(model, "ring")
        means.append(mean_of_ranks(model))
    dist.barrier()
    return means


def test_each_group_sums_for_itself() -> None:
    assert run_on_ranks(4, in_two_groups) == [[1.0] * 3, [2.0] * 3] * 2


def some_ranks_attach() -> tuple[float, float, float]:
    """Ranks 0 and 2 attach, in a group and in one more with the same ranks; then all make another."""
    groups = [group_of(0, 2), group_of(0, 2)]
    inner = 0.0, 0.0
    if dist.get_rank() != 1:
        first, second = (layer(group, width) for group, width in zip(groups, (4, 5), strict=True))
        for model in (second, first) if dist.get_rank() else (first, second):
            # Ranks attach the models of different groups in different orders.
            if model is first:
                firetree.attach(model)
        firetree.attach(second, "ring")
        inner = mean_of_ranks(first), mean_of_ranks(second)
    everyone = layer(group_of(0, 1, 2))
    firetree.attach(everyone)
    return *inner, mean_of_ranks(everyone)


def test_ranks_outside_of_the_group_need_not_attach() -> None:
    inside, outside = (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)
    assert run_on_ranks(3, some_ranks_attach) == [inside, outside, inside]


def lost_in_a_group() -> str:
    group = group_of(1, 2, 3)
    store = group_store()
    if dist.get_rank() == 0:
        store.wait(["told"])
        return ""
    model = layer(group)
    firetree.attach(model, timeout_s=2)
    if dist.get_rank() == 3:
        store.wait(["told"])
        return ""
    with pytest.raises(firetree.CollectiveError) as caught:
        mean_of_ranks(model)
    if dist.get_rank() == 1:
        store.set("told", "")
    return f"{caught.value} by {caught.value.peer}"


def test_messages_have_the_ranks_that_the_script_knows() -> None:
    first = run_on_ranks(4, lost_in_a_group)[1]
    assert "rank 3" in first
    assert "rank 1 was at" in first
    assert first.endswith("by 3")


def late() -> list[str]:
    """Rank 1 attaches once rank 0 has said that it waits for it."""
    model, store, said = layer(), group_store(), []

    class Said(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            store.set("said", "")

    logging.getLogger("firetree").addHandler(Said())
    if dist.get_rank() == 1:
        store.wait(["said"])
    firetree.attach(model)
    assert mean_of_ranks(model) == 0.5
    return said


def test_who_is_waited_for_is_said_once() -> None:
    assert run_on_ranks(2, late) == [["firetree.attach: waiting for rank 1 since 5 s"], []]


def missing() -> str:
    model, store = layer(), group_store()
    if dist.get_rank() == 1:
        store.wait(["both gave up"])
        with pytest.raises(firetree.CollectiveError) as caught:
            firetree.attach(model)
        store.set("rank 1 was told", "")
        return str(caught.value)
    with pytest.raises(firetree.CollectiveError) as caught:
        firetree.attach(model, timeout_s=5)
    if store.add("gave up", 1) == 2:
        store.set("both gave up", "")
    store.wait(["rank 1 was told"])
    if dist.get_rank() == 0:  # which keeps the store
        store.wait(["rank 2 was told"])
    store.set("rank 2 was told", "")
    return str(caught.value)


def test_a_rank_that_does_not_attach_is_named_and_told_so_later() -> None:
    lines = run_on_ranks(3, missing)
    assert set(lines) == {
        "rank 1 has not called firetree.attach within 5 s; call it on every rank of the model's "
        "process group"
    }


def attach_beside_a_stopped_store() -> str:
    model = layer()
    if dist.get_rank() == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.5)
    with pytest.raises(firetree.CollectiveError) as caught:
        firetree.attach(model, timeout_s=1)
    return str(caught.value)


def test_a_stopped_rank_that_keeps_the_store_holds_up_nobody_for_long() -> None:
    (line,) = run_on_ranks(2, attach_beside_a_stopped_store, lost=[0])
    assert line == (
        "firetree.attach: the ranks' store cannot be reached; the rank that keeps it, mostly rank 0, "
        "is stopped or cut off"
    )


def attach_with(options: dict[int, dict[str, object]]) -> str:
    model = layer(width=5 if "width" in options.get(dist.get_rank(), {}) else 4)
    chosen = {k: v for k, v in options.get(dist.get_rank(), {}).items() if k != "width"}
    with pytest.raises(UserError) as caught:
        firetree.attach(model, **chosen)
    assert mean_of_ranks(model) == 0.5, "the model sums as if nothing had been tried"
    firetree.attach(model)
    assert mean_of_ranks(model) == 0.5
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {1: {"algorithm": "ring"}},
            ("algorithm is 'auto' on rank 0", "'ring' on rank 1"),
        ),
        (
            {0: {"algorithm": "ring", "chunks": 3}, 1: {"algorithm": "ring"}},
            ("chunks is 3 on rank 0", "None on rank 1"),
        ),
        ({0: {"chunks": 3}}, ("rank 0", "chunks is 3 and algorithm 'auto'")),
        ({0: {"compression": "fp16"}}, ("compression is 'fp16' on rank 0", "'none' on rank 1")),
        ({1: {"algorithm": "rnig"}}, ("rank 1", "no algorithm 'rnig'; did you mean 'ring'?")),
        ({0: {"chunks": 0}, 1: {"chunks": 0}}, ("chunks is 0; expected a number from 1 to 4096",)),
    ],
)
def test_ranks_that_attach_otherwise_are_told_at_once(
    options: dict[int, dict[str, object]], words: tuple[str, ...]
) -> None:
    first, second = run_on_ranks(2, attach_with, options)
    assert first == second
    assert all(word in first for word in words), first


def attach_in_another_order() -> str:
    torch.manual_seed(0)
    models = [DistributedDataParallel(nn.Linear(4, 1)) for _ in range(2)]
    with pytest.raises(UserError) as caught:
        firetree.attach(models[dist.get_rank()])
    return str(caught.value)


def test_models_that_ranks_attach_in_another_order_are_told_apart_by_their_weights() -> None:
    for line in run_on_ranks(2, attach_in_another_order):
        assert "the weights' checksum is" in line
        assert "in the same order, on every rank" in line
