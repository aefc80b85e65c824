"""Texts from a run's network: phonemes of words, translations of lines, and how good they are."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from firetree.data.texts import split_lines
from firetree.data.vocabulary import Vocabulary
from firetree.documents import read_text
from firetree.errors import UserError
from firetree.models.seq2seq import SequenceToSequence
from firetree.prediction.text_scores import bleu, error_rates
from firetree.tasks.texts import Answered, Texts, answer, build_network
from firetree.training import Trained, load_task


@dataclass(frozen=True, slots=True)
class TextModel:
    """A network that is ready, and the symbols of both sides."""

    network: SequenceToSequence
    source: Vocabulary
    target: Vocabulary

    def answers(self, texts: Sequence[str], beam: int) -> list[Answered]:
        """The best target of each text."""
        return answer(self.network, self.source, self.target, texts, beam)

    def check(self, texts: Sequence[str]) -> None:
        """Raise UserError for a text that is not empty and has no symbol that was learned."""
        for text in texts:
            if text.strip() and not self.source.encode(text):
                raise UserError(f"nothing in '{text}' was in the training texts; leave it out")


def open_texts(trained: Trained) -> TextModel:
    """The model of a run on texts."""
    source, target = (Vocabulary.from_json(trained.data[side]) for side in ("source", "target"))
    network = build_network(source, target, asdict(trained.recipe.model))
    network.load_state_dict(dict(trained.weights))
    return TextModel(network.eval(), source, target)


def lines_of(texts: Sequence[str], file: Path | None) -> list[str]:
    """The texts named, or the lines of the file, or else those of standard input.

    Raises:
        UserError: texts and a file, or a file that cannot be read.
    """
    if texts and file is not None:
        raise UserError("texts and --file; expected one of them")
    if texts:
        return list(texts)
    try:
        return split_lines(sys.stdin.read() if file is None else read_text(file, "file"))
    except UnicodeDecodeError as error:
        raise UserError("standard input is not in UTF-8; expected texts in UTF-8") from error


def as_json(texts: Sequence[str], found: Sequence[Answered]) -> str:
    """`[{"input", "output", "score"}]`; the score is the mean log-probability of a symbol."""
    rows = zip(texts, found, strict=True)
    return json.dumps(
        [{"input": text, "output": its.text, "score": its.score} for text, its in rows],
        ensure_ascii=False,
        indent=1,
    )


@dataclass(frozen=True, slots=True)
class Scores:
    """Of the texts that a run's data hold out; what does not apply is None."""

    texts: int
    beam: int
    duration_s: float
    phoneme_error_percent: float | None = None
    word_error_percent: float | None = None
    bleu: float | None = None


def scored(model: TextModel, trained: Trained, beam: int) -> Scores:
    """Answer all texts that the run's data hold out; a word's pronunciations are one text.

    Raises:
        UserError: the data are no longer where the recipe says.
    """
    task = load_task(trained.recipe)
    assert isinstance(task, Texts)
    pairs = task.splits.test_pairs
    expected: dict[str, list[str]] = {}
    for source, target in pairs:
        expected.setdefault(source, []).append(target)
    start_s = time.perf_counter()
    texts = list(expected) if trained.recipe.data.name == "cmudict" else [s for s, _ in pairs]
    found = [its.text for its in model.answers(texts, beam)]
    measured = len(texts), beam, time.perf_counter() - start_s
    if trained.recipe.data.name == "cmudict":
        return Scores(*measured, *error_rates(found, list(expected.values())))
    return Scores(*measured, bleu=bleu(found, [target for _, target in pairs]))


def scores_as_text(scores: Scores) -> str:
    """One line: how good, of how many, how fast."""
    if scores.bleu is not None:
        good, what = f"BLEU {scores.bleu:.2f}", "lines"
    else:
        good = (
            f"phoneme error rate {scores.phoneme_error_percent:.2f} %, "
            f"word error rate {scores.word_error_percent:.2f} %"
        )
        what = "words"
    rate = scores.texts / scores.duration_s
    return f"{good} of {scores.texts:,} {what}; {rate:,.0f} {what} a second"
