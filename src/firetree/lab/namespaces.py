"""The network namespaces of labs: their owners, their processes, and their removal.

A name contains its owner's process id and start time. So leftovers of a dead owner differ from a running
lab, even if the process id was reused.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from firetree.lab import iproute

_CLONE_NEWNET = 0x40000000
_FOLDER = Path("/var/run/netns")
_END_S = 2.0
"""Seconds that processes have to end after SIGTERM before they are killed."""
_KILL_S = 5.0

Made = TypeVar("Made")


def prefix(pid: int) -> str:
    """The prefix of the names of a process's namespaces."""
    return f"firetree-{pid}-{_start_time(pid)}"


def having(prefix: str) -> list[str]:
    """The namespaces whose names begin with `prefix` and a dash."""
    return sorted(path.name for path in _FOLDER.glob(f"{prefix}-*"))


def path(name: str) -> Path:
    """The file of a namespace."""
    return _FOLDER / name


def processes(names: Iterable[str]) -> set[int]:
    """The processes inside the namespaces, without zombies."""
    wanted = {_identity(path(name)) for name in names} - {None}
    running = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {int(entry.name) for entry in running if _identity(entry / "ns/net") in wanted}


def holds(name: str, pid: int) -> bool:
    """Whether the process is inside the namespace."""
    inside = _identity(Path(f"/proc/{pid}/ns/net"))
    return inside is not None and inside == _identity(path(name))


def inside(namespace: str, make: Callable[[], Made]) -> Made:
    """Call `make` in a namespace, in a temporary thread, as only a thread can change its namespace."""

    def move_and_make() -> Made:
        libc = ctypes.CDLL(None, use_errno=True)
        with path(namespace).open() as file:
            if libc.setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"no way into {namespace}")
        return make()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(move_and_make).result()


def send(names: Iterable[str], number: signal.Signals) -> None:
    """Send a signal to every process inside, including those started meanwhile."""
    names = [*names]
    reached: set[int] = set()
    while new := processes(names) - reached:
        for pid in new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        reached |= new


def end(names: Iterable[str]) -> None:
    """End every process inside: SIGTERM first, also to stopped ones, then SIGKILL."""
    names = [*names]
    if processes(names):
        send(names, signal.SIGTERM)
        send(names, signal.SIGCONT)
        if not _emptied(names, _END_S):
            send(names, signal.SIGKILL)
            _emptied(names, _KILL_S)


def remove(names: Iterable[str]) -> None:
    """Delete the namespaces and their devices; missing ones are ignored."""
    commands = "\n".join(f"netns delete {name}" for name in names)
    subprocess.run(["ip", "-force", "-batch", "-"], input=commands, text=True, capture_output=True)


def clean() -> list[str]:
    """Remove the namespaces and processes of all labs whose owners are dead, and return their names.

    Raises:
        UserError: this machine cannot run a lab, or the user is not root.
    """
    iproute.require()
    left = [name for name in having("firetree") if not has_owner(name)]
    end(left)
    remove(left)
    return left


def has_owner(name: str) -> bool:
    """Whether the owner of a lab's namespace is alive; other namespaces count as owned."""
    found = re.fullmatch(r"firetree-(\d+)-(\d+)-(?:sw|h\d+)", name)
    return not found or _start_time(int(found[1])) == int(found[2])


def _start_time(pid: int) -> int | None:
    """A process's start time in clock ticks since boot; None if it is dead."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = status.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _emptied(names: list[str], limit_s: float) -> bool:
    until = time.monotonic() + limit_s
    while processes(names):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
