"""Makes the C library keep memory that a training step frees for the next step."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""From glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Keep freed memory in this process, if its C library is glibc.

    Otherwise large activations go back to the system in every step, and the kernel zeroes the pages
    again: a fifth of a step's CPU time at a batch of 128, a third at 1,024.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_MMAP_MAX, 0)
