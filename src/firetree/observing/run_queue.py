"""How long a thread has waited for a CPU, as the kernel counts it."""

from __future__ import annotations

import contextlib
import os
import weakref


class RunQueue:
    """The calling thread's waits for a CPU: behind other programs, or as a quota is used up.

    Waits for a device, a disk, a lock or another thread are not among them.
    """

    def __init__(self) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):  # another system, or a kernel that does not count
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._file)

    def waited_s(self) -> float:
        """Seconds that this thread has waited since it began; 0 where nobody counts."""
        if self._file is None:
            return 0.0
        return int(os.pread(self._file, 64, 0).split()[1]) / 1e9
