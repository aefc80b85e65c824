"""From how many pixels a side a network keeps its published form."""

from __future__ import annotations

SMALLEST_SIZE = 8
"""Pooled twice, smaller images would be down to one cell."""

CLASSIC_STEM_SIZE = 100
"""Images of at least this many pixels a side keep the published stem and all its pools."""

THREE_POOL_SIZE = 48
"""Smaller images are pooled once less, so that 8x8 still ends in 2x2 (VGG: in one cell)."""
