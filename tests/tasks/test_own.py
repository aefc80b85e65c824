"""Data sets, losses and metrics of a module of the user's own, without a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from firetree import own_code
from firetree.tasks import MetricRecipe, build_loss, build_measure
from firetree.tasks.own import OwnData, load_own

OWN = """
import torch
from torch.utils.data import IterableDataset, TensorDataset

def numbered():
    return TensorDataset(torch.arange(50.0)[:, None], torch.zeros(50))

class Stream(IterableDataset):
    def __len__(self):
        return 50
    def __iter__(self):
        return iter(numbered())

def mapped():
    return numbered(), numbered()

def streamed():
    return Stream(), numbered()

def drawn():
    return TensorDataset(torch.rand(40, 3), torch.arange(40) % 2)

def kind(name):
    return TensorDataset(torch.rand(4, 3).to(getattr(torch, name)), torch.arange(4) % 2)

class Scaled:
    def __init__(self, name, scale):
        self.scale = scale
    def __call__(self, outputs, y):
        return self.scale * (outputs - y).abs()
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "owned.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("owned", None)


def test_data_drawn_at_random_follow_from_the_seed_alone() -> None:
    one, again, other = (load_own(OwnData("owned:drawn"), seed).account for seed in (0, 0, 1))
    assert one == again
    assert one.checksum != other.checksum


@pytest.mark.parametrize(("name", "readers"), [("mapped", 0), ("mapped", 2), ("streamed", 0)])
def test_when_shares_change_ranks_have_the_batches_of_one_all_the_same(
    name: str, readers: int
) -> None:
    task = load_own(OwnData(f"owned:{name}", readers=readers), 0)
    usual = {"batch_size": 8, "seed": 0}
    alone = task.loader(**usual, rank=0, world_size=1).batches(0)
    loaders = [task.loader(**usual, rank=rank, world_size=3) for rank in range(3)]
    streams = [loader.batches(0) for loader in loaders]
    changes = {2: (5, 2, 1), 7: (1, 1, 6), 10: (2, 4, 2)}
    shares = (1, 1, 1)
    for step in range(14):
        shares = changes.get(step, shares)
        for loader in loaders:
            loader.shares = shares
        parts = [next(stream) for stream in streams]
        whole = next(alone)
        assert torch.equal(torch.cat([part.x[: part.count] for part in parts]), whole.x), step
        if step > 1 and whole.count == 8:
            assert tuple(part.count for part in parts) == shares
    for stream in (alone, *streams):
        stream.close()


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float64", "int32", "bool"])
def test_samples_may_be_of_any_type(name: str) -> None:
    task = load_own(OwnData("owned:kind", {"name": name}), 0)
    assert task.account.train == 3
    assert task.example(2).dtype == getattr(torch, name)


def test_a_class_makes_a_loss_and_a_metric_whatever_its_arguments_are_called() -> None:
    arguments = {"name": "twice", "scale": 2.0}
    outputs, y = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0])
    assert build_loss("owned:Scaled", arguments)(outputs, y) == 8.0
    measure = build_measure(MetricRecipe("owned:Scaled", arguments))
    assert measure is not None
    measure.add(outputs, y)
    assert measure.sums == {"Scaled": 8.0}


def test_live_objects_need_no_file_beside_a_recipe(tmp_path: Path) -> None:
    own_code.check_beside({"model.name": f"{own_code.LIVE}:model"}, tmp_path / "recipe.toml")
