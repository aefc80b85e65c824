"""Sequences whose answers lie in their own past, made from a seed.

Letters in names: N sequences, P pairs, K keys, T symbols.
"""

from __future__ import annotations

import string

import numpy as np

from firetree.data.batches import NO_ANSWER
from firetree.data.order import Indices, RandomStream
from firetree.data.sequences import Sequences, SequenceSplits

PAPER_EXAMPLES = 100_000
PAPER_PAIRS = 4
_PARTS = {"validation": 10_000, "test": 20_000}
"""Sizes of the held-out sets (Ba et al. 2016, section 4.1)."""


def retrieval(pairs: int, examples: int, held_out: str, seed: int) -> SequenceSplits:
    """Associative retrieval: `c9k8j3f1??c` → `9` (Ba et al. 2016, section 4.1).

    Symbols are the letters (more keys where there are more pairs than letters), the ten digits, and
    the question mark. The keys of a sequence differ.

    Args:
        pairs: of a key and a digit; the paper has 4.
        examples: to train on; the paper has 100,000.
        held_out: `test` (20,000 sequences) or `validation` (10,000).
        seed: of all sequences.
    """
    keys, digits = max(len(string.ascii_lowercase), pairs), len(string.digits)

    def made(part: str, count: int) -> Sequences:
        generator = _generator(seed, part)
        keys_NP = _distinct(generator, count, keys, pairs)
        values_NP = generator.integers(0, digits, (count, pairs))
        asked_N1 = generator.integers(0, pairs, (count, 1))
        question = np.full((count, 2), keys + digits)
        pairs_NT = np.stack([keys_NP, keys + values_NP], 2).reshape(count, -1)
        query_N1 = np.take_along_axis(keys_NP, asked_N1, 1)
        x_NT = np.concatenate([pairs_NT, question, query_N1], 1)
        return Sequences(x_NT, np.take_along_axis(values_NP, asked_N1, 1)[:, 0])

    return SequenceSplits(
        made("train", examples),
        made(held_out, _PARTS[held_out]),
        (*_names(keys), *string.digits, "?"),
        tuple(string.digits),
    )


def multi_query(pairs: int, examples: int, held_out: str, seed: int) -> SequenceSplits:
    """Multi-query associative recall (Arora et al. 2023, arXiv 2312.04927, section 3.1).

    After the pairs of a key and a value, all keys come again in another order, and the answer to each is its
    value. There are twice as many keys as pairs, and as many values as keys. Arguments are those of
    `retrieval`.
    """
    keys = values = 2 * pairs

    def made(part: str, count: int) -> Sequences:
        generator = _generator(seed, part)
        keys_NP = _distinct(generator, count, keys, pairs)
        values_NP = generator.integers(0, values, (count, pairs))
        order_NP = _distinct(generator, count, pairs, pairs)
        pairs_NT = np.stack([keys_NP, keys + values_NP], 2).reshape(count, -1)
        x_NT = np.concatenate([pairs_NT, np.take_along_axis(keys_NP, order_NP, 1)], 1)
        answers_NP = np.take_along_axis(values_NP, order_NP, 1)
        return Sequences(x_NT, np.concatenate([np.full_like(pairs_NT, NO_ANSWER), answers_NP], 1))

    return SequenceSplits(
        made("train", examples),
        made(held_out, _PARTS[held_out]),
        (*_names(keys), *map(str, range(values))),
        tuple(map(str, range(values))),
    )


def _names(keys: int) -> tuple[str, ...]:
    """The keys' names: letters where there are enough, else `k0`, `k1` and so on."""
    letters = string.ascii_letters
    return tuple(letters[:keys]) if keys <= len(letters) else tuple(f"k{n}" for n in range(keys))


def _generator(seed: int, part: str) -> np.random.Generator:
    return np.random.default_rng([RandomStream.SEQUENCES, seed, *part.encode()])


def _distinct(generator: np.random.Generator, count: int, limit: int, picked: int) -> Indices:
    """(count, picked) numbers below `limit`, those of a row all different."""
    return np.argsort(generator.random((count, limit)), axis=1)[:, :picked]
