"""What the trainer asks of a task, answered by images and by sequences."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from firetree.errors import UserError
from firetree.tasks import ImageClassification, Recall, load_images, load_recall
from firetree.tasks.task import check_fields
from firetree.training.recipe import DataRecipe, ModelRecipe

DIGITS = DataRecipe()
RETRIEVAL = DataRecipe(name="associative_retrieval", examples=50)
QUERIES = DataRecipe(name="multi_query_recall", examples=50)


def images(recipe: DataRecipe) -> ImageClassification:
    return load_images(asdict(recipe), seed=0)


def recall(recipe: DataRecipe) -> Recall:
    return load_recall(asdict(recipe), seed=0)


@pytest.mark.parametrize("data", [RETRIEVAL, QUERIES], ids=lambda data: data.name)
@pytest.mark.parametrize(
    "layer", ["associative_lstm", "delta", "fast_weights", "gru", "irnn", "lstm"]
)
def test_every_layer_answers_and_gets_gradients_also_without_a_sequence(
    layer: str, data: DataRecipe
) -> None:
    task = recall(data)
    model = task.build(asdict(ModelRecipe(layer, hidden=6)))
    batch = next(task.loader(batch_size=9, seed=0, rank=0, world_size=1).training_batches(0))
    for x, y in ((batch.x, batch.y), (task.example(0), batch.y[:0])):
        model.zero_grad()
        loss = task.loss(model(x), y)
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is not None for p in model.parameters())


def test_only_what_is_asked_for_is_counted() -> None:
    task = recall(QUERIES)
    batch = next(task.loader(batch_size=9, seed=0, rank=0, world_size=1).training_batches(0))
    asked = batch.y >= 0
    logits = torch.randn(*batch.y.shape, 8)
    assert batch.count == batch.global_count == 9 * 4 == int(asked.sum())
    expected = cross_entropy(logits[asked], batch.y[asked], reduction="sum")
    torch.testing.assert_close(task.loss(logits, batch.y), expected)
    perfect = torch.nn.functional.one_hot(batch.y.clamp(min=0), 8)
    assert task.right(perfect, batch.y) == batch.count


@pytest.mark.parametrize(
    ("load", "data", "message"),
    [
        (images, replace(DIGITS, pairs=4), "data.pairs = 4; 'digits' does not have this field"),
        (
            images,
            replace(DIGITS, held_out="validation"),
            "data.held_out = validation; 'digits' does not",
        ),
        (recall, replace(RETRIEVAL, size=8), "data.size = 8; 'associative_retrieval' does not"),
        (recall, replace(QUERIES, crop_padding=2), "data.crop_padding = 2; 'multi_query_recall'"),
        (recall, replace(QUERIES, saturation=0.1), "data.saturation = 0.1; 'multi_query_recall'"),
    ],
)
def test_a_field_of_the_other_kind_of_data_is_refused(load, data, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        load(data)
    assert message in str(refusal.value)


def test_a_recipe_begins_with_the_defaults_that_are_taken_for_none_given() -> None:
    check_fields(asdict(DataRecipe()), own=())


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        (images(DIGITS), ModelRecipe(hidden=8), "model.hidden = 8; only networks for sequences"),
        (images(DIGITS), ModelRecipe("glimpses_lstm"), "images of 8 pixels; expected 28"),
        (recall(RETRIEVAL), ModelRecipe("lstm", bypass="simple"), "'lstm' does not have this"),
        (recall(RETRIEVAL), ModelRecipe("lstm", decay=0.9), "model.decay = 0.9; 'lstm' does not"),
    ],
)
def test_a_field_of_the_other_kind_of_network_is_refused(task, model, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        task.build(asdict(model))
    assert message in str(refusal.value)
