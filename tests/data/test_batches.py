"""Batches are the same whatever the world size and wherever a run resumed, damaged images or not."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import digits_file
import numpy as np
import pytest
import torch
from reading import load

from firetree.data import Augmentation, Batch, Loader, Splits
from firetree.data.arrays import read_digits
from firetree.data.crops import RandomCrop
from firetree.data.images import Images
from firetree.errors import RunFailedError, UserError

BOTH = Augmentation(flip=True, crop_padding=2)


def test_the_digits_are_those_of_scikit_learn() -> None:
    theirs = digits_file.arrays()
    ours = read_digits().train
    assert np.array_equal(ours.labels, theirs["labels"])
    assert ours.array_NHWC is not None
    assert np.array_equal(np.rint(ours.array_NHWC[..., 0] * (16 / 255)), theirs["images"])


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load("digits", test_fraction=0.2)


def loader(splits: Splits, rank: int = 0, world_size: int = 1, **options: Any) -> Loader:
    usual = {"batch_size": 100, "seed": 3, "augmentation": Augmentation()}
    return Loader(splits, rank=rank, world_size=world_size, **{**usual, **options})


def equal(ours: Batch, theirs: Batch) -> bool:
    return (
        torch.equal(ours.x, theirs.x)
        and torch.equal(ours.y, theirs.y)
        and ours.global_count == theirs.global_count
    )


def joined(parts: tuple[Batch, ...]) -> Batch:
    assert len({part.global_count for part in parts}) == 1
    x, y = (torch.cat([getattr(part, name) for part in parts]) for name in ("x", "y"))
    return Batch(x, y, parts[0].global_count)


@pytest.mark.parametrize(
    ("channels_last", "strides"), [(True, (64, 1, 8, 1)), (False, (64, 64, 8, 1))]
)
def test_grey_images_say_in_which_order_they_are(
    digits: Splits, channels_last: bool, strides: tuple[int, ...]
) -> None:
    batch = next(loader(digits, channels_last=channels_last).training_batches(0))
    assert batch.x.stride() == strides


def test_a_batch_is_normalised_with_mean_and_deviation(digits: Splits) -> None:
    batch = next(loader(digits).test_batches())
    x_HWC = digits.test.read(5) / 255
    expected = (x_HWC - digits.mean) / digits.std
    assert (batch.x.dtype, batch.y.dtype) == (torch.float32, torch.int64)
    assert batch.x.is_contiguous()
    np.testing.assert_allclose(batch.x[5].permute(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize("world_size", [2, 3, 7])
@pytest.mark.parametrize("augmentation", [Augmentation(), BOTH])
def test_the_parts_of_all_ranks_are_the_batch_of_one_rank(
    digits: Splits, augmentation: Augmentation, world_size: int
) -> None:
    alone = loader(digits, augmentation=augmentation).training_batches(1)
    together = [
        loader(digits, rank, world_size, augmentation=augmentation).training_batches(1)
        for rank in range(world_size)
    ]
    for parts, whole in zip(zip(*together, strict=True), alone, strict=True):
        assert equal(joined(parts), whole)


def test_the_test_shares_of_all_ranks_are_the_test_set_in_order(digits: Splits) -> None:
    together = [loader(digits, rank, 3).test_batches() for rank in range(3)]
    labels = torch.cat([joined(parts).y for parts in zip(*together, strict=True)])
    assert np.array_equal(labels, digits.test.labels)


def test_an_epoch_trains_on_every_image_once_and_its_last_batch_may_be_smaller(
    digits: Splits,
) -> None:
    batches = list(loader(digits).training_batches(0))
    assert [batch.global_count for batch in batches] == [100] * 14 + [38]
    labels = torch.cat([batch.y for batch in batches])
    assert np.array_equal(np.sort(labels), np.sort(digits.train.labels))


@pytest.mark.parametrize("first_step", [1, 7, 14, 15])
def test_an_epoch_resumed_has_the_batches_that_were_left(digits: Splits, first_step: int) -> None:
    whole = list(loader(digits, augmentation=BOTH).training_batches(2))
    resumed = list(loader(digits, augmentation=BOTH).training_batches(2, first_step))
    assert len(resumed) == 15 - first_step
    assert all(map(equal, resumed, whole[first_step:]))


def test_a_rank_without_a_share_gets_an_empty_batch(digits: Splits) -> None:
    batch = next(loader(digits, rank=0, world_size=200).training_batches(0))
    assert (*batch.x.shape, len(batch.y), batch.global_count) == (0, 1, 8, 8, 0, 100)


def test_flipping_mirrors_some_images_and_leaves_the_others(digits: Splits) -> None:
    plain = next(loader(digits).training_batches(0)).x
    batch = next(loader(digits, augmentation=Augmentation(flip=True)).training_batches(0))
    mirrored = [torch.equal(x, y.flip(-1)) for x, y in zip(batch.x, plain, strict=True)]
    same = [torch.equal(x, y) for x, y in zip(batch.x, plain, strict=True)]
    assert all(m or s for m, s in zip(mirrored, same, strict=True))
    assert 30 < sum(mirrored) < 70


def test_a_shifted_image_is_the_same_one_with_black_coming_in(digits: Splits) -> None:
    augmentation = Augmentation(crop_padding=1)
    plain = next(loader(digits).training_batches(0)).x
    shifted = next(loader(digits, augmentation=augmentation).training_batches(0)).x
    black = -digits.mean[0] / digits.std[0]
    padded = torch.nn.functional.pad(plain, (1, 1, 1, 1), value=black)
    corners = list(itertools.product(range(3), range(3)))
    found = {
        corner
        for x, source in zip(shifted, padded, strict=True)
        for corner in corners
        if torch.allclose(x, source[:, corner[0] : corner[0] + 8, corner[1] : corner[1] + 8])
    }
    assert found == set(corners)


def test_augmentation_differs_between_epochs(digits: Splits) -> None:
    one = replace(digits, train=digits.test)
    ours, theirs = (
        torch.cat([b.x for b in loader(one, augmentation=BOTH).training_batches(epoch)])
        for epoch in (0, 1)
    )
    assert not torch.equal(ours.sum((1, 2, 3)).sort().values, theirs.sum((1, 2, 3)).sort().values)


def test_a_shift_by_the_whole_image_is_refused(digits: Splits) -> None:
    with pytest.raises(UserError, match=r"data.crop_padding = 8; expected less than .* 8 pixels"):
        loader(digits, augmentation=Augmentation(crop_padding=8))


@pytest.fixture
def with_damaged(
    write_parquet: Callable[..., Path], encode: Callable[..., bytes]
) -> Callable[[int], Splits]:
    """200 images to train on, the first few of them damaged, and 100 to test on."""

    def make(damaged: int) -> Splits:
        good = encode(kind="JPEG")
        write_parquet([good[:-60]] * damaged + [good] * (200 - damaged))
        path = write_parquet([good] * 100, "test-0000.parquet").parent
        return load("parquet", path)

    return make


def test_damaged_images_are_left_out_of_their_batch_and_still_counted(
    with_damaged: Callable[[int], Splits],
) -> None:
    ours = loader(with_damaged(3))
    batches = list(ours.training_batches(0))
    assert sum(len(batch.x) for batch in batches) == 197
    assert [len(batch.y) for batch in batches] == [len(batch.x) for batch in batches]
    assert sum(batch.global_count for batch in batches) == 200
    assert set(ours.damaged) == {f"image {index} of train-0000.parquet" for index in range(3)}
    assert all("truncated" in reason for reason in ours.damaged.values())


def test_ranks_agree_with_one_rank_on_batches_with_damaged_images(
    with_damaged: Callable[[int], Splits],
) -> None:
    splits = with_damaged(3)
    together = [loader(splits, rank, 4, augmentation=BOTH).training_batches(0) for rank in range(4)]
    alone = loader(splits, augmentation=BOTH).training_batches(0)
    for parts, whole in zip(zip(*together, strict=True), alone, strict=True):
        assert equal(joined(parts), whole)


def test_a_damaged_image_counts_once_however_often_it_is_met(
    with_damaged: Callable[[int], Splits],
) -> None:
    ours = loader(with_damaged(3))
    for epoch in range(3):
        list(ours.training_batches(epoch))
    assert len(ours.damaged) == 3


def test_damaged_images_of_other_ranks_count_too(with_damaged: Callable[[int], Splits]) -> None:
    ours = loader(with_damaged(2))
    list(ours.training_batches(0))
    ours.note_damaged({"image 7 of train-0000.parquet": "truncated"})
    with pytest.raises(RunFailedError, match="4 of 300 images"):
        ours.note_damaged({"image 8 of train-0000.parquet": "truncated"})


def test_more_than_one_percent_damaged_ends_the_run(with_damaged: Callable[[int], Splits]) -> None:
    with pytest.raises(
        RunFailedError,
        match=r"4 of 300 images .*more than 1 % \(image \d of train-.*truncated.*; repair or",
    ):
        list(loader(with_damaged(4)).training_batches(0))


@dataclass(frozen=True)
class Watched(Images):
    """Images that tell when a batch of them is read."""

    told: Callable[[], object]

    def read_batch(
        self, indices_B: np.ndarray, cuts_B: Sequence[RandomCrop] | None = None
    ) -> tuple[np.ndarray, dict[int, str]]:
        self.told()
        return super().read_batch(indices_B, cuts_B)


def watched(splits: Splits, told: Callable[[], object]) -> Splits:
    return replace(splits, train=Watched(**vars(splits.train), told=told))


def test_an_error_while_preparing_reaches_who_asks_for_the_batch(digits: Splits) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(RunFailedError, match="rank 0 cannot read a batch: ZeroDivisionError"):
        next(loader(watched(digits, fail)).training_batches(0))


def test_the_next_batch_is_prepared_while_the_present_one_is_used(digits: Splits) -> None:
    read = threading.Semaphore(0)
    batches = loader(watched(digits, read.release)).training_batches(0)
    next(batches)
    assert read.acquire(timeout=5), "the first batch"
    assert read.acquire(timeout=5), "the second, which nobody has asked for"


@pytest.mark.parametrize("threads", [1, 3])
def test_only_a_few_batches_are_prepared_ahead(digits: Splits, threads: int) -> None:
    begun: list[None] = []
    ours = loader(watched(digits, lambda: begun.append(None)), batch_size=10, threads=threads)
    batches = ours.batches(0)
    for taken in range(1, 10):
        next(batches)
        time.sleep(0.02)
        assert len(begun) <= taken + threads + 2
    batches.close()


def test_batches_left_early_leave_no_thread_behind(digits: Splits) -> None:
    before = threading.active_count()
    batches = loader(digits).training_batches(0)
    next(batches)
    assert threading.active_count() == before + 1
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_epoch_of_60000_small_images_is_prepared_in_under_2_seconds(
    shared: Callable[[str], Path],
) -> None:
    splits = load("npz", shared("fashion.npz"))
    ours = loader(splits, batch_size=128, augmentation=BOTH)
    started = time.process_time()
    assert sum(len(batch.y) for batch in ours.training_batches(0)) == 60_000
    assert time.process_time() - started < 2


def test_an_error_of_a_reader_names_the_rank_and_the_image(digits: Splits) -> None:
    class Failing(Images):
        def read(self, index: int, cut: RandomCrop | None = None) -> Any:
            if index == 5:
                raise IndexError("out of bounds")
            return super().read(index, cut)

        def read_batch(self, indices_B: Any, cuts_B: Sequence[RandomCrop] | None = None) -> Any:
            return np.stack([self.read(index) for index in indices_B.tolist()]), {}

    train = Failing(**vars(digits.train))
    batches = loader(replace(digits, train=train), batch_size=len(train)).training_batches(0)
    with pytest.raises(RunFailedError) as failure:
        next(batches)
    name = digits.train.name(5)
    assert str(failure.value).startswith(f"rank 0 cannot read {name}: IndexError: out of bounds;")
