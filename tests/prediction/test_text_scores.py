"""Error rates by edit distance, BLEU beside sacrebleu's, and the lines that are read."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.commands.predict import lines_of
from firetree.prediction.text_scores import bleu, edit_distance, error_rates

WORDS = st.text("abc", max_size=6)


@given(WORDS, WORDS)
def test_the_edit_distance_is_that_of_its_definition(one: str, other: str) -> None:
    @cache
    def least(j: int, k: int) -> int:
        if not j or not k:
            return j + k
        replaced = least(j - 1, k - 1) + (one[j - 1] != other[k - 1])
        return min(least(j - 1, k) + 1, least(j, k - 1) + 1, replaced)

    assert edit_distance(one, other) == least(len(one), len(other))


def test_the_nearest_pronunciation_counts() -> None:
    found = ["T AH M EY T OW", "K AE T", "D AO"]
    expected = [["T AH M AA T OW", "T AH M EY T OW"], ["K AE T S"], ["D AO G Z", "D AA"]]
    phonemes, words = error_rates(found, expected)
    # 0 of 6, 1 of 4; "D AO" is 2 of 4 from the first and 1 of 2 from the second.
    assert phonemes == pytest.approx(100 * (0 + 1 + 2) / (6 + 4 + 4))
    assert words == pytest.approx(100 * 2 / 3)


TOKENS = st.sampled_from(
    ["ein", "Hund", "3.5", "1,000", "U.S.", "&quot;", "saftig-grünes", "5-6", ".", ",", "(so)", "ü"]
)
LINES = st.lists(st.tuples(*[st.lists(TOKENS, max_size=8).map(" ".join)] * 2), min_size=1)


@given(LINES)
def test_bleu_is_that_of_sacrebleu(lines: list[tuple[str, str]]) -> None:
    peer = pytest.importorskip("sacrebleu", reason="no sacrebleu here")
    found, expected = map(list, zip(*lines, strict=True))
    assert bleu(found, expected) == pytest.approx(
        peer.corpus_bleu(found, [expected]).score, abs=1e-6
    )


def test_bleu_of_what_was_expected_is_100_and_of_nothing_0() -> None:
    lines = ["Ein Mann mit Hut, der etwas anstarrt."]
    assert bleu(lines, lines) == pytest.approx(100)
    assert bleu([""], lines) == 0


def test_a_line_ends_at_a_newline_and_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("one\u2028line\r\n\nlast\x0cone\n", encoding="utf-8")
    assert lines_of((), file) == ["one\u2028line", "", "last\x0cone"]
    file.write_text("", encoding="utf-8")
    assert lines_of((), file) == []
