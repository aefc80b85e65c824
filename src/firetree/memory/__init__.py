"""The fast weights and the attention of a trained net while it reads a sequence."""

from __future__ import annotations

from firetree.memory.reading import Reading, readings

__all__ = ["Reading", "readings"]
