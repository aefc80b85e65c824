"""What the trainer asks of a task, answered by images and by sequences."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from firetree.errors import UserError
from firetree.models.families import ModelRecipe, RecurrentModel, names
from firetree.tasks import KINDS, DataRecipe, ImageData, RecallData, load_images, load_recall
from firetree.training import Recipe, with_fields

DIGITS = ImageData()
RETRIEVAL = RecallData("associative_retrieval", examples=50)
QUERIES = RecallData("multi_query_recall", examples=50)


@pytest.mark.parametrize("data", [RETRIEVAL, QUERIES], ids=lambda data: data.name)
@pytest.mark.parametrize(
    "layer", ["associative_lstm", "delta", "fast_weights", "gru", "irnn", "lstm"]
)
def test_every_layer_answers_and_gets_gradients_also_without_a_sequence(
    layer: str, data: RecallData
) -> None:
    task = load_recall(data, seed=0)
    model = task.build({"name": layer, "hidden": 6})
    batch = next(task.loader(batch_size=9, seed=0, rank=0, world_size=1).training_batches(0))
    for x, y in ((batch.x, batch.y), (task.example(0), batch.y[:0])):
        model.zero_grad()
        loss = task.loss(model(x), y)
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is not None for p in model.parameters())


def test_only_what_is_asked_for_is_counted() -> None:
    task = load_recall(QUERIES, seed=0)
    batch = next(task.loader(batch_size=9, seed=0, rank=0, world_size=1).training_batches(0))
    asked = batch.y >= 0
    logits = torch.randn(*batch.y.shape, 8)
    assert batch.count == batch.global_count == 9 * 4 == int(asked.sum())
    expected = cross_entropy(logits[asked], batch.y[asked], reduction="sum")
    torch.testing.assert_close(task.loss(logits, batch.y), expected)
    perfect = torch.nn.functional.one_hot(batch.y.clamp(min=0), 8)
    assert task.right(perfect, batch.y) == batch.count


@pytest.mark.parametrize(
    ("data", "field", "value", "message"),
    [
        (DIGITS, "pairs", 4, "data.pairs = 4; 'digits' does not have this field"),
        (DIGITS, "held_out", "validation", "data.held_out = validation; 'digits' does not"),
        (RETRIEVAL, "size", 8, "data.size = 8; 'associative_retrieval' does not"),
        (QUERIES, "crop_padding", 2, "data.crop_padding = 2; 'multi_query_recall'"),
        (QUERIES, "saturation", 0.1, "data.saturation = 0.1; 'multi_query_recall'"),
    ],
)
def test_a_field_of_the_other_kind_of_data_is_refused(
    data: DataRecipe, field: str, value: object, message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        with_fields(Recipe(RecurrentModel("lstm"), data), {f"data.{field}": value})
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        (
            load_images(DIGITS, seed=0),
            {"name": "squeezenet_small", "hidden": 8},
            "model.hidden = 8; 'squeezenet_small' does not have this field, leave it out",
        ),
        (
            load_images(DIGITS, seed=0),
            {"name": "glimpses_lstm"},
            "images of 8 pixels; expected 28",
        ),
        (
            load_recall(RETRIEVAL, seed=0),
            {"name": "lstm", "bypass": "simple"},
            "'lstm' does not have this",
        ),
        (
            load_recall(RETRIEVAL, seed=0),
            {"name": "lstm", "decay": 0.9},
            "model.decay = 0.9; 'lstm' does not",
        ),
    ],
)
def test_a_field_of_the_other_kind_of_network_is_refused(task, model, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        task.build(model)
    assert message in str(refusal.value)


def test_each_name_that_a_recipe_takes_is_one_of_a_kind() -> None:
    for part, of_kinds in (
        (DataRecipe, [kind.data for kind in KINDS]),
        (ModelRecipe, [kind.networks for kind in KINDS]),
    ):
        declared = sorted(name for one in get_args(part) for name in names(one))
        assert declared == sorted({name for some in of_kinds for name in some})


def test_test_images_may_have_another_size() -> None:
    task = load_images(replace(DIGITS, test_size=12), seed=0)
    loader = task.loader(batch_size=4, seed=0, rank=0, world_size=1)
    sizes = [next(it).x.shape[2:] for it in (loader.training_batches(0), loader.test_batches())]
    assert sizes == [(8, 8), (12, 12)]
    assert task.about["size"] == 12
    same = load_images(DIGITS, seed=0).splits.test
    assert (task.splits.test.labels == same.labels).all()
    for size, is_fine in ((12, True), (100, False)):
        tested = load_images(replace(DIGITS, test_size=size), seed=0)
        with nullcontext() if is_fine else pytest.raises(UserError, match=r"data\.test_size = 100"):
            tested.build({"name": "resnet18"})


def test_balanced_classes_count_alike_and_the_mean_stays() -> None:
    task = load_images(DIGITS, seed=0)
    labels = task.splits.train.labels
    rare = np.flatnonzero(labels == 3)[5:]
    few = task.splits.train.subset(np.setdiff1d(np.arange(len(labels)), rare))
    balanced = replace(task, splits=replace(task.splits, train=few)).balanced()
    assert balanced.weights_K is not None
    each_N = balanced.weights_K[torch.from_numpy(few.labels)]
    assert each_N.mean() == pytest.approx(1.0, rel=1e-5)
    of_class = [float(each_N[few.labels == k].sum()) for k in range(10)]
    assert of_class == pytest.approx([len(few) / 10] * 10, rel=1e-4)
    outputs, y = torch.randn(2, 10), torch.tensor([3, 4])
    parts = [task.loss(outputs[k : k + 1], y[k : k + 1]) for k in range(2)]
    expected = sum(balanced.weights_K[y[k]] * parts[k] for k in range(2))
    torch.testing.assert_close(balanced.loss(outputs, y), expected)
