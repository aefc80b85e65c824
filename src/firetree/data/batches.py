"""From splits to the batches of one rank; the next ones are prepared while a step is trained.

Which images a step has depends on seed and epoch only. All ranks' batches together are the batch that
one rank alone would have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from firetree.data.augmentation import Augmentation, Draws, changed, draw, erase
from firetree.data.damaged import DamagedImageError, check_damage
from firetree.data.images import U8, Images
from firetree.data.mixing import F32, mix
from firetree.data.order import Indices, batch_indices, epoch_order, epoch_steps
from firetree.data.shares import Shares, begun_anew, share
from firetree.data.splits import Splits
from firetree.errors import RunFailedError, UserError

NO_ANSWER = -100
"""The target where no answer is asked for, as torch.nn.functional.cross_entropy has it."""

_WAITING = 2
"""Batches that are kept ready, beyond those that threads are working on."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's part of a step.

    Images are x_BCHW float32 with mean 0 and deviation 1; in memory the channels of a pixel lie side by
    side (torch.channels_last) if the loader says so. Their classes are y_B int64, or where images are
    mixed y_BK float32, each class's share. Sequences are x_BT or x_B2T, and y_B or y_BT, int64. Games are
    x_BG and their rewards y_B.

    `global_count` is the number of samples, or of answers, of the step over all ranks. Damaged images
    count too. A sum of losses divided by it gives one rank's part of the mean.
    `places` are the images' indices in their split.
    """

    x: Tensor
    y: Tensor
    global_count: int
    places: Indices | None = None

    @property
    def count(self) -> int:
        """Samples of this part, or answers that its sequences ask for."""
        if self.y.is_floating_point():
            return len(self.y)
        return int((self.y != NO_ANSWER).sum())

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return replace(self, x=self.x.to(device), y=self.y.to(device))

    def parts(self, number: int) -> list[Batch]:
        """The batch cut into so many parts of nearly equal size, some perhaps empty."""
        pieces = self.x.tensor_split(number), self.y.tensor_split(number)
        return [Batch(x, y, self.global_count) for x, y in zip(*pieces, strict=True)]


Prepared = tuple[Batch, dict[str, str]]
"""A step's batch, and the reason for each image missing in it by name."""


