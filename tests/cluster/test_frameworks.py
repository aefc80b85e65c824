"""firetree in Lightning, Accelerate and Hugging Face's Trainer: the real ones, without a network."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
import torch.distributed as dist
from frameworks import Found, by_all
from ranks import run_on_ranks
from torch import nn

import firetree


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, Any, Any]]:
    """What each rank found by each framework."""
    return run_on_ranks(2, by_all, tmp_path_factory.mktemp("frameworks"))


def check(found: Found) -> None:
    """Every way gave the weights of plain DDP, but for 16 bits, which are near them."""
    for way in found.keys() - {"DDP", "fp16"}:
        assert all(map(torch.equal, found[way], found["DDP"])), way
    assert not all(map(torch.equal, found["fp16"], found["DDP"]))
    for ours, theirs in zip(found["fp16"], found["DDP"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3)


def test_lightning_trains_as_with_its_own_strategy(told: list[tuple[Any, Any, Any]]) -> None:
    for (found, evaluated), _, _ in told:
        check(found)
        assert evaluated["ring"] == evaluated["DDP"] > 0


def test_accelerate_trains_as_with_its_own_ddp(told: list[tuple[Any, Any, Any]]) -> None:
    for _, (found, hooks, refused), _ in told:
        check(found)
        assert all("firetree" in hook for hook in hooks)
        assert "call firetree.accelerate.attach before accelerator.prepare" in refused["prepared"]
        assert "have comm_hook 'fp16'; expected none" in refused["fp16"]


def test_trainer_trains_as_with_its_own_ddp(told: list[tuple[Any, Any, Any]]) -> None:
    for _, _, (found, steps) in told:
        check(found)
        assert steps == [3, 3]


def alone() -> tuple[type, list[str]]:
    from accelerate import Accelerator

    dist.destroy_process_group()
    said: list[str] = []
    logging.getLogger("firetree").addHandler(_Into(said))
    accelerator = Accelerator(cpu=True)
    firetree.accelerate.attach(accelerator)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return type(accelerator.prepare(nn.Linear(2, 2))), said


class _Into(logging.Handler):
    def __init__(self, said: list[str]):
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())


def test_a_process_alone_trains_as_before_and_is_told() -> None:
    [(kind, said)] = run_on_ranks(1, alone)
    assert kind is nn.Linear
    assert said == ["firetree.accelerate.attach: one process, so there is nothing to sum"]
