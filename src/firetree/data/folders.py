"""List a folder and all folders below it: regular files only, and each folder once despite links."""

from __future__ import annotations

import os
import stat
from collections import deque
from pathlib import Path

from firetree.data.listing import Listing, Parts, StoredFile, is_hidden
from firetree.errors import UserError

SIZED = 100_000
"""How many files are asked for their sizes; more would take long on a network's disk."""


def list_folder(root: Path) -> Listing:
    """The files below a folder, links followed.

    Folders come before links to them. A link to a listed folder, or to one that contains the root, is passed
    over. So are broken links, and pipes, devices and sockets, which are never opened.

    Raises:
        UserError: no folder, or one that cannot be read.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; expected one")
    try:
        return _listed(root)
    except OSError as error:
        raise UserError(f"cannot read folder {root}: {error}; see that it can be read") from error


def _listed(root: Path) -> Listing:
    listing = Listing()
    listed = {_identity(folder) for folder in root.resolve().parents}
    folders, links = deque[Parts]([()]), deque[Parts]()
    while folders or links:
        parts = folders.popleft() if folders else links.popleft()
        path = os.path.join(root, *parts)
        if (identity := _identity(path)) in listed:
            listing.passed_over["repeated folder"] += 1
            continue
        listed.add(identity)
        if parts:
            listing.folders.add(parts)
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                below = (*parts, entry.name)
                if is_hidden(entry.name):
                    listing.passed_over["hidden"] += 1
                elif (kind := _kind(entry)) == "folder":
                    (links if entry.is_symlink() else folders).append(below)
                elif kind == "file":
                    size = entry.stat().st_size if len(listing.files) < SIZED else None
                    listing.files[below] = StoredFile("/".join(below), str(root), None, size)
                else:
                    listing.passed_over[kind] += 1
    return listing


def _identity(path: str | Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _kind(entry: os.DirEntry[str]) -> str:
    """The kind of the entry, or of a link's target."""
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    if entry.is_file(follow_symlinks=False):
        return "file"
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "broken link"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "special file"
