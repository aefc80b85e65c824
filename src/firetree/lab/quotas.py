"""How much CPU the processes of a host may use together: by the kernel's control groups, else by signals.

A control group (cgroup v2 or v1) limits every process from its birth. Where none can be made, as in many
containers, `Throttle` stops the processes when they have used their time, and continues them later.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from firetree.lab import namespaces

_PERIOD_S, _LEAST_QUOTA_S = 0.02, 0.001
"""The kernel gives a group its time anew every period, and takes no smaller quota."""
_TICK_S, _LOOK_S = 0.005, 0.2
_REMOVED_S = 2.0


def quota(namespace: str) -> Quota:
    """A quota for the processes of a namespace, without a limit at first."""
    found = control_groups()
    return ControlGroup(namespace, found[1]) if found else Throttle(namespace)


def how() -> str:
    """What limits CPU time on this machine: `cgroup v2`, `cgroup v1`, or `signals`."""
    found = control_groups()
    return found[0] if found else "signals"


class Quota(ABC):
    """The CPU time of a namespace's processes; `cores` may be a part of one."""

    @abstractmethod
    def limit(self, cores: float) -> None:
        """Let all of them together use so many cores from now on; infinity lifts the limit."""

    @abstractmethod
    def gather(self) -> None:
        """Take in all processes that run in the namespace now."""

    @abstractmethod
    def remove(self) -> None:
        """Leave nothing behind; the processes have ended."""


class ControlGroup(Quota):
    """The processes of a namespace as a control group of its name.

    Raises:
        OSError: the kernel does not let us.
    """

    def __init__(self, namespace: str, root: Path) -> None:
        self._namespace = namespace
        self._folder = root / namespace
        self._folder.mkdir()

    def limit(self, cores: float) -> None:
        period_s = max(_PERIOD_S, _LEAST_QUOTA_S / cores)
        period_us = round(period_s * 1e6)
        quota_us = None if cores == math.inf else round(cores * period_s * 1e6)
        if (self._folder / "cpu.max").exists():
            self._write("cpu.max", f"{quota_us or 'max'} {period_us}")
        else:
            self._write("cpu.cfs_period_us", str(period_us))
            self._write("cpu.cfs_quota_us", str(quota_us or -1))

    def gather(self) -> None:
        reached: set[int] = set()
        while new := namespaces.processes([self._namespace]) - reached:
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    self._write("cgroup.procs", str(pid))
            reached |= new

    def remove(self) -> None:
        _remove(self._folder)

    def _write(self, file: str, text: str) -> None:
        (self._folder / file).write_text(text)


class Throttle(Quota):
    """Stops the processes of a namespace when they have used their time, and continues them later.

    It looks at them every 5 ms, and for new ones every 0.2 s: what lives shorter is not limited.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._cores = math.inf
        self._spent_s: dict[int, float] = {}
        self._looked_s = -math.inf
        self._lock = threading.Lock()
        self._is_paused = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="firetree-throttle", daemon=True)
        self._thread.start()

    def limit(self, cores: float) -> None:
        self._cores = cores

    def gather(self) -> None:
        self._looked_s = -math.inf

    def remove(self) -> None:
        self._ended.set()
        self._thread.join()

    def pause(self) -> None:
        """Continue no process until `resume`."""
        with self._lock:
            self._is_paused = True

    def resume(self) -> None:
        """Continue processes again."""
        with self._lock:
            self._is_paused = False

    def _run(self) -> None:
        now_s, left_s, is_stopped = time.monotonic(), 0.0, False
        while not self._ended.wait(_TICK_S):
            before_s, now_s = now_s, time.monotonic()
            left_s += self._cores * (now_s - before_s) - self._newly_spent_s(now_s)
            left_s = min(left_s, self._cores * _PERIOD_S)
            was_stopped, is_stopped = is_stopped, left_s < 0
            if is_stopped or was_stopped:
                self._send(signal.SIGSTOP if is_stopped else signal.SIGCONT)

    def _newly_spent_s(self, now_s: float) -> float:
        """CPU time since the last call, of the processes that were known then."""
        if now_s - self._looked_s > _LOOK_S:
            self._looked_s = now_s
            found = namespaces.processes([self._namespace])
            self._spent_s = {pid: self._spent_s.get(pid, _cpu_s(pid)) for pid in found}
        before_s, self._spent_s = self._spent_s, {pid: _cpu_s(pid) for pid in self._spent_s}
        return sum(max(0.0, spent_s - before_s[pid]) for pid, spent_s in self._spent_s.items())

    def _send(self, number: signal.Signals) -> None:
        with self._lock:
            for pid in () if self._is_paused else self._spent_s:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


@cache
def control_groups() -> tuple[str, Path] | None:
    """The version and the root of control groups that limit CPU time, if we may make some."""
    for version, root in _mounted():
        with contextlib.suppress(OSError):
            trial = ControlGroup(f"{namespaces.prefix(os.getpid())}-h0", root)
            try:
                trial.limit(math.inf)
            finally:
                trial.remove()
            return version, root
    return None


def clean() -> None:
    """Remove the groups of labs whose owners are dead, after their processes have ended."""
    for _, root in _mounted():
        for folder in root.glob("firetree-*"):
            if not namespaces.has_owner(folder.name):
                _remove(folder)


def _mounted() -> Iterator[tuple[str, Path]]:
    """Where control groups with a CPU controller are mounted; version 2 first."""
    mounts = [line.split()[1:4] for line in Path("/proc/mounts").read_text().splitlines()]
    for where, kind, _ in mounts:
        if kind == "cgroup2" and _lends_cpu(Path(where)):
            yield "cgroup v2", Path(where)
    for where, kind, options in mounts:
        if kind == "cgroup" and "cpu" in options.split(","):
            yield "cgroup v1", Path(where)


def _lends_cpu(root: Path) -> bool:
    """Whether groups in this one may limit CPU time; ask for it where they may not yet."""
    try:
        if "cpu" not in (root / "cgroup.controllers").read_text().split():
            return False
        (root / "cgroup.subtree_control").write_text("+cpu")
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    """Remove a group; its last processes may still be on their way out."""
    until = time.monotonic() + _REMOVED_S
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _cpu_s(pid: int) -> float:
    """The CPU time of a process, over all its threads; 0 where it has ended."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # Linux's clock of another process
    except OSError:
        return 0.0
