"""Find the images to predict for: files, folders of them, tars and parquets, and tables with labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from firetree.data import trees
from firetree.data.account import but, counts_as_text
from firetree.data.by_path import table_at
from firetree.data.damaged import DamagedImageError
from firetree.data.decoding import SUFFIXES, decode
from firetree.data.folders import list_folder
from firetree.data.images import Dataset, Stored
from firetree.data.labels import with_numbers
from firetree.data.listing import Listing, StoredFile
from firetree.data.split_names import split_of
from firetree.data.tars import TARS, list_tar
from firetree.errors import UserError
from firetree.output import printable
from firetree.progress import Progress, log


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An image, decoded when needed; `label` is the index of its class in the model."""

    name: str
    read: Callable[[], Image.Image]
    """Raises DamagedImageError."""
    label: int | None = None


def find_images(
    paths: Sequence[str | Path], class_names: Sequence[str] | None = None, progress: Progress = log
) -> list[ImageInput]:
    """All images of files, folders and what lies below them, tars and parquets, in order.

    Labels of a parquet's images, or of a table's (`table_at`), are matched with the model's classes by name,
    or else by number. A table is read only where labels are needed.

    Args:
        class_names: the model's; given where images in class folders need labels too. Of data with several
            splits only the test split is taken, since a score on training images says little. Classes
            are matched by their folders' names. Where the model has none of these names, its classes are
            the folders in the order of their names.
        progress: is told what was passed over, and which split is scored.

    Raises:
        UserError: no such path, one without images, none at all, or data of other classes.
    """
    if not paths:
        raise UserError("no images named; expected files, folders, a tar or a parquet")
    images, passed_over = [], Counter[str]()
    for path in paths:
        part = _below(Path(path), class_names)
        images += part.images
        passed_over.update(part.passed_over)
        if part.split:
            progress(f"{path}: scored by its {len(part.images):,} images {part.split}")
    if +passed_over:
        progress(f"passed over: {counts_as_text(+passed_over)}")
    return images


class _Part(NamedTuple):
    """Images, how many things were passed over by reason, and the split where there are several."""

    images: list[ImageInput]
    passed_over: Mapping[str, int]
    split: str = ""


def _below(path: Path, class_names: Sequence[str] | None) -> _Part:
    if class_names is not None and (table := table_at(path)) is not None:
        return _labelled(path, table, class_names)
    if path.is_dir():
        return _of_folder(path, class_names)
    if not path.is_file():
        raise UserError(f"no file or folder {path}; expected images")
    if path.name.lower().endswith(".parquet"):
        return _of_parquet(path, class_names)
    if not path.name.lower().endswith(TARS):
        return _Part([ImageInput(printable(str(path)), lambda: _read(path))], {})
    if class_names is not None:
        return _labelled(path, trees.read_tar(path), class_names)
    listing = list_tar(path)
    images = sorted(trees.images_of(listing).items())
    if not images:
        raise _no_images(path, listing)
    return _Part([_of_member(printable(it.name), it) for _, it in images], listing.passed_over)


def _of_folder(path: Path, class_names: Sequence[str] | None) -> _Part:
    listing = list_folder(path)
    parquets = {parts for parts in listing.files if parts[-1].lower().endswith(".parquet")}
    if class_names is not None:
        if any(split_of(parts[-1]) for parts in parquets):
            return _of_parquet(path, class_names)
        if not parquets:
            return _labelled(path, trees.read_folder(path), class_names)
    files = {parts: listing.files.pop(parts) for parts in parquets}
    files |= trees.images_of(listing)
    images = []
    for parts, member in sorted(files.items()):
        file = path.joinpath(*parts)
        if parts in parquets:
            images += _of_parquet(file, class_names).images
        else:
            images.append(_of_member(printable(str(file)), member))
    if not images:
        raise _no_images(path, listing)
    return _Part(images, listing.passed_over)


def _no_images(path: Path, listing: Listing) -> UserError:
    return UserError(
        f"{path} holds no images; expected {' '.join(SUFFIXES)}{but(listing.passed_over)}"
    )


def _of_member(name: str, member: StoredFile) -> ImageInput:
    return ImageInput(name, lambda: decode(member.content()))


def _of_parquet(path: Path, class_names: Sequence[str] | None) -> _Part:
    from firetree.data import parquet  # pyarrow takes a while to import

    read = parquet.read_parquet(path, needs_labels=class_names is not None)
    return _labelled(path, read, class_names)


def _labelled(path: Path, read: Dataset, class_names: Sequence[str] | None) -> _Part:
    """The images to test on, with the indices of their labels among the model's classes."""
    held = with_numbers(read)
    stored = held.test or held.train
    labels = stored.labels.tolist()
    if class_names is None:
        return _Part(_inputs(stored, labels), held.passed_over)
    numbers = _numbers(path, held.classes, class_names) if held.classes else range(len(class_names))
    if not all(0 <= label < len(numbers) for label in labels):
        raise UserError(
            f"{path} has labels from {min(labels)} to {max(labels)}; expected 0 to "
            f"{len(numbers) - 1}, the model's classes"
        )
    images = _inputs(stored, [numbers[label] for label in labels])
    return _Part(images, held.passed_over, held.test_from if held.test else "")


def _numbers(path: Path, classes: Sequence[str], class_names: Sequence[str]) -> Sequence[int]:
    """The index in the model of each of a data set's classes."""
    unknown = sorted({*classes} - {*class_names})
    if not unknown:
        return [class_names.index(name) for name in classes]
    if len(unknown) == len(classes) == len(class_names):
        return range(len(classes))
    raise UserError(
        f"{path} has {len(classes)} classes, and of these the model does not know '{unknown[0]}'; "
        f"expected names of its classes, or {len(class_names)} folders in their order"
    )


def _inputs(stored: Stored, labels: Sequence[int | None]) -> list[ImageInput]:
    def opener(index: int) -> Callable[[], Image.Image]:
        return lambda: stored.image(index, None)

    return [ImageInput(stored.name(k), opener(k), label) for k, label in enumerate(labels)]


def _read(path: Path) -> Image.Image:
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise DamagedImageError(error.strerror or str(error)) from error
