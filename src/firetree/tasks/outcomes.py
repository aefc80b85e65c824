"""What became of each test image, over all ranks: how often a class is taken for another, and the worst mistakes.

Axes: B batch, K classes, N this rank's test images, M the classes with the most mistakes.
"""

from __future__ import annotations

import base64
from heapq import nsmallest
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from firetree.confusion import MOST_PAIRS, MOST_ROWS, MOST_WORST, Confusion, WorstImage
from firetree.data import DamagedImageError, Splits
from firetree.data.order import Indices
from firetree.data.thumbnails import thumbnail
from firetree.output import printable
from firetree.peers import gather_json, waiting

_MOST_LOSS = 1e9
"""In place of NaN and infinity, which JSON does not have."""


class _Mistake(NamedTuple):
    """In the order of their losses, the largest first; of equal ones, in the order of the test images."""

    negative_loss: float
    place: int
    label: int
    predicted: int
    probability: float


class Outcomes:
    """One evaluation's outcomes on this rank, two numbers an image.

    Args:
        splits: whose test images are evaluated.
    """

    def __init__(self, splits: Splits):
        self._splits = splits
        self._labels: list[npt.NDArray[np.int32]] = []
        self._predicted: list[npt.NDArray[np.int32]] = []
        self._worst: list[_Mistake] = []

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, which may be printed."""
        return tuple(map(printable, self._splits.classes))

    def add(self, places_B: Indices, y_B: Tensor, logits_BK: Tensor) -> None:
        """A batch of this rank: where its images lie in the test split, their labels, and the answers."""
        # A network of one's own may have more outputs than the data have classes.
        log_p_BK = logits_BK[:, : len(self._splits.classes)].log_softmax(1)
        most_B, predicted_B = log_p_BK.max(1)
        loss_B = -log_p_BK.gather(1, y_B[:, None])[:, 0]
        columns_B = y_B, predicted_B, loss_B, most_B.exp()
        told = torch.stack([it.double() for it in columns_B]).cpu().numpy()
        labels_B, answers_B = told[:2].astype(np.int32)
        self._labels.append(labels_B)
        self._predicted.append(answers_B)
        losses_B = np.nan_to_num(told[2], nan=_MOST_LOSS, posinf=_MOST_LOSS)
        columns = -losses_B, places_B, labels_B, answers_B, np.nan_to_num(told[3])
        wrong_B = labels_B != answers_B
        mistakes = zip(*(column[wrong_B].tolist() for column in columns), strict=True)
        self._worst = nsmallest(MOST_WORST, [*self._worst, *starmap(_Mistake, mistakes)])

    def gathered(self, step: int, epoch: int) -> Confusion | None:
        """The outcomes of all ranks, on rank 0; all call it together. Elsewhere None.

        Each rank sends at most `MOST_ROWS` + 2 numbers a class, whatever the number of images.
        """
        right_K, total_K = _summed(self._counts())
        rows_M = np.sort(np.argsort(right_K - total_K, kind="stable")[:MOST_ROWS])
        confused_MK = _summed(self._confused(rows_M))
        worst = nsmallest(MOST_WORST, [tuple(it) for one in gather_json(self._worst) for it in one])
        if dist.get_rank():
            return None
        return Confusion(
            step,
            epoch,
            tuple(right_K.tolist()),
            tuple(total_K.tolist()),
            _pairs(confused_MK, rows_M),
            tuple(self._shown(_Mistake(*it)) for it in worst),
        )

    def _counts(self) -> Indices:
        """right_K and total_K of this rank."""
        classes = len(self._splits.classes)
        labels_N, predicted_N = _joined(self._labels), _joined(self._predicted)
        right_N = labels_N[labels_N == predicted_N]
        return np.stack([np.bincount(it, minlength=classes) for it in (right_N, labels_N)])

    def _confused(self, rows_M: Indices) -> Indices:
        """How often this rank takes each of these classes for each class."""
        classes = len(self._splits.classes)
        row_of_K = np.full(classes, -1)
        row_of_K[rows_M] = np.arange(len(rows_M))
        row_N = row_of_K[_joined(self._labels)]
        cells_N = (row_N * classes + _joined(self._predicted))[row_N >= 0]
        return np.bincount(cells_N, minlength=len(rows_M) * classes).reshape(-1, classes)

    def _shown(self, mistake: _Mistake) -> WorstImage:
        test = self._splits.test
        try:
            content = thumbnail(test.read(mistake.place))
        except (DamagedImageError, OSError):
            content = b""
        return WorstImage(
            printable(test.name(mistake.place)),
            mistake.label,
            mistake.predicted,
            mistake.probability,
            -mistake.negative_loss,
            base64.b64encode(content).decode(),
        )


def _joined(parts: list[npt.NDArray[np.int32]]) -> Indices:
    return np.concatenate([np.empty(0, np.int64), *parts])


def _summed(counts: npt.NDArray[Any]) -> Indices:
    """The sum over the ranks; float64 is exact for counts."""
    summed = torch.from_numpy(counts.astype(np.float64))
    with waiting():
        dist.all_reduce(summed)
    return summed.numpy().astype(np.int64)


def _pairs(confused_MK: Indices, rows_M: Indices) -> tuple[tuple[int, int, int], ...]:
    """A class, what it was taken for and how often, the most frequent first, without right answers."""
    confused_MK[np.arange(len(rows_M)), rows_M] = 0
    rows, columns = np.nonzero(confused_MK)
    counts = confused_MK[rows, columns]
    order = np.lexsort((columns, rows, -counts))[:MOST_PAIRS]
    cells = np.stack([rows_M[rows], columns, counts], axis=1)[order]
    return tuple((label, other, count) for label, other, count in cells.tolist())
