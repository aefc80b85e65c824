"""Texts as the trainer sees them: parts of a step that sum to the whole, and fields that are refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from firetree.errors import UserError
from firetree.models import seq2seq
from firetree.models.families import Seq2SeqModel
from firetree.tasks import PhonemeData, Texts, load_texts
from firetree.training import Recipe, load_task, with_fields

WORDS = ["".join(parts) for n in (1, 2, 3) for parts in product("abc", repeat=n)]


@pytest.fixture
def dictionary(tmp_path: Path) -> PhonemeData:
    path = tmp_path / "dict"
    path.write_text("".join(f"{word} {' '.join(word.upper())}\n" for word in WORDS))
    return PhonemeData("cmudict", str(path))


def texts(recipe: PhonemeData) -> Texts:
    return load_texts(recipe, seed=0)


@pytest.mark.parametrize("name", seq2seq.names())
def test_gradients_of_two_ranks_sum_to_that_of_one(name: str, dictionary: PhonemeData) -> None:
    task = texts(dictionary)
    torch.manual_seed(0)
    model = task.build({"name": name, "hidden": 8})

    def gradients(rank: int, world_size: int) -> list[torch.Tensor]:
        model.zero_grad()
        loader = task.loader(batch_size=13, seed=0, rank=rank, world_size=world_size)
        for batch in loader.training_batches(0):
            (task.loss(model(batch.x), batch.y) / batch.global_count).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    whole, parts = gradients(0, 1), [gradients(rank, 2) for rank in range(2)]
    for alone, one, other in zip(whole, *parts, strict=True):
        torch.testing.assert_close(one + other, alone, rtol=1e-3, atol=1e-5)


def test_all_symbols_and_ends_are_counted_and_no_padding(dictionary: PhonemeData) -> None:
    task = texts(dictionary)
    batches = list(task.loader(batch_size=13, seed=0, rank=0, world_size=1).training_batches(0))
    symbols = sum(len(word) + 1 for word in WORDS) - sum(
        len(word) + 1 for word, _ in task.splits.test_pairs
    )
    assert sum(batch.count for batch in batches) == symbols
    assert all(batch.count == batch.global_count for batch in batches)


def test_how_many_words_are_held_out_can_be_chosen(dictionary: PhonemeData) -> None:
    few, many = (texts(replace(dictionary, test_fraction=part)) for part in (0.2, 0.8))
    assert len(few.splits.test_pairs) < len(many.splits.test_pairs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": None}, "data.path is missing; expected the file that 'cmudict' reads"),
        ({"path": "/nowhere"}, "data.path = /nowhere does not exist"),
        ({"size": 8}, "data.size = 8; 'cmudict' does not have this field"),
        ({"contrast": 0.1}, "data.contrast = 0.1; 'cmudict' does not have this field"),
        (
            {"name": "parallel_text", "test_fraction": 0.1},
            "data.test_fraction = 0.1; 'parallel_text' does not have",
        ),
        ({"source": "en"}, "data.source = en; 'cmudict' does not have this field"),
        ({"name": "parallel_text"}, "data.source and data.target are missing; expected languages"),
        ({"name": "parallel_text", "pairs": 2}, "data.pairs = 2; 'parallel_text' does not have"),
    ],
)
def test_fields_that_do_not_fit_are_refused(
    dictionary: PhonemeData, changes: dict[str, object], message: str
) -> None:
    recipe = Recipe(Seq2SeqModel("seq2seq_lstm"), dictionary)
    fields = {f"data.{field}": value for field, value in changes.items()}
    with pytest.raises(UserError) as refusal:
        load_task(with_fields(recipe, fields))
    assert message in str(refusal.value)
