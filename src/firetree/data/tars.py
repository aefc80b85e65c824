"""Where each file of a tar lies, so that it can be read by its offset without unpacking.

Only a compressed tar is unpacked: once, as a whole, into a temporary file without a name.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from firetree.data.listing import Listing, Parts, StoredFile, is_hidden
from firetree.errors import UserError
from firetree.extras import extra
from firetree.foreign import reading

TARS = (
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2"),
    *(".tar.xz", ".txz", ".tar.zst", ".tzst"),
)
"""What the names of tars end in."""

_MOST_LINKS = 40
"""Links that lead from one to the next before they count as broken, as in Linux."""
_PIECE_BYTES = 1 << 20


def list_tar(path: Path) -> Listing:
    """The files of a tar, links followed; of two with one name the later one.

    A compressed tar is unpacked into a copy, since it cannot be read in random order itself.

    Raises:
        UserError: no tar, or one that is cut off.
    """
    listing = Listing()
    links: dict[Parts, Parts] = {}
    members: dict[Parts, StoredFile] = {}
    for entry, member in _entries(path):
        parts = _parts(entry.name)
        listing.folders.update(parts[:n] for n in range(1, len(parts) + entry.isdir()))
        if entry.isdir():
            continue
        repeated = members.pop(parts, None) is not None or links.pop(parts, None) is not None
        listing.passed_over["repeated name"] += repeated
        if entry.issym():
            links[parts] = _parts(posixpath.join(*parts[:-1], entry.linkname))
        elif entry.islnk():
            links[parts] = _parts(entry.linkname)
        elif entry.isreg() and not entry.issparse():
            members[parts] = member._replace(name="/".join(parts))
        else:
            listing.passed_over["special file"] += 1
    listing.files.update(members | _followed(links, members, listing))
    _hide(listing)
    return listing


def _parts(name: str) -> Parts:
    whole = posixpath.normpath(name)
    return tuple(part for part in whole.split("/") if part not in ("", ".", ".."))


def _followed(
    links: dict[Parts, Parts], members: dict[Parts, StoredFile], listing: Listing
) -> dict[Parts, StoredFile]:
    """The files that links lead to, by the links' names."""
    files = {}
    for parts, target in links.items():
        for _ in range(_MOST_LINKS):
            target = links.get(target, target)
        if target in members:
            files[parts] = members[target]._replace(name="/".join(parts))
        else:
            reason = "link to a folder" if target in listing.folders else "broken link"
            listing.passed_over[reason] += 1
    return files


def _hide(listing: Listing) -> None:
    """Pass over what is hidden, a folder counted once with all below it."""
    hidden = set()
    for parts in (*listing.files, *listing.folders):
        first = next((n for n, part in enumerate(parts, 1) if is_hidden(part)), None)
        if first is not None:
            hidden.add(parts[:first])
            listing.files.pop(parts, None)
            listing.folders.discard(parts)
    if hidden:
        listing.passed_over["hidden"] += len(hidden)


def _entries(path: Path) -> Iterator[tuple[tarfile.TarInfo, StoredFile]]:
    expected = "a tar, perhaps compressed by gzip, bzip2, xz or zstd"
    guard = reading(
        path,
        expected,
        "a tar",
        "compressed",
        why=lambda error: str(error).replace("unexpected end of data", "it is cut off"),
    )
    with guard, path.open("rb") as stored:
        start_bytes = stored.read(6)
        packed = next((opener for magic, opener in _OPENERS if start_bytes.startswith(magic)), None)
        file = _unpacked(path, packed) if packed else stored
        source = file if packed else str(path)
        start: int | None = 0
        while start is not None:
            file.seek(start)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                while (entry := archive.next()) is not None:
                    if entry.size < 0:
                        raise tarfile.ReadError(f"{entry.name!r} has a size of {entry.size} bytes")
                    yield entry, StoredFile(entry.name, source, entry.offset_data, entry.size)
                    archive.members = []  # type: ignore[attr-defined]  # it would keep a kilobyte of each
                start = _next_start(file, archive.offset)


def _next_start(file: BinaryIO, end: int) -> int | None:
    """Where another tar begins behind the end of one, as `cat` leaves them; None where none does."""
    file.seek(end)
    # tarfile takes a damaged header for the end; the true end is a block of zeros.
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"damaged or cut off at byte {end}")
    while piece := file.read(_PIECE_BYTES):
        if filled := piece.lstrip(b"\0"):
            return file.tell() - len(filled)
    return None


def _open_zstd(path: Path) -> BinaryIO:
    with extra("parquet", "unpack zstd"):
        import pyarrow as pa

    return cast(BinaryIO, pa.input_stream(str(path), compression="zstd"))


_OPENERS: tuple[tuple[bytes, Callable[[Path], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
    (b"\x28\xb5\x2f\xfd", _open_zstd),
)
"""What unpacks a file, by its first bytes."""


def _unpacked(path: Path, opener: Callable[[Path], Any]) -> BinaryIO:
    """An unpacked copy that vanishes with the process."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as its members are
    with opener(path) as packed:
        while piece := packed.read(_PIECE_BYTES):
            try:
                copy.write(piece)
            except OSError as error:
                raise UserError(
                    f"cannot unpack {path} into {tempfile.gettempdir()}: {error.strerror}; unpack it "
                    "yourself, or set TMPDIR to where there is room"
                ) from error
    copy.flush()
    return cast(BinaryIO, copy)
