"""Images in class folders: a tree on disk, as ImageNet's, or the same tree inside a tar.

Which folders are splits and which are classes is decided here; `listing` says what lies where.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firetree.data.account import HELD_OUT, counts_as_text, left_alone
from firetree.data.decoding import SUFFIXES
from firetree.data.folders import list_folder
from firetree.data.listing import Listing, Member, Parts, checksum_of, suffix_of
from firetree.data.pictures import Dataset, Stored, encoded
from firetree.data.split_names import Split, named, says_nothing, tested_on
from firetree.data.tars import list_tar
from firetree.errors import UserError
from firetree.output import printable


def read_folder(root: Path) -> Dataset:
    """One folder a class, or the same in a folder for each split, by any of its usual names.

    Validation images are tested on, or test images where there are none of them. A split without class
    folders, as ImageNet's test/, has no labels and is passed over.

    Raises:
        UserError: no such folder, none or no readable class folders, or a class without images.
    """
    return _dataset(list_folder(root), root)


def read_tar(path: Path) -> Dataset:
    """The tree of `read_folder` inside a tar, in a folder of its own or not.

    Raises:
        UserError: as `read_folder`, or no tar, or one that is cut off.
    """
    return _dataset(list_tar(path), path, files=1)


def images_of(listing: Listing) -> dict[Parts, Member]:
    """The image files of a listing, whose other files are counted there as passed over."""
    images = {}
    for parts, member in listing.files.items():
        if not parts[-1].lower().endswith(SUFFIXES):
            listing.passed_over[suffix_of(parts[-1])] += 1
        elif member.length == 0:
            listing.passed_over["empty"] += 1
        else:
            images[parts] = member
    return images


@dataclass(frozen=True, slots=True)
class _Tree:
    """Images by the parts of their paths, and all folders."""

    name: str
    images: Mapping[Parts, Member]
    folders: frozenset[Parts]

    def below(self, folder: str) -> _Tree:
        images = {p[1:]: m for p, m in self.images.items() if p[0] == folder and len(p) > 1}
        folders = frozenset(p[1:] for p in self.folders if p[0] == folder and len(p) > 1)
        return _Tree(f"{self.name}/{folder}", images, folders)

    def without(self, folders: Collection[str]) -> _Tree:
        images = {parts: m for parts, m in self.images.items() if parts[0] not in folders}
        kept = frozenset(parts for parts in self.folders if parts[0] not in folders)
        return _Tree(self.name, images, kept)

    @property
    def tops(self) -> set[str]:
        """The topmost folders that hold images."""
        return {parts[0] for parts in self.images if len(parts) > 1}

    @property
    def parents(self) -> set[str]:
        """Those of them that hold folders with images."""
        return {parts[0] for parts in self.images if len(parts) > 2}


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The trees of class folders to train and to test on."""

    train: _Tree
    test: _Tree | None = None
    test_from: str = HELD_OUT
    remarks: tuple[str, ...] = ()


def _dataset(listing: Listing, source: Path, files: int | None = None) -> Dataset:
    passed_over = listing.passed_over
    whole = _Tree(str(source), images_of(listing), frozenset(listing.folders))
    chosen = _chosen(_unwrapped(whole, passed_over), passed_over)
    classes = _classes(chosen.train, passed_over)
    train, test = _stored(chosen.train, classes, passed_over), None
    if chosen.test is not None:
        unknown = set(_classes(chosen.test, passed_over)) - set(classes)
        if unknown:
            raise UserError(
                f"{chosen.test.name} has a class '{printable(min(unknown))}' that train has not; "
                f"expected only {', '.join(map(printable, classes))}"
            )
        test = _stored(chosen.test, classes, passed_over)
    return Dataset(
        train,
        test,
        tuple(map(printable, classes)),
        chosen.test_from,
        files or len(train.labels) + (len(test.labels) if test else 0),
        passed_over,
        chosen.remarks,
    )


def _unwrapped(tree: _Tree, passed_over: Counter[str]) -> _Tree:
    """The tree below folders that only wrap it, such as flowers/ in flowers.tar."""
    while len(tree.tops) == 1 and tree.parents:
        (top,) = tree.tops
        below = tree.below(top)
        without_images = {parts[0] for parts in tree.folders} - {top}
        if without_images and "train" not in _split_folders(below):
            break
        _pass_over_loose(tree, passed_over)
        tree = below
    return tree


def _pass_over_loose(tree: _Tree, passed_over: Counter[str]) -> None:
    loose = sum(len(parts) == 1 for parts in tree.images)
    if loose:
        passed_over["outside class folders"] += loose


