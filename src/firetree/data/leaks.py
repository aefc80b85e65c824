"""Find test images that are training images too, byte for byte: a right answer to them shows nothing.

No more than `COMPARED_BYTES` is read for it. Where the images' sizes are known, only those of one size are
compared, and of too many those of some sizes. Otherwise all are, if they are few enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

from firetree.data.damaged import DamagedImageError
from firetree.data.images import Images
from firetree.data.order import Indices

COMPARED_BYTES = 200_000_000


def remarks_on_leaks(train: Images, test: Images) -> tuple[str, ...]:
    """How many test images are among the training images, with an example; nothing where none is."""
    train_sizes_N, test_sizes_N = _sizes(train, test)
    shared = np.intersect1d(train_sizes_N, test_sizes_N)
    read = _affordable(shared, np.concatenate([train_sizes_N, test_sizes_N]))
    ours, theirs = (np.flatnonzero(np.isin(it, read)) for it in (train_sizes_N, test_sizes_N))
    row_of = {digest: row for row, digest in _digests(train, ours)}
    leaks = [(row, row_of[it]) for row, it in _digests(test, theirs) if it in row_of]
    if not leaks:
        return ()
    unread = int(np.isin(test_sizes_N, np.setdiff1d(shared, read)).sum())
    compared = f"{len(test) - unread:,} test images{' compared' if unread else ''}"
    row, training_row = leaks[0]
    return (
        f"{len(leaks):,} of {compared} are training images too, byte for byte, such as "
        f"{test.name(row)} ({train.name(training_row)}); right answers to them show nothing",
    )


def _sizes(train: Images, test: Images) -> tuple[Indices, Indices]:
    """Each image's size in bytes; where not all are known, the same for each, as if all were alike."""
    if train.stored.sizes_N is not None and test.stored.sizes_N is not None:
        return train.stored.sizes_N[train.rows], test.stored.sizes_N[test.rows]
    totals = train.stored.size_bytes, test.stored.size_bytes
    if totals[0] is None or totals[1] is None:
        mean = COMPARED_BYTES + 1
    else:
        mean = max(totals[0] // len(train.stored.labels), totals[1] // len(test.stored.labels))
    return np.full(len(train), mean), np.full(len(test), mean)


def _affordable(shared: Indices, sizes_N: Indices) -> Indices:
    """As many of the shared sizes as can be read, drawn as if by chance."""
    drawn = np.random.default_rng(0).permutation(shared)
    sizes, counts = np.unique(sizes_N, return_counts=True)
    costs = drawn * counts[np.searchsorted(sizes, drawn)]
    return drawn[np.cumsum(costs) <= COMPARED_BYTES]


def _digests(images: Images, rows: Indices) -> Iterator[tuple[int, bytes]]:
    """Each of these rows that can be read, and a checksum of its image."""
    for row in rows.tolist():
        try:
            content = images.stored.content(int(images.rows[row]))
        except DamagedImageError:
            continue
        yield row, blake2b(content, digest_size=16).digest()
