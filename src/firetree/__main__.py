"""`python -m firetree` is the command `firetree`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command with a torch whose C++ part does not write its own account of a lost peer."""
    if sys.argv[1:2] != ["run"]:  # whose script has the process as python gives it
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # read when torch is imported
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupt)
    from firetree.commands.main import main as run

    run()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """KeyboardInterrupt; in the middle of an import the end, as torch cannot be left in pieces."""
    while frame:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
