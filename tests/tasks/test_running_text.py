"""Text as the trainer sees it: parts of a step that sum to the whole, and figures as worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from firetree.errors import UserError
from firetree.models.families import LanguageHeadsModel
from firetree.tasks import Language, LanguageData, load_language
from firetree.training import Recipe, load_task, with_fields

TEXT = "".join(f"{n} green bottles hanging on the wall. " for n in range(40))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text(TEXT)
    return tmp_path / "a.txt"


def task(path: Path, pieces: int | None = None) -> Language:
    return load_language(LanguageData("text", str(path), pieces, 16), seed=0)


@pytest.mark.parametrize("name", ["gpt", "lm_lstm", "lm_delta"])
def test_gradients_of_two_ranks_sum_to_that_of_one(name: str, path: Path) -> None:
    text = task(path)
    torch.manual_seed(0)
    model = text.build({"name": name, "hidden": 8, "layers": 1})

    def gradients(rank: int, world_size: int) -> list[torch.Tensor]:
        model.zero_grad()
        loader = text.loader(batch_size=13, seed=0, rank=rank, world_size=world_size)
        for batch in loader.training_batches(0):
            (text.loss(model(batch.x), batch.y) / batch.global_count).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    whole, parts = gradients(0, 1), [gradients(rank, 2) for rank in range(2)]
    for alone, one, other in zip(whole, *parts, strict=True):
        torch.testing.assert_close(one + other, alone, rtol=1e-3, atol=1e-5)


def test_each_epoch_trains_on_all_symbols(path: Path) -> None:
    text = task(path)
    loader = text.loader(batch_size=7, seed=0, rank=0, world_size=1)
    for epoch in range(2):
        batches = list(loader.training_batches(epoch))
        assert sum(batch.count for batch in batches) == text.splits.train.answers_in_all
        assert len(batches) == -(-text.examples // 7)


def test_bits_a_byte_are_those_of_the_text_whatever_its_symbols(path: Path) -> None:
    by_bytes, by_pieces = task(path), task(path, 300)
    for text, symbols in ((by_bytes, 256), (by_pieces, 300)):
        asked = text.splits.test.answers_in_all
        guessing = math.log(symbols)
        figures = text.figures(guessing)
        assert figures["perplexity"] == pytest.approx(symbols)
        assert figures["bits_a_byte"] == pytest.approx(
            math.log2(symbols) * asked / text.splits.test_bytes
        )
    assert by_bytes.splits.test_bytes == by_pieces.splits.test_bytes
    assert by_bytes.splits.test.answers_in_all == by_bytes.splits.test_bytes + 1, "the border"
    assert by_pieces.splits.test.answers_in_all < by_bytes.splits.test.answers_in_all / 2
    assert by_bytes.figures(1000.0)["perplexity"] == math.inf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": None}, "data.path is missing; expected the file or folder that 'text' reads"),
        ({"path": "/nowhere"}, "data.path = /nowhere does not exist; expected a file or folder"),
        ({"pieces": 256}, "data.pieces = 256; expected more than the 256 bytes"),
        ({"length": 0}, "data.length = 0; expected 1 or more"),
        ({"length": 5000}, "bytes to test on; expected at least data.length = 5000 and 1"),
        ({"size": 8}, "data.size = 8; 'text' does not have this field"),
    ],
)
def test_fields_that_do_not_fit_are_refused(
    path: Path, changes: dict[str, object], message: str
) -> None:
    recipe = Recipe(LanguageHeadsModel("gpt"), LanguageData("text", str(path)))
    with pytest.raises(UserError) as refusal:
        load_task(with_fields(recipe, {f"data.{name}": it for name, it in changes.items()}))
    assert message in str(refusal.value)
