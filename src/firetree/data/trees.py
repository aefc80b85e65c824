"""Images in class folders: a tree on disk, as ImageNet's, or the same tree inside a tar.

Which folders are splits and which are classes is decided here; `listing` says what lies where.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firetree.data.account import HELD_OUT, but, left_alone
from firetree.data.decoding import SUFFIXES
from firetree.data.folders import list_folder
from firetree.data.images import Dataset, Stored, in_files
from firetree.data.listing import Listing, Parts, StoredFile, suffix_of
from firetree.data.look_alikes import hint
from firetree.data.split_names import Split, named, says_nothing, tested_on, words_of
from firetree.data.tars import list_tar
from firetree.errors import UserError
from firetree.output import printable


def read_folder(root: Path) -> Dataset:
    """One folder a class, or the same in a folder for each split, by any of its usual names.

    Validation images are tested on, or test images where there are none. A split without class folders,
    such as ImageNet's test/, has no labels and is passed over.

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


def images_of(listing: Listing) -> dict[Parts, StoredFile]:
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
    images: Mapping[Parts, StoredFile]
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
        """The topmost folders whose own folders hold images."""
        return {parts[0] for parts in self.deeper}

    @property
    def deeper(self) -> list[Parts]:
        """Images at least two folders deep; a class's only folder `images` does not count."""
        return [
            parts
            for parts in self.images
            if len(parts) > 3
            or (len(parts) == 3 and not (words_of(parts[1]) and says_nothing(parts[1])))
        ]


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
    tree = _unwrapped(whole, passed_over)
    chosen = _chosen(tree, passed_over)
    classes = _classes(chosen.train, passed_over)
    _refuse_splits_within(chosen.train)
    train, test = _stored(chosen.train, classes, passed_over), None
    if chosen.test is not None:
        unknown = set(_classes(chosen.test, passed_over)) - set(classes)
        if unknown:
            raise UserError(
                f"{chosen.test.name} has a class '{printable(min(unknown))}' that train has not; "
                f"expected only {', '.join(map(printable, classes[:20]))}"
                f"{hint(min(unknown), classes)}"
            )
        test = _stored(chosen.test, classes, passed_over)
    return Dataset(
        train,
        test,
        tuple(map(printable, classes)),
        chosen.test_from,
        files or len(train.labels) + (len(test.labels) if test else 0),
        passed_over,
        (
            *chosen.remarks,
            *_remarks_on_depth(chosen.train),
            *_remarks_on_wrapper(tree, whole, chosen),
        ),
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
    """The folder of each split that holds class folders: train/ and val/, or seg_train/ and seg_val/.

    Raises:
        UserError: two folders for a split.
    """
    by_affix: defaultdict[Parts, defaultdict[Split, list[str]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for folder in sorted(tree.parents):
        if (said := named(folder)) is not None:
            by_affix[said.affix][said.split].append(folder)
    # A lone train folder with further words in its name is a class, such as train_station/.
    affixes = [
        affix
        for affix, splits in by_affix.items()
        if "train" in splits and (len(splits) > 1 or () in (affix, *by_affix))
    ]
    folders_of = dict(by_affix[min(affixes, default=())])
    if "train" in folders_of:
        for other in by_affix.values():
            folders_of = {**other, **folders_of} if "train" not in other else folders_of
    for split, folders in folders_of.items():
        if len(folders) > 1:
            names = " and ".join(f"{printable(folder)}/" for folder in folders)
            raise UserError(
                f"{tree.name} has {names} for {split}; expected one, move the other away"
            )
    return {split: folders[0] for split, folders in folders_of.items()}


def _chosen(tree: _Tree, passed_over: Counter[str]) -> _Chosen:
    folder_of = _split_folders(tree)
    others = tree.tops - set(folder_of.values())
    if "train" in folder_of:
        _pass_over_loose(tree, passed_over)
        for folder in others:
            unlabelled = named(folder) and folder not in tree.parents
            reason = "without a label in" if unlabelled else "in"
            passed_over[f"{reason} {printable(folder)}/"] += len(tree.below(folder).images)
        train, remarks = _inner(tree.below(folder_of["train"])), []
    else:
        remarks = _remarks_on_classes(tree, others, folder_of.values(), passed_over)
        train = tree.without(folder_of.values())
    split = tested_on(folder_of)
    if split is None:
        return _Chosen(train, remarks=tuple(remarks))
    folder = printable(folder_of[split])
    if split == "validation" and "test" in folder_of:
        unused = folder_of["test"]
        count = len(tree.below(unused).images)
        remarks.append(left_alone(f"{folder}/", f"{printable(unused)}/ ({count:,} images)"))
    test = _inner(tree.below(folder_of[split]))
    return _Chosen(train, test, f"from {folder}/", tuple(remarks))


def _remarks_on_classes(
    tree: _Tree, classes: set[str], other_splits: Collection[str], passed_over: Counter[str]
) -> list[str]:
    """Remarks on classes whose names are those of splits.

    Raises:
        UserError: there are only splits, or a folder is more likely an unlabelled split than a class.
    """
    splits = {
        folder: said.split for folder in classes if (said := named(folder)) and not said.affix
    }
    others = classes - splits.keys()
    if not others and (splits or other_splits):
        names = ", ".join(sorted((*splits, *other_splits)))
        raise UserError(
            f"{tree.name} has {names}, and no train folder with class folders; expected "
            f"train/CLASS/IMAGE, or CLASS/IMAGE{but(passed_over)}"
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
    """The tree below folders that repeat the split's name or only say `images`, as train/images/."""
    while len(tree.tops) == 1 and tree.parents:
        (top,) = tree.tops
        if named(top) is None and not says_nothing(top):
            break
        tree = tree.below(top)
    return tree


def _classes(tree: _Tree, passed_over: Counter[str]) -> list[str]:
    """The names of the class folders as they are on disk."""
    if not tree.tops:
        _pass_over_loose(tree, passed_over)
        raise UserError(
            f"{tree.name} holds no images in class folders; expected CLASS/IMAGE with one of "
            f"{' '.join(SUFFIXES)}{but(passed_over)}"
        )
    without_images = {parts[0] for parts in tree.folders} - tree.tops
    if without_images:
        raise UserError(
            f"class folder '{printable(min(without_images))}' of {tree.name} holds no images; add some "
            f"or remove it, or give data.path of a folder with class folders alone{but(passed_over)}"
        )
    return sorted(tree.tops)


def _refuse_splits_within(tree: _Tree) -> None:
    """Raise UserError where class folders hold splits: training would mix these."""
    splits = {said.split: p for p in tree.deeper if (said := named(p[1])) and not said.affix}
    if len(splits) > 1:
        some = " and ".join(printable("/".join(parts[:2])) + "/" for parts in splits.values())
        raise UserError(
            f"{tree.name} has splits within its class folders, {some}; expected train/CLASS/IMAGE and "
            "val/CLASS/IMAGE"
        )


def _remarks_on_wrapper(tree: _Tree, whole: _Tree, chosen: _Chosen) -> list[str]:
    folder = tree.name.removeprefix(whole.name).rpartition("/")[2]
    said = named(folder)
    if chosen.test is not None or said is None or said.split == "train":
        return []
    return [f"{printable(folder)}/ is the only split; it is trained on, and a share of it held out"]


def _remarks_on_depth(tree: _Tree) -> list[str]:
    if not tree.deeper:
        return []
    folder = printable("/".join(min(tree.deeper)[:-1][:3]))
    return [
        f"images in folders within a class's, such as {folder}/, are of the class: "
        f"{len(tree.deeper):,} of {len(tree.images):,}"
    ]


def _stored(tree: _Tree, classes: Sequence[str], passed_over: Counter[str]) -> Stored:
    _pass_over_loose(tree, passed_over)
    number = {name: label for label, name in enumerate(classes)}
    entries = sorted((parts, member) for parts, member in tree.images.items() if len(parts) > 1)
    members = [member for _, member in entries]
    labels = np.array([number[parts[0]] for parts, _ in entries], np.int64)
    return in_files(labels, lambda index: printable(members[index].name), members)
