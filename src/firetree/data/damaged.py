"""An image that cannot be decoded."""

from __future__ import annotations


class DamagedImageError(Exception):
    """An image that cannot be decoded; the text is the reason, without the image's name."""
