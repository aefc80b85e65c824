"""`python -m firetree` is the command `firetree`."""

from __future__ import annotations

import os


def main() -> None:
    """Run the command with a torch whose C++ part does not write its own account of a lost peer."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # read when torch is imported
    from firetree.commands.main import main as run

    run()


if __name__ == "__main__":
    main()