@dataclass(kw_only=True)
class Loader:
    """One rank's batches of images, prepared a few ahead by threads.

    The number of threads makes no difference to the batches.
    """

    splits: Splits = field(kw_only=False)
    batch_size: int
    seed: int
    rank: int
    world_size: int
    augmentation: Augmentation
    threads: int = 1
    channels_last: bool = True
    damaged: dict[str, str] = field(default_factory=dict, init=False)
    """Why an image is left out, by its name."""
    shares: Shares = field(init=False)
    """How ranks share a batch; it may change between two steps, on all ranks alike."""

    def __post_init__(self) -> None:
        self.shares = (1,) * self.world_size
        if self.augmentation.crop_padding >= self.splits.size:
            raise UserError(
                f"data.crop_padding = {self.augmentation.crop_padding}; expected less than the "
                f"images' {self.splits.size} pixels"
            )
        # (x / 255 - mean) / std, as one multiplication and one addition.
        mean_C, std_C = (np.array(it, np.float32) for it in (self.splits.mean, self.splits.std))
        self._scale_C, self._shift_C = 1 / (255 * std_C), -mean_C / std_C

    def batches(self, step: int) -> Generator[Batch]:
        """This rank's share of every training batch from `step` on, epoch after epoch without end.

        Raises:
            RunFailedError: more than 1 % of all images are damaged.
        """
        return begun_anew(lambda: self.shares, self._from, step)

    def _from(self, step: int) -> Generator[Batch]:
        epoch, first = divmod(step, epoch_steps(len(self.splits.train), self.batch_size))
        later = (self._training(number, 0) for number in count(epoch + 1))
        return self._ahead(chain(self._training(epoch, first), chain.from_iterable(later)))

    def training_batches(self, epoch: int, first_step: int = 0) -> Generator[Batch]:
        """One epoch's steps from `first_step` on, shuffled and augmented (RunFailedError as above)."""
        return self._ahead(self._training(epoch, first_step))

    def test_batches(self) -> Iterator[Batch]:
        """The test images in order and unchanged, each step shared among the ranks.

        Raises:
            RunFailedError: more than 1 % of all images are damaged.
        """
        test = self.splits.test
        return self._ahead(self._steps(test, np.arange(len(test)), 0, None))

    def note_damaged(self, damaged: dict[str, str]) -> None:
        """Add damaged images that this or another rank met: the reason for each by its name.

        Raises:
            RunFailedError: more than 1 % of all images are damaged.
        """
        self.damaged.update(damaged)
        total = len(self.splits.train) + len(self.splits.test)
        check_damage(self.damaged, total, "images")

    def _training(self, epoch: int, first_step: int) -> Iterator[Callable[[], Prepared]]:
        train = self.splits.train
        order_N = epoch_order(len(train), self.seed, epoch)
        draws = draw(self.augmentation, len(train), self.seed, epoch)
        yield from self._steps(train, order_N, first_step, draws)

    def _steps(
        self, images: Images, order_N: Indices, first_step: int, draws: Draws | None
    ) -> Iterator[Callable[[], Prepared]]:
        """A call for each step from `first_step` on that prepares its batch."""
        for step in range(first_step, epoch_steps(len(order_N), self.batch_size)):
            yield partial(self._prepare, images, order_N, step, draws)

    def _ahead(self, steps: Iterator[Callable[[], Prepared]]) -> Generator[Batch]:
        pool = ThreadPoolExecutor(self.threads, "firetree-data")
        begun: deque[Future[Prepared]] = deque()
        try:
            for step in steps:
                begun.append(pool.submit(step))
                if len(begun) == self.threads + _WAITING:
                    yield self._finished(begun.popleft())
            while begun:
                yield self._finished(begun.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _finished(self, prepared: Future[Prepared]) -> Batch:
        batch, damaged = prepared.result()
        self.note_damaged(damaged)
        return batch

    def _prepare(
        self, images: Images, order_N: Indices, step: int, draws: Draws | None
    ) -> Prepared:
        indices = batch_indices(order_N, self.batch_size, step)
        places = share(np.arange(len(indices)), self.rank, self.shares)
        own, mixtures = len(places), draws.mixtures if draws is not None else None
        if own and mixtures is not None:
            places = np.append(places, (places[-1] + 1) % len(indices))
        x_BHWC, row_B, reasons = self._read(images, indices[places], draws)
        index_B = indices[places[row_B]]
        y: npt.NDArray[Any] = images.labels[index_B]
        if mixtures is not None:
            own = int((row_B < own).sum())
            is_next_B = np.diff(row_B, append=-1)[:own] == 1
            y = mix(x_BHWC, y, index_B[:own], is_next_B, mixtures, len(self.splits.classes))
        x_BCHW, y_B = self._laid_out(x_BHWC[:own]), torch.from_numpy(y)
        return Batch(x_BCHW, y_B, len(indices), index_B[:own]), reasons

    def _read(
        self, images: Images, indices_R: Indices, draws: Draws | None
    ) -> tuple[F32, Indices, dict[str, str]]:
        """x_BHWC of those images that are not damaged, their places in R, and why others are, by name."""
        try:
            x_BHWC, damaged = images.read_batch(
                indices_R, None if draws is None else draws.cuts(indices_R)
            )
        except Exception as error:
            raise self._unread(images, indices_R, error) from error
        reasons = {images.name(int(indices_R[k])): why for k, why in damaged.items()}
        row_B = np.delete(np.arange(len(indices_R)), list(damaged))
        if draws is None:
            return self._normalised(x_BHWC), row_B, reasons
        normal_BHWC = self._normalised(changed(x_BHWC, indices_R[row_B], draws))
        erase(normal_BHWC, indices_R[row_B], draws)
        return normal_BHWC, row_B, reasons

    def _unread(self, images: Images, mine: Indices, error: Exception) -> RunFailedError:
        """The error for a failure that is not a damaged image: it names the rank and the image."""
        name = "a batch"
        for index in mine.tolist():
            try:
                images.read(index)
            except DamagedImageError:
                continue
            except Exception as cause:
                name, error = images.name(index), cause
                break
        return RunFailedError(
            f"rank {self.rank} cannot read {name}: {type(error).__name__}: {error}; has the data "
            "changed since the run began?"
        )

    def _normalised(self, x_BHWC: U8) -> F32:
        normal_BHWC = x_BHWC.astype(np.float32)
        # By whole rows: numpy is slow where the innermost axis has only three numbers.
        height, width = x_BHWC.shape[1:3]
        rows = normal_BHWC.reshape(len(x_BHWC), height, width * len(self._scale_C))
        rows *= np.tile(self._scale_C, width)
        rows += np.tile(self._shift_C, width)
        return normal_BHWC

    def _laid_out(self, x_BHWC: F32) -> Tensor:
        x_BCHW = torch.from_numpy(x_BHWC).permute(0, 3, 1, 2)
        if self.channels_last:
            return x_BCHW
        # `contiguous` would leave grey images alone: to it they are in either order.
        return x_BCHW.clone(memory_format=torch.contiguous_format)
