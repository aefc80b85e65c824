"""Errors of libraries that come from what the machine lacks are told as that, with what to do."""

from __future__ import annotations

import pytest

from firetree.errors import UserError, lack


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory; take a smaller batch"),
        (RuntimeError("could not create a primitive"), "out of memory; take a smaller batch"),
        (
            RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 B"
            ),
            "raise the limit with ulimit -v ([enforce fail]",
        ),
        (OSError(24, "Too many open files"), "raise the limit with ulimit -n"),
        (UserError("cannot read x: Too many open files"), "(cannot read x: Too many open files)"),
        (RuntimeError("Failed to init uv loop"), "too few open files are allowed"),
        (RuntimeError("can't start new thread"), "too few threads are allowed"),
        (
            UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed"),
            r"the name 'caf\udce9' cannot be written in utf-8; rename it",
        ),
        (ValueError("7 is no 8"), None),
        (UserError("no such memory"), None),
    ],
)
def test_what_the_machine_lacks_is_told(error: Exception, words: str | None) -> None:
    assert lack(error) is None if words is None else words in (lack(error) or "")
