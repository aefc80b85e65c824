"""Deep Compression to a real file, and back."""

from __future__ import annotations

from pathlib import Path

from firetree import weights
from firetree.weights import Published

__all__ = ["open_model"]


def open_model(path: Path) -> Published:
    """A model from a file of any format that is known here."""
    return weights.load(path)
