"""The files of a folder or a tar: their names, where their bytes lie, and what was passed over.

`folders` and `tars` make a `Listing`. It takes only names and, for tars, headers.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from firetree.data.account import checksum
from firetree.data.damaged import DamagedImageError
from firetree.output import printable

Parts = tuple[str, ...]
"""A path below the listing's root, as its parts."""

_OF_OTHER_SYSTEMS = (
    *("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"),
    "lost+found",
)
_LONGEST_SUFFIX = 12
"""Letters of a suffix with its dot; a longer ending is part of the name."""


class StoredFile(NamedTuple):
    """A regular file: its name below the root, and where its bytes lie."""

    name: str
    source: str | BinaryIO
    """The listing's folder, a tar, or a tar's unpacked copy."""
    offset: int | None = None
    """In the tar; None in a folder."""
    length: int | None = None
    """In bytes; None where there are too many files to ask."""

    def content(self) -> bytes:
        """The bytes, from any thread; raises DamagedImageError where they cannot be read."""
        try:
            if not isinstance(self.source, str):
                return os.pread(self.source.fileno(), self.length or 0, self.offset or 0)
            alone = self.offset is None
            with open(os.path.join(self.source, self.name) if alone else self.source, "rb") as file:
                file.seek(self.offset or 0)
                return file.read(None if alone else self.length)
        except OSError as error:
            raise DamagedImageError(error.strerror or str(error)) from error


@dataclass(frozen=True, slots=True)
class Listing:
    """Regular files and folders, without hidden ones."""

    files: dict[Parts, StoredFile] = field(default_factory=dict)
    """Sorted in a folder; in the tar's order in a tar."""
    folders: set[Parts] = field(default_factory=set)
    passed_over: Counter[str] = field(default_factory=Counter)


def is_hidden(name: str) -> bool:
    """Whether the name is that of a desktop's or a tool's own file or folder."""
    return name.startswith(".") or name in _OF_OTHER_SYSTEMS


def suffix_of(name: str) -> str:
    """A name for files of this kind in a message: the suffix, or `without a suffix`."""
    suffix = PurePosixPath(name).suffix.lower()
    fits = suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= _LONGEST_SUFFIX
    return suffix if fits else "without a suffix"


def checksum_of(members: Iterable[StoredFile]) -> int:
    """The checksum of the members' names and known sizes."""
    return checksum(f"{printable(member.name)} {member.length}".encode() for member in members)
