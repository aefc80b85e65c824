"""No network, loss or optimiser makes a tensor on the CPU that should be where its input is.

PyTorch's meta device, which has shapes and no numbers, refuses to mix with others as a GPU does.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from firetree.tasks import (
    KINDS,
    CatchData,
    Catching,
    ImageClassification,
    ImageData,
    Recall,
    RecallData,
    load_catch,
    load_images,
    load_recall,
)
from firetree.training.optimizers import build_optimizer
from firetree.training.recipe import OptimRecipe

META = torch.device("meta")
TASKS = {
    "images": lambda: load_images(ImageData(size=28), seed=0),
    "sequences made by seed": lambda: load_recall(
        RecallData("associative_retrieval", examples=50), seed=0
    ),
    "games": lambda: load_catch(CatchData("catch", size=8, examples=50), seed=0),
}


LOOKING = ("fast_weights", "delta", "associative_lstm")
"""Layers that refuse numbers that are none, and so need numbers."""


def cases() -> Iterator[tuple[str, str]]:
    for kind in KINDS:
        if kind.what in TASKS:
            yield from ((kind.what, name) for name in kind.networks if not name.endswith(LOOKING))


@pytest.mark.parametrize(("what", "name"), list(cases()))
def test_a_step_stays_on_the_device_of_its_batch(what: str, name: str) -> None:
    task: ImageClassification | Recall | Catching = TASKS[what]()
    model = task.build({"name": name}).to(META)
    batch = next(task.loader(batch_size=4, seed=0, rank=0, world_size=1).batches(0)).to(META)
    for rule in ("lars", "lamb"):
        optimizer = build_optimizer(OptimRecipe(batch_rule=rule), model)  # type: ignore[arg-type]
        loss = task.loss(model(batch.x), batch.y, 0.1)
        loss.backward()
        optimizer.step()
        assert loss.device == META
        assert all(p.device == META for p in model.parameters())
