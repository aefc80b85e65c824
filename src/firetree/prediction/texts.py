"""Texts from a run's network: phonemes of words, translations of lines, and their scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from firetree.data.vocabulary import Vocabulary
from firetree.errors import ArgumentError, UserError
from firetree.models.seq2seq import SequenceToSequence
from firetree.prediction.text_scores import bleu, error_rates
from firetree.tasks import PhonemeData
from firetree.tasks.texts import Texts, answer, build_network
from firetree.training import Recipe, Trained, load_task


@dataclass(frozen=True, slots=True)
class TextPrediction:
    """A text's output; the score is the mean log-probability of its symbols."""

    input: str
    output: str
    score: float


@dataclass(frozen=True, slots=True, repr=False)
class TextModel:
    """A network in evaluation mode, the vocabularies of both sides, and its run's recipe."""

    network: SequenceToSequence
    source: Vocabulary
    target: Vocabulary
    recipe: Recipe

    @staticmethod
    def of(trained: Trained) -> TextModel:
        """The model of a run on texts."""
        source, target = (Vocabulary.from_json(trained.data[side]) for side in ("source", "target"))
        network = build_network(source, target, asdict(trained.recipe.model))
        network.load_state_dict(dict(trained.weights))
        return TextModel(network.eval(), source, target, trained.recipe)

    def __repr__(self) -> str:
        return (
            f"TextModel({self.recipe.model.name}, {len(self.source)} to {len(self.target)} symbols)"
        )

    def answer(self, texts: Sequence[str], beam: int) -> list[TextPrediction]:
        """The best target of each text."""
        if beam < 1:
            raise ArgumentError("beam", f"is {beam}; expected 1 or more")
        answers = answer(self.network, self.source, self.target, texts, beam)
        return [
            TextPrediction(text, its.text, its.score)
            for text, its in zip(texts, answers, strict=True)
        ]

    def check(self, texts: Sequence[str]) -> None:
        """Raise UserError for a non-empty text of which the model knows no symbol."""
        for text in texts:
            if text.strip() and not self.source.encode(text):
                raise UserError(f"nothing in '{text}' was in the training texts; leave it out")


@dataclass(frozen=True, slots=True)
class TextScores:
    """Scores on the texts that a run's data hold out; those that do not apply are None."""

    texts: int
    beam: int
    duration_s: float
    phoneme_error_percent: float | None = None
    word_error_percent: float | None = None
    bleu: float | None = None


def score_texts(model: TextModel, beam: int) -> TextScores:
    """Score the model on all held-out texts; a word with several pronunciations counts once.

    Raises:
        UserError: the data are no longer where the recipe says.
    """
    task = load_task(model.recipe)
    assert isinstance(task, Texts)
    pairs = task.splits.test_pairs
    expected: dict[str, list[str]] = {}
    for source, target in pairs:
        expected.setdefault(source, []).append(target)
    is_phonemes = isinstance(model.recipe.data, PhonemeData)
    texts = list(expected) if is_phonemes else [source for source, _ in pairs]
    start_s = time.perf_counter()
    outputs = [its.output for its in model.answer(texts, beam)]
    measured = len(texts), beam, time.perf_counter() - start_s
    if is_phonemes:
        return TextScores(*measured, *error_rates(outputs, list(expected.values())))
    return TextScores(*measured, bleu=bleu(outputs, [target for _, target in pairs]))
