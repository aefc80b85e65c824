"""What lies where in a tar: nothing is unpacked, each member is read by its own offset."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from firetree.data.account import checksum
from firetree.data.decoding import DamagedPictureError
from firetree.errors import UserError


class Member(NamedTuple):
    """A file's name, and where its bytes lie: in the tar `source`, or in a file below that folder."""

    name: str
    source: str
    offset: int = 0
    length: int | None = None
    """None for a file of its own."""

    def content(self) -> bytes:
        """The bytes, from any thread; raises DamagedPictureError where they cannot be read."""
        alone = self.length is None
        try:
            with open(os.path.join(self.source, self.name) if alone else self.source, "rb") as file:
                file.seek(self.offset)
                return file.read(self.length)
        except OSError as error:
            raise DamagedPictureError(error.strerror) from error


def checksum_of(members: Iterable[Member]) -> int:
    """Of the members' names and sizes, so far as these are known."""
    return checksum(
        f"{name} {length}".encode("utf-8", "surrogateescape") for name, _, _, length in members
    )


def tar_entries(path: Path) -> Iterator[tuple[str, Member | None]]:
    """The name of each folder (None) and file of an uncompressed tar, in its order.

    Raises:
        UserError: no tar, a compressed one, or one that is cut off.
    """
    try:
        source = str(path)
        with tarfile.open(path, "r:") as archive, path.open("rb") as file:
            while (entry := archive.next()) is not None:
                if entry.isdir():
                    yield entry.name, None
                elif entry.isreg():
                    yield entry.name, Member(entry.name, source, entry.offset_data, entry.size)
                archive.members = []  # type: ignore[attr-defined]  # it would keep a kilobyte of each
            # tarfile takes a damaged header for the end; the true end is a block of zeros.
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"damaged or cut off at byte {archive.offset}")
    except (OSError, ValueError, tarfile.TarError) as error:
        raise UserError(f"cannot read {path}: {error}; expected an uncompressed tar") from error
