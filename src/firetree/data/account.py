"""What a reader took from the data and what it passed over: as values, and as lines for the user.

`remarks_on_labels` says what the counts alone would hide. The readers beside this file count.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firetree.data.look_alikes import look_alikes
from firetree.data.order import Indices

HELD_OUT = "held out"
"""Says that the test samples are a share of the samples to train on."""

_NAMED = 3
"""Names that a remark gives before it only counts."""
_FEW_CLASSES = 10
"""Classes whose counts are all given."""
_FEW_TESTS = 50
_UNEVEN = 1.5
"""Times the equal share at which a class has so much of the test set that it is said."""
_LEAST_MAJORITY = 0.1
"""Of the test set; less is no accuracy worth a remark."""
_IMBALANCED = 10
"""Times the smallest class at which the largest is said to be large."""
_PLURAL = re.compile(r"(link|folder|file|array|line|comment|pair|row)\b")


@dataclass(frozen=True, slots=True)
class Account:
    """What there is to train and to test on, and what was passed over."""

    samples: str
    """What is counted: images, pairs, sequences or games."""
    train: int
    test: int
    test_from: str = HELD_OUT
    """As in `from valid/`."""
    classes: int | None = None
    files: int = 0
    """How many were read."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """How many files, or other things, by the reason."""
    per_class: Mapping[str, int] = field(default_factory=dict)
    """How many samples to train on, by the class."""
    remarks: tuple[str, ...] = ()
    checksum: int = 0
    """CRC-32 of the names, labels and (of all but huge data) sizes of the samples."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What workers that train together must have alike."""
        return {
            "training samples": self.train,
            "test samples": self.test,
            "checksum of names, sizes and labels": self.checksum,
        }

    def lines(self) -> tuple[str, ...]:
        """The counts in one line, then the remarks."""
        of_classes = f" of {_counted(self.classes, 'class', 'classes')}" if self.classes else ""
        sentence = (
            f"{_counted(self.train, self.samples.removesuffix('s'), self.samples)}{of_classes} "
            f"to train on, {self.test:,} to test ({self.test_from})"
        )
        return (sentence + but(self.passed_over), *self._counts_per_class(), *self.remarks)

    def _counts_per_class(self) -> tuple[str, ...]:
        """A line with each class's count, or with the extremes of many; none for one class."""
        counts = sorted(self.per_class.items(), key=lambda item: -item[1])
        if len(counts) < 2:
            return ()
        (largest, most), (smallest, least) = counts[0], counts[-1]
        if least == most:
            each = f"{least:,} each"
        elif len(counts) <= _FEW_CLASSES:
            each = ", ".join(f"{name}: {count:,}" for name, count in counts)
        else:
            each = f"{most:,} ({largest}) to {least:,} ({smallest})"
        return (f"{self.samples} to train on by class: {each}",)


def left_alone(tested_on: str, unused: str) -> str:
    """The remark on a test split beside a validation split."""
    return f"tested on {tested_on} while training; {unused} is left alone"


def counts_as_text(passed_over: Mapping[str, int]) -> str:
    """The counts of what was passed over, the largest first."""
    ordered = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {_of(count, reason)}" for reason, count in ordered if count)


def _of(count: int, reason: str) -> str:
    return reason if count == 1 else _PLURAL.sub(r"\1s", reason, count=1)


def but(passed_over: Mapping[str, int]) -> str:
    """The end of a sentence: what was passed over; empty where that is nothing."""
    counts = counts_as_text(passed_over)
    return f"; passed over: {counts}" if counts else ""


def checksum(parts: Iterable[bytes | memoryview]) -> int:
    """CRC-32 of the parts and of their lengths."""
    value = 0
    for part in parts:
        value = zlib.crc32(b"%d:" % memoryview(part).nbytes, value)
        value = zlib.crc32(part, value)
    return value


def remarks_on_labels(
    train_labels_N: Indices, test_labels_N: Indices, classes: Sequence[str], samples: str
) -> tuple[str, ...]:
    """Reasons why the accuracy means less than it seems: a line each, with its numbers."""
    train_K = np.bincount(train_labels_N, minlength=len(classes))
    test_K = np.bincount(test_labels_N, minlength=len(classes))
    return tuple(
        remark
        for remark in (
            _which(train_K == 0, classes, f"no {samples} to train on"),
            _which((train_K > 0) & (test_K == 0), classes, f"no {samples} to test on"),
            _which(train_K == 1, classes, f"one {samples.removesuffix('s')} to train on"),
            _few(len(test_labels_N), samples),
            _majority(test_K, classes, samples),
            _imbalance(train_K, classes, samples),
            _alike(classes),
        )
        if remark
    )


def _which(where_K: Any, classes: Sequence[str], what: str) -> str | None:
    names = [classes[k] for k in np.flatnonzero(where_K).tolist()]
    if not names:
        return None
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return (
        f"{what} in {len(names):,} of {len(classes):,} classes: {', '.join(names[:_NAMED])}{more}"
    )


def _few(tests: int, samples: str) -> str | None:
    if tests >= _FEW_TESTS:
        return None
    each = _counted(tests, samples.removesuffix("s"), samples)
    return f"{each} to test on: each is {100 / tests:.1f} % of the accuracy"


def _majority(test_K: Any, classes: Sequence[str], samples: str) -> str | None:
    largest = int(test_K.argmax())
    share = test_K[largest] / test_K.sum()
    if len(classes) == 1 or share <= max(_UNEVEN / len(classes), _LEAST_MAJORITY):
        return None
    return (
        f"{share:.1%} of the test {samples} are of the class {classes[largest]}: "
        "who always says so has that accuracy"
    )


def _imbalance(train_K: Any, classes: Sequence[str], samples: str) -> str | None:
    largest = int(train_K.argmax())
    present = np.flatnonzero(train_K)
    smallest = int(present[train_K[present].argmin()])
    times = train_K[largest] / train_K[smallest]
    if times < _IMBALANCED:
        return None
    return (
        f"the class {classes[largest]} has {times:,.0f} times the {samples} to train on that "
        f"{classes[smallest]} has; each class counts alike only with optim.class_weights = balanced"
    )


def _alike(classes: Sequence[str]) -> str | None:
    pairs = [" and ".join(alike) for alike in look_alikes(classes)]
    more = f", and {len(pairs) - _NAMED:,} more such" if len(pairs) > _NAMED else ""
    return f"classes that look alike: {', '.join(pairs[:_NAMED])}{more}" if pairs else None


def _counted(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"
