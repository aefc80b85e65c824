"""Entropy coders and short forms give back what they were given, near the entropy, or refuse."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from firetree.errors import UserError
from firetree.modelfiles.fire import huffman, numbers
from firetree.modelfiles.fire.coders import CODERS, Coder, CoderName
from firetree.modelfiles.fire.tables import (
    ALPHABET,
    LEVELS,
    TOTAL,
    CodedStream,
    Ints,
    Symbols,
    entropy_bits,
    from_levels,
    levels,
    mask_frequencies,
    normalise,
)

each_coder = pytest.mark.parametrize("coder", CODERS.values(), ids=CODERS)

LANES = 64


def drawn(seed: int, count: int, tables: int, spread: float) -> CodedStream:
    """Symbols around 128, their tables, and frequencies that fit them."""
    random = np.random.default_rng(seed)
    symbol_N = np.clip(random.normal(128, spread, count), 0, ALPHABET - 1).astype(np.int64)
    table_N = np.sort(random.integers(0, tables, count))
    counts = np.zeros((tables, ALPHABET), np.int64)
    np.add.at(counts, (table_N, symbol_N), 1)
    return CodedStream(symbol_N, table_N, from_levels(levels(counts)))


def decoded(coder: Coder, content: bytes, messages: Sequence[CodedStream]) -> list[Symbols]:
    decoder = coder.decoder(content, LANES)
    found = [decoder.take(message.table_N, message.freq_TA) for message in messages]
    decoder.end()
    return found


@each_coder
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(0, 3000), min_size=1, max_size=3),
    tables=st.integers(1, 5),
    spread=st.floats(0, 200),
)
def test_any_messages_survive(
    coder: Coder, seed: int, counts: list[int], tables: int, spread: float
) -> None:
    messages = [drawn(seed, count, tables, spread) for count in counts]
    found = decoded(coder, coder.encode(messages, LANES), messages)
    for symbols, message in zip(found, messages, strict=True):
        assert np.array_equal(symbols, message.symbol_N)


@each_coder
def test_a_message_of_no_layer_survives(coder: Coder) -> None:
    nothing = np.zeros(0, np.int64)
    message = CodedStream(nothing, nothing, np.zeros((0, ALPHABET), np.int64))
    assert [
        len(symbols) for symbols in decoded(coder, coder.encode([message], LANES), [message])
    ] == [0]


@pytest.mark.parametrize(("coder", "over"), [("rans", 1.006), ("huffman", 1.012)])
def test_codes_are_near_their_entropy(coder: CoderName, over: float) -> None:
    message = drawn(0, 400_000, 1, 30)
    bound_bytes = entropy_bits(np.bincount(message.symbol_N)) / 8
    assert (
        bound_bytes < len(CODERS[coder].encode([message], LANES)) < over * bound_bytes + 4 * LANES
    )


@each_coder
def test_changed_codes_are_refused_or_give_other_symbols_but_never_more(coder: Coder) -> None:
    messages = [drawn(1, 5000, 3, 40), drawn(2, 700, 1, 9)]
    content = coder.encode(messages, LANES)
    random = np.random.default_rng(2)
    for _ in range(100):
        damaged = bytearray(content)
        damaged[int(random.integers(len(damaged)))] ^= int(random.integers(1, 256))
        with contextlib.suppress(UserError):
            found = decoded(coder, bytes(damaged), messages)
            assert [len(symbols) for symbols in found] == [5000, 700]
    for length in (0, 100, len(content) - 2):
        with pytest.raises(UserError):
            decoded(coder, content[:length], messages)
    with pytest.raises(UserError):
        decoded(coder, content, messages[:1])


@given(arrays.arrays(np.int64, (3, ALPHABET), elements=st.integers(0, 2**30 - 1)))
def test_frequencies_add_up_and_leave_out_what_does_not_occur(weights: Ints) -> None:
    freq_TA = normalise(weights)
    assert (freq_TA.sum(axis=1) == TOTAL).all()
    some = weights.sum(axis=1) > 0
    assert ((freq_TA > 0) == (weights > 0))[some].all()


def test_bytes_with_as_many_ones_are_equally_frequent() -> None:
    freq_TA = mask_frequencies(np.array([[0, 65_535, 0, 0, 0, 0, 0, 0, 0]]))
    assert sorted(np.flatnonzero(freq_TA[0]).tolist()) == [1 << k for k in range(8)]
    assert set(freq_TA[0][freq_TA[0] > 0].tolist()) == {TOTAL // 8}


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=ALPHABET))
def test_levels_are_within_their_range(counts: list[int]) -> None:
    levels_A = levels(np.array([counts], np.int64))[0]
    assert ((levels_A > 0) == (np.array(counts) > 0)).all()
    assert levels_A.max() < LEVELS


def test_canonical_codes_are_those_of_rfc_1951() -> None:
    length_A = np.array([3, 3, 3, 3, 3, 2, 4, 4])
    assert huffman.codes(length_A).tolist() == [2, 3, 4, 5, 6, 0, 14, 15]


def test_the_rarest_symbols_get_codes_of_15_bits_at_most() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 30:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    length_A = huffman.lengths(np.array(fibonacci, np.int64))
    assert length_A.max() <= 15
    assert sum(2.0**-length_A) <= 1


def merged(freq_A: list[int]) -> list[int]:
    """Lengths of codes as docs/fire-format.md describes them, where none is too long."""
    trees = {number: (freq, [number]) for number, freq in enumerate(freq_A)}
    length_A = [0] * len(freq_A)
    while len(trees) > 1:
        first, other = sorted(trees, key=lambda number: (trees[number][0], number))[:2]
        (one, left), (two, right) = trees[first], trees.pop(other)
        for symbol in left + right:
            length_A[symbol] += 1
        trees[first] = one + two, left + right
    return length_A


@given(st.lists(st.integers(1, 4), min_size=2, max_size=40))
def test_equal_trees_are_joined_in_the_documented_order(freq_A: list[int]) -> None:
    assert huffman.lengths(np.array(freq_A, np.int64)).tolist() == merged(freq_A)


def test_the_other_bit_is_refused_where_there_is_one_symbol_alone() -> None:
    message = drawn(0, 8 * LANES, 1, 0)
    content = bytearray(huffman.encode([message], LANES))
    content[-1] ^= 1
    with pytest.raises(UserError, match="do not end where they should"):
        decoded(CODERS["huffman"], bytes(content), [message])


@given(
    arrays.arrays(np.float32, st.integers(0, 50), elements=st.floats(-(2.0**99), 2.0**99, width=32))
)
def test_floats_survive_to_the_last_bit(values: numbers.Floats) -> None:
    again = numbers.unpack_floats(numbers.pack_floats(values, 4), len(values), 4)
    assert np.array_equal(again.view(np.uint32), values.view(np.uint32))


@given(arrays.arrays(np.float16, st.integers(0, 50), elements=st.floats(-999, 999, width=16)))
def test_floats_of_16_bits_survive_in_16_bits(values: np.ndarray) -> None:  # type: ignore[type-arg]
    assert numbers.is_half(values.astype(np.float32))
    packed = numbers.pack_floats(values.astype(np.float32), 2)
    again = numbers.unpack_floats(packed, len(values), 2)
    assert np.array_equal(again.view(np.uint32), values.astype(np.float32).view(np.uint32))


@given(arrays.arrays(np.int64, st.integers(0, 50), elements=st.integers(0, 2**32 - 1)))
def test_whole_numbers_survive(values: numbers.Whole) -> None:
    assert np.array_equal(numbers.unpack_whole(numbers.pack_whole(values), len(values)), values)


def test_what_deflates_to_more_than_it_may_is_refused() -> None:
    with pytest.raises(UserError, match="expected at most 10 inside"):
        numbers.unpack(numbers.pack(bytes(1000)), 10)
