"""The files of a folder or a tar: what there is to read, where its bytes lie, and what was passed over.

`folders` and `tars` make a `Listing`. Nothing is read for it but the names and, for tars, their headers.
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
"""A path below the listing's root, by its parts."""

_OF_OTHER_SYSTEMS = (
    *("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"),
    "lost+found",
)
_LONGEST_SUFFIX = 12
"""With its dot; longer ones are part of a name."""


class StoredFile(NamedTuple):
    """A regular file: its name below the root, and where its bytes lie."""

    name: str
    source: str | BinaryIO
    """The folder of the listing, a tar, or a tar's unpacked copy."""
    offset: int | None = None
    """In the tar; None in a folder."""
    length: int | None = None
    """In bytes; None where there are so many files that nobody asked."""

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
    """Regular files and folders, those apart whose names are hidden."""

    files: dict[Parts, StoredFile] = field(default_factory=dict)
    """In their order: sorted in a folder, as they come in a tar."""
    folders: set[Parts] = field(default_factory=set)
    passed_over: Counter[str] = field(default_factory=Counter)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is there for a desktop or a tool, not for us."""
    return name.startswith(".") or name in _OF_OTHER_SYSTEMS


def suffix_of(name: str) -> str:
    """What to call a file that is none of those wanted, by the end of its name."""
    suffix = PurePosixPath(name).suffix.lower()
    fits = suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= _LONGEST_SUFFIX
    return suffix if fits else "without a suffix"


def checksum_of(members: Iterable[StoredFile]) -> int:
    """Of the members' names and sizes, so far as these are known."""
    return checksum(f"{printable(member.name)} {member.length}".encode() for member in members)
