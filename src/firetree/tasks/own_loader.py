"""The batches of one rank from data sets of the user's own.

A map-style dataset is read in our order, by seed and epoch; an iterable one in its own. What a sample draws at
random depends on seed, epoch and sample alone, so that any number of ranks, and a resumed run, see the same.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate

from firetree.data.damaged import check_damage
from firetree.data.order import RandomStream, batch_indices, epoch_order, epoch_steps
from firetree.data.shares import Shares, begun_anew, share
from firetree.errors import RunFailedError, UserError
from firetree.models.inputs import Inputs, batch_of, mapped, rows_of
from firetree.own_code import one_line
from firetree.seeding import Luck, seed_all, seeds

TARGETS = ("y", "label", "labels", "target", "targets")
"""Keys by which a sample that is a mapping has what the network is to give."""

_HOPELESS = 100
"""Samples that cannot be read before the first one that can."""

_TEST = -1
"""The epoch by which test samples draw at random."""


@dataclass(frozen=True, slots=True)
class OwnSplits:
    """What to train on and to test on: torch datasets, map-style or iterable, that tell their lengths."""

    name: str
    train: Any
    test: Any
    readers: int = 0
    """Processes that read map-style samples ahead; 0 to read them in this one."""


@dataclass(frozen=True, slots=True)
class OwnBatch:
    """One rank's part of a step, samples along the first axis of every tensor.

    A rank without a share has other samples, which count 0: its network still takes part in the step.
    """

    x: Inputs
    y: Any
    count: int
    global_count: int

    def to(self, device: torch.device) -> OwnBatch:
        """The same on a device."""
        x, y = (mapped(lambda it: it.to(device), values) for values in (self.x, self.y))
        return replace(self, x=x, y=y)

    def parts(self, number: int) -> list[OwnBatch]:
        """The batch cut into at most so many parts of nearly equal size, none of them empty."""
        if not self.count:
            return [self]
        edges = [self.count * k // number for k in range(number + 1)]
        return [self._part(slice(*it)) for it in pairwise(edges) if it[0] < it[1]]

    def _part(self, rows: slice) -> OwnBatch:
        count = rows.stop - rows.start
        return OwnBatch(rows_of(self.x, rows), rows_of(self.y, rows), count, self.global_count)


@dataclass(frozen=True, slots=True)
class _Damaged:
    index: int
    reason: str


@dataclass(kw_only=True)
class OwnLoader:
    """One rank's batches."""

    splits: OwnSplits = field(kw_only=False)
    batch_size: int
    seed: int
    rank: int
    world_size: int
    damaged: dict[str, str] = field(default_factory=dict, init=False)
    shares: Shares = field(init=False)
    """How ranks share a batch; it may change between two steps, on all ranks alike."""

    def __post_init__(self) -> None:
        self.shares = (1,) * self.world_size

    def batches(self, step: int) -> Generator[OwnBatch]:
        """The training batches from `step` on, epoch after epoch without end.

        Raises:
            UserError: samples that make no batch.
            RunFailedError: more than 1 % of all samples cannot be read.
        """
        epoch, first = divmod(step, epoch_steps(len(self.splits.train), self.batch_size))
        for number in count(epoch):
            yield from self._steps(self.splits.train, number, first)
            first = 0

    def test_batches(self) -> Iterator[OwnBatch]:
        """The test samples in order, each step shared among the ranks (errors as above)."""
        return self._steps(self.splits.test, _TEST, 0)

    def note_damaged(self, damaged: dict[str, str]) -> None:
        """Add samples that this or another rank could not read (RunFailedError as above)."""
        self.damaged.update(damaged)
        total = len(self.splits.train) + len(self.splits.test)
        check_damage(self.damaged, total, "samples")

    def _steps(self, dataset: Any, epoch: int, first: int) -> Iterator[OwnBatch]:
        which = "test" if epoch == _TEST else "training"
        if is_iterable(dataset):
            samples = _in_its_order(self, dataset, epoch, first)
        else:
            in_our_order = partial(_in_our_order, self, dataset, epoch)
            samples = begun_anew(lambda: self.shares, in_our_order, first)
        for step, (batch, broken) in enumerate(samples, first):
            self.note_damaged(
                {f"{it.index} of {self.splits.name} ({which})": it.reason for it in broken}
            )
            together = min(self.batch_size, len(dataset) - step * self.batch_size)
            if batch is None:
                batch = example(dataset, self.splits.name, 2)
                yield OwnBatch(*batch, 0, together)
            else:
                x, y = parted(batch, self.splits.name)
                yield OwnBatch(x, y, batch_of(x), together)


_Read = tuple[Any, Sequence[_Damaged]]
"""A rank's samples of a step as one batch, None where there are none; and those that cannot be read."""


