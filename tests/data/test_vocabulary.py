"""Text to numbers and back, and pieces of words as byte-pair encoding learns them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.data.vocabulary import END, Vocabulary, letters_of, pieces_of, words_of

TEXTS = st.lists(st.text("abAB é.,!  ", max_size=20), min_size=1, max_size=8)


def slow_pieces(words: list[str], count: int) -> list[str]:
    """Byte-pair encoding that counts all pairs anew each time."""
    parts = [list(word) for word in words]
    symbols = sorted({letter for word in parts for letter in word})
    while len(symbols) < count:
        pairs = Counter(pair for word in parts for pair in pairwise(word))
        if not pairs or max(pairs.values()) < 2:
            break
        one, other = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if one + other not in symbols:
            symbols.append(one + other)
        for word in parts:
            k = 0
            while k < len(word) - 1:
                if (word[k], word[k + 1]) == (one, other):
                    word[k : k + 2] = [one + other]
                k += 1
    return symbols


@given(st.lists(st.text("abc", min_size=1, max_size=6), min_size=1), st.integers(1, 40))
def test_pieces_are_those_of_byte_pair_encoding(words: list[str], count: int) -> None:
    expected = slow_pieces([f" {word}" for word in words], count)
    assert list(pieces_of([" ".join(words)], count).symbols) == expected


@given(TEXTS, st.integers(1, 40))
def test_a_text_comes_back_from_its_pieces(texts: list[str], count: int) -> None:
    vocabulary = pieces_of(texts, count)
    for text in texts:
        numbers = vocabulary.encode(text)
        assert vocabulary.decode(numbers) == " ".join(text.split())
        assert all(END < number < len(vocabulary) for number in numbers)


def test_frequent_words_are_one_piece_and_unseen_ones_several() -> None:
    vocabulary = pieces_of(["der Hund und der Hut"] * 3, 40)
    assert len(vocabulary.encode("der Hund")) == 2
    assert len(vocabulary.encode("der Tod")) > 2


@pytest.mark.parametrize(
    ("vocabulary", "text", "comes_back"),
    [
        (letters_of(["abc"]), "Cab?", "cab"),
        (words_of(["B AA", "T"]), "AA  T XX B", "AA T B"),
        (pieces_of(["abc abc"], 9), "cab ßc", "cab c"),
        (pieces_of(["abc abc"], 9), "ß", ""),
    ],
)
def test_what_was_never_seen_is_left_out(
    vocabulary: Vocabulary, text: str, comes_back: str
) -> None:
    assert vocabulary.decode(vocabulary.encode(text)) == comes_back
    assert Vocabulary.from_json(vocabulary.as_json()) == vocabulary


def test_no_piece_is_longer_than_a_hundred_letters_however_long_a_word() -> None:
    text = "ab" * 500
    pieces = pieces_of([text, text], 4000)
    assert max(map(len, pieces.symbols)) <= 101  # with the space before the word
    assert pieces.decode(pieces.encode(text)) == text
