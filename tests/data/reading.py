"""Load with the usual options, and trees of images to load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from firetree import data
from firetree.data import Splits

Encode = Callable[..., bytes]
Write = Callable[..., Path]


def load(name: str, path: Path | None = None, **options: Any) -> Splits:
    usual = {"classes": None, "size": None, "channels": None, "test_fraction": 0.25, "seed": 0}
    return data.load(name, path, **{**usual, **options})


def tree_of(encode: Encode, *folders: str, each: int = 3) -> dict[str, bytes]:
    return {
        f"{folder}/{number}.png": encode(number + 10 * place)
        for place, folder in enumerate(folders)
        for number in range(each)
    }
