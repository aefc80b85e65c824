"""Scores of texts against references: error rates of phonemes, and BLEU."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

_ORDER = 4


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """The fewest symbols to insert, delete or replace to get from one to the other."""
    row = list(range(len(other) + 1))
    for k, a in enumerate(one, 1):
        diagonal, row[0] = row[0], k
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def error_rates(outputs: Sequence[str], expected: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Error rates in %: edits per expected phoneme, and the share of words with any edit.

    Of several pronunciations, the one with the fewest edits per phoneme counts.
    """
    edits = phonemes = wrong = 0
    for text, variants in zip(outputs, expected, strict=True):
        symbols = text.split()
        distance, length = min(
            (
                (edit_distance(symbols, variant.split()), len(variant.split()))
                for variant in variants
            ),
            key=lambda counts: counts[0] / counts[1],
        )
        edits, phonemes, wrong = edits + distance, phonemes + length, wrong + (distance > 0)
    return 100 * edits / phonemes, 100 * wrong / len(outputs)


def bleu(lines: Sequence[str], expected: Sequence[str]) -> float:
    """BLEU of all lines together, 0 to 100 (Papineni et al. 2002), as sacrebleu gives it by default.

    It counts n-grams of up to four words with their case, uses `13a` tokens, and smooths counts of 0
    exponentially (Post 2018).
    """
    matches, totals = [0] * _ORDER, [0] * _ORDER
    found_length = expected_length = 0
    for line, reference in zip(lines, expected, strict=True):
        words, right_words = _tokens(line), _tokens(reference)
        found_length += len(words)
        expected_length += len(right_words)
        for n in range(_ORDER):
            grams, right = Counter(_grams(words, n + 1)), Counter(_grams(right_words, n + 1))
            matches[n] += (grams & right).total()
            totals[n] += grams.total()
    if not matches[0] or not totals[-1]:
        return 0.0
    logarithms, smoothing = 0.0, 1.0
    for match, total in zip(matches, totals, strict=True):
        if not match:
            smoothing *= 2
        logarithms += math.log((match or 1 / smoothing) / total)
    brevity = min(0.0, 1 - expected_length / found_length)
    return 100 * math.exp(brevity + logarithms / _ORDER)


def _grams(words: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    return zip(*(words[k:] for k in range(n)), strict=False)


_ENTITIES = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}
_CUTS = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
"""Separate punctuation from words, as mteval-v13a does."""


def _tokens(line: str) -> list[str]:
    line = line.replace("<skipped>", "")
    for entity, sign in _ENTITIES.items():
        line = line.replace(entity, sign)
    line = f" {line} "
    for pattern, cut in _CUTS:
        line = pattern.sub(cut, line)
    return line.split()
