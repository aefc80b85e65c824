"""Child processes that end when their parent does (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def ending_with_us(number: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn` for Popen that has the child sent a signal when this thread ends."""
    owner, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != owner:  # the parent ended before the call
            os._exit(1)

    return ask
