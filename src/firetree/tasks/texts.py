"""To turn one text into another: words into phonemes, lines of one language into another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from firetree.data import Account
from firetree.data.texts import PIECES, TextSplits, load_phonemes, load_translations
from firetree.data.vocabulary import END, Vocabulary
from firetree.documents import Positive
from firetree.errors import UserError
from firetree.fields import Fixed, Part
from firetree.models import seq2seq
from firetree.tasks.answers import Answers


@dataclass(frozen=True, slots=True)
class _TextData:
    name: str
    path: str | None = None
    """The file or folder it reads."""
    examples: Fixed[Positive | None] = None
    """Pairs of texts to read; None for all."""
    held_out: Fixed[Literal["test", "validation"]] = "test"
    """Which of the pairs that are not trained on are evaluated."""


@dataclass(frozen=True, slots=True)
class PhonemeData(_TextData):
    """Words and their phonemes, of a dictionary."""

    name: Fixed[Literal["cmudict"]]
    test_fraction: Fixed[Part] = 0.2
    """Share of the words that is held out."""


@dataclass(frozen=True, slots=True)
class TranslationData(_TextData):
    """Lines of one language and the same lines in another."""

    name: Fixed[Literal["parallel_text"]]
    source: Fixed[str | None] = None
    """The language to translate, as in the name train.en."""
    target: Fixed[str | None] = None
    """The language to translate into."""
    pieces: Fixed[Positive] = PIECES
    """Pieces of words in which each language is written."""


@dataclass(frozen=True, slots=True)
class Texts(Answers):
    """Targets, a symbol after the other, from their sources. An answer is a symbol, or the end."""

    splits: TextSplits

    @property
    def about(self) -> dict[str, Any]:
        return {"source": self.splits.source.as_json(), "target": self.splits.target.as_json()}

    @property
    def account(self) -> Account:
        return self.splits.account

    def build(self, fields: Mapping[str, Any]) -> nn.Module:
        return build_network(self.splits.source, self.splits.target, fields)

    def example(self, count: int) -> Tensor:
        mean_length = round(float(self.splits.train.lengths_N.mean()))
        return torch.full((count, 2, mean_length), END)


def build_network(
    source: Vocabulary, target: Vocabulary, fields: Mapping[str, Any]
) -> seq2seq.SequenceToSequence:
    """The network that a recipe's model fields describe (UserError as `seq2seq.build`)."""
    given = {name: value for name, value in fields.items() if value is not None}
    return seq2seq.build(**given, sources=len(source), targets=len(target))


def load_texts(data: PhonemeData | TranslationData, seed: int) -> Texts:
    """The pairs of texts of a recipe, which are the same for every seed.

    Raises:
        UserError: a field that is missing, or as `data.texts`.
    """
    if data.path is None:
        what = "folder" if isinstance(data, TranslationData) else "file"
        raise UserError(f"data.path is missing; expected the {what} that '{data.name}' reads")
    path = Path(data.path).expanduser()
    if not path.exists():
        raise UserError(f"data.path = {path} does not exist; expected a file or folder")
    if isinstance(data, PhonemeData):
        return Texts(load_phonemes(path, data.held_out, data.test_fraction, data.examples))
    if data.source is None or data.target is None:
        raise UserError("data.source and data.target are missing; expected languages, as en and de")
    languages = data.source, data.target
    return Texts(load_translations(path, languages, data.held_out, data.pieces, data.examples))


@dataclass(frozen=True, slots=True)
class Answered:
    """What was found for a text, and the mean log-probability of its symbols."""

    text: str
    score: float


BATCH = 64
_MOST_SYMBOLS = 10


def answer(
    network: seq2seq.SequenceToSequence,
    source: Vocabulary,
    target: Vocabulary,
    texts: Sequence[str],
    beam: int,
) -> list[Answered]:
    """The best target of each text, those of about the same length together.

    Up to 64 are searched together, and a target has at most twice as many symbols as the longest of
    their sources and ten more; that of a text without any symbol is empty.

    Args:
        network: in evaluation mode.
        beam: hypotheses that are kept at each step, 1 or more.
    """
    sources = [source.encode(text) for text in texts]
    order = sorted(
        (k for k, numbers in enumerate(sources) if numbers), key=lambda k: len(sources[k])
    )
    found = [Answered("", 0.0)] * len(texts)
    for first in range(0, len(order), BATCH):
        some = order[first : first + BATCH]
        longest = len(sources[some[-1]])
        rows = [torch.tensor([*sources[k], END]) for k in some]
        source_BS = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=seq2seq.PADDING)
        most = 2 * longest + _MOST_SYMBOLS
        for k, best in zip(
            some, seq2seq.search(network, source_BS, end=END, beam=beam, most=most), strict=True
        ):
            found[k] = Answered(target.decode(best.symbols), best.score)
    return found
