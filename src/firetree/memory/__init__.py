"""What a trained net keeps in its fast weights while it reads, and what it reads back."""

from __future__ import annotations

from firetree.memory.reading import Reading, readings

__all__ = ["Reading", "readings"]
