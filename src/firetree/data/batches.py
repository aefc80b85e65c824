"""From splits to the batches of one rank, the next ones prepared while the present one is trained.

Which images a step has depends on seed and epoch only, and all ranks' batches together are the
batch that one rank alone would have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count

import numpy as np
import torch
from torch import Tensor

from firetree.data.augmentation import Augmentation, Draws, changed, draw
from firetree.data.damaged import DamagedImageError
from firetree.data.images import U8, Images
from firetree.data.order import Indices, batch_indices, epoch_order, epoch_steps, share
from firetree.data.splits import Splits
from firetree.errors import RunFailedError, UserError

NO_ANSWER = -100
"""The target where no answer is asked for, as torch.nn.functional.cross_entropy has it."""

_ACCEPTED_DAMAGE_PERCENT = 1

_WAITING = 2
"""Batches that lie ready beside those that threads are at work on."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's part of a step.

    Images are x_BCHW float32 with mean 0 and deviation 1, and y_B int64; in memory the channels of a
    pixel lie side by side (torch.channels_last) if the loader says so. Sequences are x_BT or x_B2T, and
    y_B or y_BT, int64. Games are x_BG and their rewards y_B.

    `global_count` is the number of samples, or of answers, of the step over all ranks. Damaged images
    count too. A sum of losses divided by it gives one rank's part of the mean.
    """

    x: Tensor
    y: Tensor
    global_count: int

    @property
    def count(self) -> int:
        """Samples of this part, or answers that its sequences ask for."""
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


class Loader:
    """One rank's batches, and `damaged`: why an image is left out of them, by its name.

    Each batch is prepared by one of `threads`, a few ahead; how many makes no difference to them.
    """

    def __init__(
        self,
        splits: Splits,
        *,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
        augmentation: Augmentation,
        threads: int = 1,
        channels_last: bool = True,
    ):
        if augmentation.crop_padding >= splits.size:
            raise UserError(
                f"data.crop_padding = {augmentation.crop_padding}; expected less than the "
                f"images' {splits.size} pixels"
            )
        self.damaged: dict[str, str] = {}
        self._splits = splits
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._augmentation = augmentation
        self._threads = threads
        self._channels_last = channels_last
        # x / 255 less the mean, by the deviation, as one multiplication and one addition.
        mean_C, std_C = np.array(splits.mean, np.float32), np.array(splits.std, np.float32)
        self._scale_WC = np.tile(1 / (255 * std_C), splits.size)
        self._shift_WC = np.tile(-mean_C / std_C, splits.size)

    @property
    def damaged_count(self) -> int:
        """Distinct damaged images known so far."""
        return len(self.damaged)

    def batches(self, step: int) -> Generator[Batch]:
        """This rank's share of every training batch from `step` on, epoch after epoch without end.

        Raises:
            RunFailedError: more than 1 % of all images are damaged.
        """
        epoch, first = divmod(step, epoch_steps(len(self._splits.train), self._batch_size))
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
        test = self._splits.test
        return self._ahead(self._steps(test, np.arange(len(test)), 0, None))

    def note_damaged(self, damaged: dict[str, str]) -> None:
        """Add damaged images, met here or by another rank: the reason for each by name.

        Raises:
            RunFailedError: more than 1 % of all images are damaged.
        """
        self.damaged.update(damaged)
        total = len(self._splits.train) + len(self._splits.test)
        if 100 * self.damaged_count > _ACCEPTED_DAMAGE_PERCENT * total:
            name, reason = next(iter(self.damaged.items()))
            raise RunFailedError(
                f"{self.damaged_count} of {total} images cannot be decoded, which is more than "
                f"{_ACCEPTED_DAMAGE_PERCENT} % ({name}: {reason}); repair or remove them"
            )

    def _training(self, epoch: int, first_step: int) -> Iterator[Callable[[], Prepared]]:
        train = self._splits.train
        order_N = epoch_order(len(train), self._seed, epoch)
        draws = draw(self._augmentation, len(train), self._seed, epoch)
        yield from self._steps(train, order_N, first_step, draws)

    def _steps(
        self, images: Images, order_N: Indices, first_step: int, draws: Draws | None
    ) -> Iterator[Callable[[], Prepared]]:
        """What has to be done for each step from `first_step` on."""
        for step in range(first_step, epoch_steps(len(order_N), self._batch_size)):
            yield partial(self._prepare, images, order_N, step, draws)

    def _ahead(self, steps: Iterator[Callable[[], Prepared]]) -> Generator[Batch]:
        pool = ThreadPoolExecutor(self._threads, "firetree-data")
        begun: deque[Future[Prepared]] = deque()
        try:
            for step in steps:
                begun.append(pool.submit(step))
                if len(begun) == self._threads + _WAITING:
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
        indices = batch_indices(order_N, self._batch_size, step)
        mine = share(indices, self._rank, self._world_size)
        cuts_B = draws.cuts(mine) if draws is not None else None
        try:
            x_BHWC, damaged = images.read_batch(mine, cuts_B)
        except Exception as error:
            raise self._unread(images, mine, error) from error
        kept_B = np.delete(mine, list(damaged))
        if draws is not None:
            x_BHWC = changed(x_BHWC, kept_B, draws)
        y_B = torch.from_numpy(images.labels[kept_B])
        reasons = {images.name(int(mine[k])): why for k, why in damaged.items()}
        return Batch(self._normalised(x_BHWC), y_B, len(indices)), reasons

    def _unread(self, images: Images, mine: Indices, error: Exception) -> RunFailedError:
        """What is said where an error is no damage of an image: this rank, and which one it was."""
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
            f"rank {self._rank} cannot read {name}: {type(error).__name__}: {error}; has the data "
            "changed since the run began?"
        )

    def _normalised(self, x_BHWC: U8) -> Tensor:
        normal_BHWC = x_BHWC.astype(np.float32)
        # By whole rows, as numpy is slow where the innermost axis has three numbers.
        rows = normal_BHWC.reshape(*x_BHWC.shape[:2], len(self._scale_WC))
        rows *= self._scale_WC
        rows += self._shift_WC
        x_BCHW = torch.from_numpy(normal_BHWC).permute(0, 3, 1, 2)
        if self._channels_last:
            return x_BCHW
        # Not `contiguous`, to which grey images are in either order, while convolutions see one.
        return x_BCHW.clone(memory_format=torch.contiguous_format)
