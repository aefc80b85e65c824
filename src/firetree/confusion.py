"""A run's confusion.json: which classes its network takes for which, and the images that it is most wrong about.

Training writes it after evaluations of images with classes; a report and its page read it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from firetree.documents import Count, Expect, Finite, Positive, parse_json, read_text
from firetree.errors import UserError

CONFUSION_VERSION = 1
MOST_ROWS = 100
"""Classes of which is told what they are taken for: those with the most mistakes, where there are more."""
MOST_PAIRS = MOST_ROWS * (MOST_ROWS - 1)
MOST_WORST = 12

_MOST_BASE64 = 40_000
Jpeg = Annotated[
    str,
    Expect(
        lambda text: len(text) <= _MOST_BASE64 and bool(re.fullmatch("[A-Za-z0-9+/]*=*", text)),
        f"a JPEG as base64 of at most {_MOST_BASE64:,} letters",
    ),
]


@dataclass(frozen=True, slots=True)
class WorstImage:
    """A test image, and the class that the network takes it for, with which probability (0 to 1).

    `label` and `predicted` are indices into the classes. `loss` is -ln of the label's probability. `jpeg` is a
    small picture of it, empty where Pillow is not installed.
    """

    name: str
    label: Count
    predicted: Count
    probability: Annotated[float, Expect(lambda value: 0 <= value <= 1, "0 to 1")]
    loss: Finite
    jpeg: Jpeg = ""


@dataclass(frozen=True, slots=True)
class Confusion:
    """An evaluation after `step` steps, at the end of epoch `epoch`, counted from 1.

    Of each class, `total` counts the test images and `right` those that were recognised. `confused` has a class, what
    it was taken for, and how often, the most frequent first. `worst` are the mistakes with the largest loss.
    """

    step: Count
    epoch: Count
    right: tuple[Count, ...]
    total: tuple[Count, ...]
    confused: tuple[tuple[Count, Count, Positive], ...]
    worst: tuple[WorstImage, ...]

    @property
    def recalls(self) -> tuple[float | None, ...]:
        """The share of each class that was recognised, None where it has no test image."""
        counts = zip(self.right, self.total, strict=True)
        return tuple(right / total if total else None for right, total in counts)

    @property
    def macro_recall(self) -> float:
        """The mean of the classes' recalls, so that each counts alike."""
        known = [it for it in self.recalls if it is not None]
        return sum(known) / len(known) if known else 0.0


@dataclass(frozen=True, slots=True)
class Confusions:
    """The newest evaluation, and the best one where that is another."""

    classes: tuple[str, ...]
    newest: Confusion
    best: Confusion | None = None


def confusion_file(run_dir: Path) -> Path:
    """The path of a run's confusion.json."""
    return run_dir / "confusion.json"


def read_confusions(run_dir: Path) -> Confusions | None:
    """What a run tells of its classes; None where it has no such file.

    Raises:
        UserError: the file is damaged or of another version.
    """
    path = confusion_file(run_dir)
    if not path.exists():
        return None
    found = parse_json(Confusions, read_text(path, "file"), str(path), CONFUSION_VERSION)
    for one in filter(None, (found.newest, found.best)):
        _check(one, len(found.classes), path)
    return found


def _check(found: Confusion, classes: int, path: Path) -> None:
    if not len(found.right) == len(found.total) == classes:
        raise UserError(f"{path}: counts of {len(found.total)} classes; expected {classes}")
    named = [it for pair in found.confused for it in pair[:2]]
    named += [it for image in found.worst for it in (image.label, image.predicted)]
    if max(named, default=0) >= classes:
        raise UserError(
            f"{path}: class {max(named)}; expected less than {classes}, as many as named"
        )
    if any(right > total for right, total in zip(found.right, found.total, strict=True)):
        raise UserError(f"{path}: more right answers than images of a class")
