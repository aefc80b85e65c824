"""firetree in Lightning, Accelerate and Hugging Face's Trainer: the real ones, without a network."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from frameworks import Found, by_all
from ranks import run_on_ranks
from torch import nn

import firetree
from firetree.trace import read_trace


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "observed"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, run_dir: Path) -> list[tuple[Any, Any, Any]]:
    """What each rank found by each framework."""
    folder = tmp_path_factory.mktemp("frameworks")
    return run_on_ranks(2, by_all, folder, run_dir, within_s=280)  # most of it imports


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
        assert evaluated["auto"] == evaluated["DDP"] > 0


def test_accelerate_trains_as_with_its_own_ddp(told: list[tuple[Any, Any, Any]]) -> None:
    for _, (found, hooks, refused), _ in told:
        check(found)
        assert all("firetree" in hook for hook in hooks)
        assert "call firetree.accelerate.attach before accelerator.prepare" in refused["prepared"]
        assert "have comm_hook 'fp16'; expected none" in refused["fp16"]


def test_trainer_trains_as_with_its_own_ddp(told: list[tuple[Any, Any, Any]]) -> None:
    for _, _, found in told:
        check(found)


@pytest.mark.usefixtures("told")
def test_the_steps_of_all_three_are_found(run_dir: Path) -> None:
    for rank in read_trace(run_dir).ranks:
        # Of six steps each, the last counts as one with the next optimiser's first.
        samples = [step.samples for step in rank.steps if step.step not in (5, 10)]
        assert samples == [*(12, 12, 8, 12, 12), *(12, 8, 12, 12), *(4, 4, 4, 4, 4)]
        assert [k for k, step in enumerate(rank.steps) if step.evaluation_s] == [0, 3, 5, 8, 10, 13]
        for step in rank.steps:
            assert step.buckets
            assert len(step.passes) == 1 + (step.step in (5, 10))
            assert min(step.forward_s, step.backward_s, step.optimizer_s) > 0
    assert read_trace(run_dir).ranks[0].steps[13].saving_s > 0, "of the Trainer's checkpoint"


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