def _in_our_order(loader: OwnLoader, dataset: Any, epoch: int, first: int) -> Generator[_Read]:
    """Samples are read between steps, which draw from seeds of their own."""
    size = len(dataset)
    order_N = np.arange(size) if epoch == _TEST else epoch_order(size, loader.seed, epoch)
    seed_N, shares = _seeds(loader.seed, epoch, size), loader.shares

    def keys() -> Iterator[list[tuple[int, int]]]:
        for step in range(first, epoch_steps(size, loader.batch_size)):
            whole_B = batch_indices(order_N, loader.batch_size, step)
            mine_B = share(whole_B, loader.rank, shares)
            yield [*zip(mine_B.tolist(), seed_N[mine_B].tolist(), strict=True)]

    yield from DataLoader(
        _Samples(dataset),
        batch_sampler=keys(),
        num_workers=loader.splits.readers,
        collate_fn=partial(_collated, _collate(dataset), loader.splits.name),
        generator=torch.Generator(),
    )


def _in_its_order(loader: OwnLoader, dataset: Any, epoch: int, first: int) -> Generator[_Read]:
    """Every rank reads all samples, and keeps its own."""
    size, luck, name = len(dataset), Luck(), loader.splits.name
    collate = _collate(dataset)
    with luck.in_use():
        seed_all(*_seeds(loader.seed, epoch, 1).tolist())
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(epoch)
        samples = iter(dataset)
    for step in range(epoch_steps(size, loader.batch_size)):
        expected = min(loader.batch_size, size - step * loader.batch_size)
        with luck.in_use():
            found = list(islice(samples, expected))
        if len(found) < expected:
            raise RunFailedError(
                f"{name} tells {size} samples and ended after {step * loader.batch_size + len(found)}; "
                "expected as many as its __len__ tells"
            )
        if step >= first:
            mine = share(np.arange(expected), loader.rank, loader.shares).tolist()
            yield _collated(collate, name, [found[k] for k in mine])


@dataclass(frozen=True, slots=True)
class _Samples(Dataset[Any]):
    """Samples by index, each with random numbers from a seed of its own."""

    dataset: Any

    def __getitem__(self, key: tuple[int, int]) -> Any:
        index, seed = key
        seed_all(seed)
        try:
            return self.dataset[index]
        except Exception as error:  # a user's code raises anything
            row = self.dataset.indices[index] if isinstance(self.dataset, Subset) else index
            return _Damaged(row, one_line(error))


def _collate(dataset: Any) -> Callable[[list[Any]], Any]:
    """The dataset's own `collate_fn`, or torch's."""
    whole = dataset.dataset if isinstance(dataset, Subset) else dataset
    return getattr(whole, "collate_fn", default_collate)


def _collated(collate: Callable[[list[Any]], Any], name: str, samples: Sequence[Any]) -> _Read:
    whole = [it for it in samples if not isinstance(it, _Damaged)]
    broken = [it for it in samples if isinstance(it, _Damaged)]
    try:
        return (collate(whole) if whole else None), broken
    except Exception as error:
        raise UserError(
            f"samples of {name} make no batch: {one_line(error)}; expected samples of one shape, or a "
            "collate_fn of the dataset"
        ) from error


def is_iterable(dataset: Any) -> bool:
    """Whether samples come in the dataset's own order only."""
    return isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")


def example(dataset: Any, name: str, number: int) -> tuple[Inputs, Any]:
    """Inputs and targets of so many samples, the first that can be read, again and again.

    Raises:
        UserError: none can be read, or they make no batch.
    """
    with seeded(0):
        samples = iter(dataset) if is_iterable(dataset) else _readable(dataset, name)
        found = list(islice(samples, number))
    if not found:
        raise UserError(f"{name} gives no sample; expected at least one")
    batch, _ = _collated(_collate(dataset), name, [found[k % len(found)] for k in range(number)])
    return parted(batch, name)


def _readable(dataset: Any, name: str) -> Iterator[Any]:
    """The samples that can be read (UserError where none of the first hundred can)."""
    reading, broken = _Samples(dataset), list[_Damaged]()
    for index in range(len(dataset)):
        sample = reading[index, index]
        if not isinstance(sample, _Damaged):
            yield sample
            continue
        broken.append(sample)
        if len(broken) == min(_HOPELESS, len(dataset)):
            raise UserError(
                f"the first {len(broken)} samples of {name} cannot be read: {sample.reason}"
            )


def parted(batch: Any, name: str) -> tuple[Inputs, Any]:
    """What the network takes of a batch, and what it is to give.

    Raises:
        UserError: the samples are neither tuples that end with a target nor mappings that have one.
    """
    if isinstance(batch, Mapping):
        target = next((key for key in TARGETS if key in batch), None)
        if target is not None and len(batch) > 1:
            return {key: it for key, it in batch.items() if key != target}, batch[target]
    elif isinstance(batch, tuple | list) and len(batch) > 1:
        *inputs, y = batch
        x = inputs[0] if len(inputs) == 1 else inputs
        return tuple(x) if isinstance(x, list) else x, y
    raise UserError(
        f"a sample of {name} is a value of type {type(batch).__name__}; expected (inputs, target), or a "
        f"mapping with inputs by name and one of {', '.join(TARGETS)}"
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within, all global random numbers follow from this seed; afterwards they go on as before."""
    with Luck().in_use():
        seed_all(*_seeds(seed, 0, 1).tolist())
        yield


def _seeds(seed: int, epoch: int, count: int) -> npt.NDArray[np.uint32]:
    """seed_N: what the samples of an epoch draw from."""
    return seeds((RandomStream.OWN, seed, epoch + 1), count)
