"""Clear refusals of files: what a file of another kind is by its first bytes, and that one is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from firetree.errors import UserError

ENOUGH_BYTES = 512
"""First bytes that tell, of a file that has so many."""

_SIGNS = (
    ("a pointer of Git LFS, not the file itself; run git lfs pull", 0, b"version https://git-lfs"),
    ("HDF5, as Keras writes it", 0, b"\x89HDF"),
    ("a GGUF of llama.cpp", 0, b"GGUF"),
    ("a NumPy array alone (.npy)", 0, b"\x93NUMPY"),
    ("parquet", 0, b"PAR1"),
    ("an Arrow file", 0, b"ARROW1"),
    *(("IDX, as MNIST has it", 0, b"\0\0\x08" + axes) for axes in (b"\x01", b"\x03")),
    ("a RAR archive; unpack it", 0, b"Rar!"),
    ("a 7-Zip archive; unpack it", 0, b"7z\xbc\xaf\x27\x1c"),
    ("a zip archive; unpack it", 0, b"PK\x03\x04"),
    ("compressed by gzip; unpack it", 0, b"\x1f\x8b"),
    *(
        ("a pickle, which is never loaded", 0, b"\x80" + protocol)
        for protocol in (b"\2", b"\3", b"\4", b"\5")
    ),
    ("a TensorFlow Lite model", 4, b"TFL3"),
    ("a tar; unpack it", 257, b"ustar"),
)


def foreign(start: bytes, *own: str) -> str | None:
    """What the file is that begins so; None where that does not tell.

    Args:
        start: `ENOUGH_BYTES` of it, or all.
        own: first words of what the caller reads itself.
    """
    if not start:
        return "empty"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page, not the file itself; download it again"
    found = (what for what, place, sign in _SIGNS if start[place:].startswith(sign))
    return next((what for what in found if not what.startswith(own)), None)


def foreign_file(path: Path, *own: str) -> str | None:
    """`foreign` of the file's first bytes; None where it cannot be read."""
    with suppress(OSError, ValueError), path.open("rb") as file:  # a name may have a NUL
        return foreign(file.read(ENOUGH_BYTES), *own)
    return None


def first_line(error: Exception) -> str:
    """What an error says, in one line of at most 200 characters."""
    return str(error).partition("\n")[0][:200] or type(error).__name__


@contextmanager
def reading(
    path: Path, expected: str, *own: str, why: Callable[[Exception], str] = first_line
) -> Iterator[None]:
    """Turn whatever a parser raises for a damaged file into a UserError.

    Args:
        expected: as in `expected a whole parquet file`.
        own: as of `foreign`.
        why: what to say of an error.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        what = foreign_file(path, *own)
        problem = f"{path} is {what}" if what else f"cannot read {path}: {why(error)}"
        raise UserError(f"{problem}; expected {expected}") from error
