"""Training and test images of one size, with checked labels and what a model must know of them.

Readers say what is stored. This module checks labels, holds out a test set where there is none, and
measures mean and deviation. It chooses the size and channels that the user did not give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firetree.data.account import Account, but, checksum, remarks_on_labels
from firetree.data.damaged import DamagedImageError
from firetree.data.images import Dataset, Images, Stored, fit_images
from firetree.data.leaks import remarks_on_leaks
from firetree.data.order import Indices, hold_out
from firetree.errors import UserError

_SIZE_SAMPLE = 100
_STATISTICS_SAMPLE = 1000
_GREY_STEP = 1 / 255


@dataclass(frozen=True, slots=True)
class Splits:
    """What to train on and what to test on.

    Every image is `size` pixels high and wide and has `channels` channels. `mean` and `std` are each
    channel's over a sample of the training images, with 0 black and 1 white. A label is an index into
    `classes`. `account` says what was read.
    """

    train: Images
    test: Images
    classes: tuple[str, ...]
    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    account: Account


def make_splits(
    dataset: Dataset,
    *,
    classes: int | None,
    size: int | None,
    channels: int | None,
    test_fraction: float,
    seed: int,
) -> Splits:
    """Check a data set and make it ready; the arguments are those of `firetree.data.load`.

    Raises:
        UserError: no images, labels out of range, different sizes, or no readable image.
    """
    if not len(dataset.train.labels):
        raise UserError(f"the data hold no images to train on{but(dataset.passed_over)}")
    class_names, train_labels = _classes(dataset, classes)
    size = size or _own_size(dataset.train)
    array = dataset.train.array_NHWC
    channels = channels or (3 if array is None else int(array.shape[3]))
    train = fit_images(dataset.train, train_labels, size, channels)
    if dataset.test is not None:
        expected = f"0 to {len(class_names) - 1}, the classes of the training images"
        test_labels = _checked_labels(dataset.test, len(class_names), expected)
        test = fit_images(dataset.test, test_labels, size, channels)
    elif len(train) > 1:
        train_rows, test_rows = hold_out(train.labels, test_fraction, seed)
        train, test = train.subset(train_rows), train.subset(test_rows)
    else:
        raise UserError("1 image and no test set; expected at least 2 to hold one out")
    mean, std = _statistics(train, channels)
    account = _account(dataset, train, test, class_names)
    return Splits(train, test, class_names, size, channels, mean, std, account)


def _account(dataset: Dataset, train: Images, test: Images, classes: tuple[str, ...]) -> Account:
    stored = [dataset.train, *([dataset.test] if dataset.test else [])]
    sums = [str(part.checksum).encode() for part in stored]
    labels = [part.labels.astype("<i8").tobytes() for part in (train, test)]
    counts_K = np.bincount(train.labels, minlength=len(classes))
    return Account(
        samples="images",
        train=len(train),
        test=len(test),
        test_from=dataset.test_from,
        classes=len(classes),
        files=dataset.files,
        passed_over={reason: count for reason, count in dataset.passed_over.items() if count},
        per_class=dict(zip(classes, counts_K.tolist(), strict=True)),
        remarks=(
            *dataset.remarks,
            *remarks_on_labels(train.labels, test.labels, classes, "images"),
            *remarks_on_leaks(train, test),
        ),
        checksum=checksum([*sums, *labels]),
    )


def _classes(dataset: Dataset, classes: int | None) -> tuple[tuple[str, ...], Indices]:
    """The names of all classes, and the checked training labels."""
    if classes is None and dataset.classes:
        classes = len(dataset.classes)
    if classes is None:
        count = len(dataset.train.labels)
        expected = f"0 to {count - 1}, as there are {count} images; else give data.classes"
        labels = _checked_labels(dataset.train, count, expected)
        classes = int(labels.max()) + 1
    else:
        expected = f"0 to {classes - 1}, as there are {classes} classes"
        labels = _checked_labels(dataset.train, classes, expected)
    named = dataset.classes[:classes]
    numbers = map(str, range(len(named), classes))
    return (*named, *(f"class {n}" if n in named else n for n in numbers)), labels


def _checked_labels(stored: Stored, limit: int, expected: str) -> Indices:
    labels = stored.labels
    if not len(labels):
        raise UserError("the data hold no images; expected at least one to train and one to test")
    wrong = np.zeros(1, np.int64)
    if np.issubdtype(labels.dtype, np.integer):
        wrong = np.flatnonzero((labels < 0) | (labels >= limit))
    elif np.issubdtype(labels.dtype, np.floating):
        wrong = np.flatnonzero(~np.isfinite(labels) | (labels != np.rint(labels)))
    if len(wrong):
        index = int(wrong[0])
        raise UserError(
            f"label {labels[index]} ({labels.dtype}) of image {index} ({stored.name(index)}); "
            f"expected an integer from {expected}"
        )
    return labels.astype(np.int64)


def _own_size(stored: Stored) -> int:
    """The size that the first readable images share, in pixels."""
    array = stored.array_NHWC
    if array is not None and array.shape[1] == array.shape[2]:
        return int(array.shape[1])
    sizes: dict[str, tuple[int, int]] = {}
    for index in range(len(stored.labels)):
        try:
            sizes[stored.name(index)] = stored.image(index, None).size
        except DamagedImageError as error:
            reason = str(error)
        if len(sizes) == _SIZE_SAMPLE:
            break
    if not sizes:
        raise _nothing_readable(stored.name(0), reason)
    first, (size, _) = next(iter(sizes.items()))
    for name, (width, height) in sizes.items():
        if (width, height) != (size, size):
            other = "" if name == first else f" and {first} {size}x{size}"
            raise UserError(
                f"{name} is {width}x{height} pixels{other}; expected squares of one size; "
                "give data.size"
            )
    return size


def _statistics(train: Images, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over evenly spaced training images."""
    count = 0
    totals_C, squares_C = np.zeros(channels), np.zeros(channels)
    sample = np.linspace(0, len(train) - 1, min(len(train), _STATISTICS_SAMPLE)).astype(np.int64)
    for index in sample.tolist():
        try:
            x_HWC = train.read(index) / 255
        except DamagedImageError as error:
            reason = str(error)
            continue
        count += 1
        totals_C += x_HWC.mean((0, 1))
        squares_C += np.square(x_HWC).mean((0, 1))
    if not count:
        raise _nothing_readable(train.name(0), reason)
    mean_C = totals_C / count
    std_C = np.sqrt(np.maximum(squares_C / count - np.square(mean_C), 0))
    # Batches are divided by it, and a channel may have one value everywhere.
    return tuple(mean_C.tolist()), tuple(np.maximum(std_C, _GREY_STEP).tolist())


def _nothing_readable(name: str, reason: str) -> UserError:
    return UserError(
        f"none of the images can be decoded ({name}: {reason}); expected JPEG, PNG or the like"
    )