def _split_folders(tree: _Tree) -> dict[Split, str]:
    """The folder of each split that holds class folders, as train/ and val/, or seg_train/ and seg_val/.

    Raises:
        UserError: two folders for a split.
    """
    by_affix: defaultdict[Parts, defaultdict[Split, list[str]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for folder in sorted(tree.parents):
        if (said := named(folder)) is not None:
            by_affix[said.affix][said.split].append(folder)
    # Alone, a train folder with words of its own is a class, such as train_station/.
    affixes = [
        affix
        for affix, splits in by_affix.items()
        if "train" in splits and (len(splits) > 1 or () in (affix, *by_affix))
    ]
    found = dict(by_affix[min(affixes, default=())])
    if "train" in found:
        for other in by_affix.values():
            found = {**other, **found} if "train" not in other else found
    for split, folders in found.items():
        if len(folders) > 1:
            names = " and ".join(f"{printable(folder)}/" for folder in folders)
            raise UserError(
                f"{tree.name} has {names} for {split}; expected one, move the other away"
            )
    return {split: folders[0] for split, folders in found.items()}


def _chosen(tree: _Tree, passed_over: Counter[str]) -> _Chosen:
    found = _split_folders(tree)
    others = tree.tops - set(found.values())
    if "train" in found:
        _pass_over_loose(tree, passed_over)
        for folder in others:
            reason = "without a label in" if named(folder) else "in"
            passed_over[f"{reason} {printable(folder)}/"] += len(tree.below(folder).images)
        train, remarks = _inner(tree.below(found["train"])), []
    else:
        remarks = _remarks_on_classes(tree, others, found.values())
        train = tree.without(found.values())
    split = tested_on(found)
    if split is None:
        return _Chosen(train, remarks=tuple(remarks))
    folder = printable(found[split])
    if split == "validation" and "test" in found:
        count = len(tree.below(found["test"]).images)
        remarks.append(left_alone(f"{folder}/", f"{printable(found['test'])}/ ({count:,} images)"))
    test = _inner(tree.below(found[split]))
    return _Chosen(train, test, f"from {folder}/", tuple(remarks))


def _remarks_on_classes(tree: _Tree, classes: set[str], other_splits: Collection[str]) -> list[str]:
    """What to say of classes that have the name of a split.

    Raises:
        UserError: nothing but splits, or what is more likely one without labels than a class.
    """
    splits = {
        folder: said.split for folder in classes if (said := named(folder)) and not said.affix
    }
    others = classes - splits.keys()
    if not others and (splits or other_splits):
        names = ", ".join(sorted((*splits, *other_splits)))
        raise UserError(
            f"{tree.name} has {names}, and no train folder with class folders; expected "
            "train/CLASS/IMAGE, or CLASS/IMAGE"
        )
    for folder, split in sorted(splits.items()):
        if split != "train" and len(others) > 1:
            raise UserError(
                f"{folder}/ in {tree.name} lies beside class folders and has none itself: no class by "
                "its name, and no split with labels; rename it if it is a class, or move it away"
            )
    return [
        f"{folder}/ is taken for a class, not for a split, as it holds no class folders"
        for folder in sorted(splits)
    ]


def _inner(tree: _Tree) -> _Tree:
    """The tree below folders that repeat the split's name, or say nothing, as train/images/."""
    while len(tree.tops) == 1 and tree.parents:
        (top,) = tree.tops
        if named(top) is None and not says_nothing(top):
            break
        tree = tree.below(top)
    return tree


def _classes(tree: _Tree, passed_over: Counter[str]) -> list[str]:
    """The names of the class folders as they are on disk."""
    but = f"; passed over: {counts_as_text(passed_over)}" if +passed_over else ""
    if not tree.tops:
        raise UserError(
            f"{tree.name} holds no images in class folders; expected CLASS/IMAGE with one of "
            f"{' '.join(SUFFIXES)}{but}"
        )
    without_images = {parts[0] for parts in tree.folders} - tree.tops
    if without_images:
        raise UserError(
            f"class folder '{printable(min(without_images))}' of {tree.name} holds no images; add some "
            f"or remove it{but}"
        )
    return sorted(tree.tops)


def _stored(tree: _Tree, classes: Sequence[str], passed_over: Counter[str]) -> Stored:
    _pass_over_loose(tree, passed_over)
    number = {name: label for label, name in enumerate(classes)}
    entries = sorted((parts, member) for parts, member in tree.images.items() if len(parts) > 1)
    members = [member for _, member in entries]
    labels = np.array([number[parts[0]] for parts, _ in entries], np.int64)
    return encoded(
        labels,
        lambda index: printable(members[index].name),
        lambda index: members[index].content(),
        checksum_of(members),
    )
