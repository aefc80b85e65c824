"""To go on with a text: the symbol after each, from all before it in a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from firetree.data import Account, SequenceLoader
from firetree.data.text_stream import TextStreams, load_streams
from firetree.data.text_symbols import BYTES, TextSymbols
from firetree.documents import Expect, Positive
from firetree.errors import UserError
from firetree.fields import Fixed, Part
from firetree.models import language
from firetree.tasks.answers import Answers

_Pieces = Annotated[int, Expect(lambda value: value > BYTES, f"more than the {BYTES} bytes")]


@dataclass(frozen=True, slots=True)
class LanguageData:
    """Text, read as one stream of symbols."""

    name: Fixed[Literal["text"]]
    path: str | None = None
    """A file of text, or a folder of .txt, .md and .rst, also packed as .gz."""
    pieces: Fixed[_Pieces | None] = None
    """Number of symbols: the bytes, and pieces of words learned from the text to train on; None for bytes
    alone."""
    length: Fixed[Positive] = 128
    """Symbols of a sample."""
    test_fraction: Fixed[Part] = 0.2
    """Share of the text, its end, that is held out where no files are by their names."""


@dataclass(frozen=True, slots=True)
class Language(Answers):
    """Symbols x_BT, and y_BT, the one after each."""

    splits: TextStreams

    @property
    def about(self) -> dict[str, Any]:
        return {"pieces": list(self.splits.symbols.pieces), "length": self.splits.train.length}

    @property
    def account(self) -> Account:
        return self.splits.account

    def build(self, fields: Mapping[str, Any]) -> nn.Module:
        return build_network(self.about, fields)[1]

    def loader(
        self, *, batch_size: int, seed: int, rank: int, world_size: int, channels_last: bool = True
    ) -> SequenceLoader:
        """The text cut into other samples each epoch, by seed; tested on as it is."""
        return SequenceLoader(
            lambda epoch: self.splits.train.cut_anew(seed, epoch),
            self.splits.test,
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )

    def example(self, count: int) -> Tensor:
        return torch.zeros(count, self.splits.train.length, dtype=torch.int64)

    def right(self, outputs: Tensor, y: Tensor) -> None:
        """Nothing: what a language model is worth is its loss, which tells more than its likeliest symbols."""

    def figures(self, loss: float) -> dict[str, float]:
        """`perplexity`, of a symbol, and `bits_a_byte`, which texts in other symbols have alike."""
        symbols_a_byte = self.splits.test.answers_in_all / self.splits.test_bytes
        return {
            "perplexity": math.exp(loss) if loss < _MOST else math.inf,
            "bits_a_byte": loss / math.log(2) * symbols_a_byte,
        }


_MOST = 700.0
"""Nats a symbol; the exponential of more would overflow."""


def build_network(
    about: Mapping[str, Any], fields: Mapping[str, Any]
) -> tuple[TextSymbols, language.LanguageNetwork]:
    """The symbols of a text, and the network that a recipe's model fields describe.

    Args:
        about: what the task says about its data.

    Raises:
        UserError: as `language.build`.
    """
    symbols = TextSymbols(tuple(about["pieces"]))
    given = {name: value for name, value in fields.items() if value is not None}
    return symbols, language.build(**given, symbols=len(symbols), length=about["length"])


def load_language(data: LanguageData, seed: int) -> Language:
    """The text of a recipe, which is the same for every seed.

    Raises:
        UserError: no path, nothing there, or as `load_streams`.
    """
    if data.path is None:
        raise UserError("data.path is missing; expected the file or folder that 'text' reads")
    path = Path(data.path).expanduser()
    if not path.exists():
        raise UserError(f"data.path = {path} does not exist; expected a file or folder")
    return Language(load_streams(path, data.pieces, data.length, data.test_fraction))
