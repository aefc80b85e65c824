"""A picture that cannot be decoded."""

from __future__ import annotations


class DamagedPictureError(Exception):
    """A picture that cannot be decoded; the text is the reason, without the picture's name."""
