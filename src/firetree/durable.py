"""Atomic writes: a file is written under a temporary name, synced, then renamed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from firetree.documents import parse_json, read_text
from firetree.errors import UserError

_NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of file systems that cannot lock a folder; NFS locks only files open for writing."""
_LOOK_EVERY_S = 0.05


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; a crash at any moment leaves the old file or the new one.

    Raises:
        UserError: it cannot be written.
    """
    with _beside(path) as aside:
        write_synced(aside, content)
        aside.replace(path)
        sync_folder(path.parent)


def link_durably(link: Path, target: str) -> None:
    """Let a link lead to `target`; a crash at any moment leaves the old one or the new one (OSError)."""
    if link.is_symlink() and os.readlink(link) == target:
        return
    aside = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(link)
    sync_folder(link.parent)


def check_writable(*paths: Path | None) -> None:
    """Check before long work that `write_durably` can write each path; None is skipped.

    Raises:
        UserError: names the first path that cannot be written.
    """
    for path in filter(None, paths):
        with _beside(path) as aside:
            aside.touch()


def make_folder(path: Path) -> None:
    """Make a folder before the work whose results go there.

    Raises:
        UserError: it cannot be made.
    """
    try:
        new_folder(path)
    except OSError as error:
        raise UserError(f"cannot make folder {path}: {error.strerror}; choose another") from error


def new_folder(path: Path) -> None:
    """Make a folder and its missing parents, so that they survive a power cut (OSError)."""
    if not path.is_dir():
        _check_folder(path)
        new_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def lock_folder(folder: int, path: Path) -> str | None:
    """Lock an open folder against other writers, until all of its descriptors are closed.

    The folder itself: a lock file in it could be deleted and made anew. Returns a line for the user
    where its file system cannot lock it.

    Raises:
        UserError: another process has locked it.
    """
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"run folder {path} is in use by another process; wait for it, or choose another"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return f"folder {path} cannot be locked on its file system; see that no other run uses it"
    return None


def wait_until_unlocked(path: Path, limit_s: float) -> None:
    """Wait until nobody has a folder locked, no longer than that."""
    until_s = time.monotonic() + limit_s
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while time.monotonic() < until_s:
            with suppress(UserError):
                lock_folder(folder, path)
                return
            time.sleep(_LOOK_EVERY_S)
    finally:
        os.close(folder)


def _check_folder(path: Path) -> None:
    """Raise an OSError that names the path where something else is in its place."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{path} is not a folder", str(path))
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(errno.ENOENT, f"{path} is a link that leads nowhere", str(path))


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, removed afterwards (UserError where writing fails)."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is a folder" if path.is_dir() else "it is no ordinary file")
        for folder in path.parents:
            _check_folder(folder)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            yield aside
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write {path}: {reason}; expected a file's path, in a folder that can be written"
        ) from error


def write_synced(path: Path, content: bytes) -> None:
    """Write and sync a file, which is renamed later, alone or with its folder."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file, without the last one where a crash has cut it off.

    Raises:
        UserError: another line is not a JSON object, or the file cannot be read.
    """
    if not path.exists():
        return []
    *whole, _ = read_text(path, "file").split("\n")
    return [
        parse_json(dict[str, Any], line, f"{path}: line {number}")
        for number, line in enumerate(whole, 1)
    ]


def write_json_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Replace the file by these lines, durably."""
    write_durably(path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def append_json_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Add lines and sync them; a crash in between may cut the last line, which readers leave out."""
    append_lines(path, map(json.dumps, lines))


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """As `append_json_lines`, of lines that are JSON already."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
