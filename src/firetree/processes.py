"""Processes that do not outlive those that started them (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> None:
    """Let the kernel send this process a signal as soon as the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def ending_with_us(number: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn` of Popen's: the process is sent a signal as soon as this thread ends."""
    owner, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != owner:  # it died before we asked
            os._exit(1)

    return ask
