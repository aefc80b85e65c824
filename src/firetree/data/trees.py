"""Pictures in class folders: a tree on disk, as ImageNet's, or the same tree inside a tar.

Both become a table of byte ranges in files, of which one is read when its picture is wanted.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from firetree.data.decoding import SUFFIXES
from firetree.data.pictures import Dataset, Stored, encoded
from firetree.data.tars import Member, checksum_of, tar_entries
from firetree.errors import UserError

Tree = dict[tuple[str, ...], Member | None]
"""A member for each picture by the parts of its path, and None for each folder."""


def read_folder(root: Path) -> Dataset:
    """One folder a class, or train/ and test/ (or val/) with one folder a class each.

    A test/ without class folders, as ImageNet's, has no labels and is passed over.

    Raises:
        UserError: no such folder, none or no readable class folders, or a class without pictures.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; expected one that holds a folder a class")
    tree: Tree = {}
    source = str(root)
    try:
        for folder, _, files in os.walk(root, followlinks=True, onerror=_raise):
            parts = tuple(os.path.relpath(folder, root).split(os.sep))
            parts = () if parts == (".",) else parts
            tree[parts] = None
            for file in files:
                tree[(*parts, file)] = Member("/".join((*parts, file)), source)
    except OSError as error:
        raise UserError(f"cannot read folder {root}: {error}") from error
    return _dataset(tree, root)


def read_tar(path: Path) -> Dataset:
    """The tree of `read_folder` inside an uncompressed tar, in a folder of its own or not.

    Raises:
        UserError: as `read_folder`, or no tar, a compressed one, or one that is cut off.
    """
    tree: Tree = {}
    for name, member in tar_entries(path):
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        tree[parts] = member and member._replace(name="/".join(parts))
    return _dataset(tree, path)


def _dataset(tree: Tree, source: Path) -> Dataset:
    tree = _without_wrapper({parts: tree[parts] for parts in tree if _counts(parts, tree[parts])})
    train, test, test_name = tree, Tree(), ""
    labelled = {parts[0] for parts in _pictures(tree) if len(parts) > 2}
    if "train" in labelled:
        test_name = "test" if "test" in labelled else "val"
        train, test = _below(tree, "train"), _below(tree, test_name)
    classes = _classes(train, source)
    if not test:
        return Dataset(_stored(train, classes), classes=classes)
    unknown = set(_classes(test, source / test_name)) - set(classes)
    if unknown:
        raise UserError(
            f"{source / test_name} has a class '{min(unknown)}' that train has not; expected only "
            f"{', '.join(classes)}"
        )
    return Dataset(_stored(train, classes), _stored(test, classes), classes)


def _counts(parts: tuple[str, ...], member: Member | None) -> bool:
    hidden = not parts or any(part.startswith(".") for part in parts)
    return not hidden and (member is None or parts[-1].lower().endswith(SUFFIXES))


def _pictures(tree: Tree) -> list[tuple[str, ...]]:
    return [parts for parts, member in tree.items() if member is not None]


def _without_wrapper(tree: Tree) -> Tree:
    """The tree below folders that only wrap it, such as flowers/ in flowers.tar."""
    while len({parts[0] for parts in tree}) == 1 and any(len(p) > 2 for p in _pictures(tree)):
        tree = _below(tree, next(iter(tree))[0])
    return tree


def _below(tree: Tree, folder: str) -> Tree:
    return {p[1:]: member for p, member in tree.items() if p[0] == folder and len(p) > 1}


def _classes(tree: Tree, source: Path) -> tuple[str, ...]:
    classes = {parts[0] for parts in _pictures(tree) if len(parts) > 1}
    if not classes:
        raise UserError(
            f"{source} holds no pictures in class folders; expected CLASS/PICTURE with one of "
            f"{' '.join(SUFFIXES)}"
        )
    folders = {parts[0] for parts, member in tree.items() if member is None}
    if folders - classes:
        raise UserError(
            f"class folder '{min(folders - classes)}' of {source} holds no pictures; add some "
            "or remove it"
        )
    return tuple(sorted(classes))


def _stored(tree: Tree, classes: tuple[str, ...]) -> Stored:
    number = {name: label for label, name in enumerate(classes)}
    entries = sorted((parts, m) for parts, m in tree.items() if m is not None and len(parts) > 1)
    members = [member for _, member in entries]
    labels = np.array([number[parts[0]] for parts, _ in entries], np.int64)
    return encoded(
        labels,
        lambda index: members[index].name,
        lambda index: members[index].content(),
        checksum_of(members),
    )


def _raise(error: OSError) -> None:
    raise error
