"""Crops: the part of an image of any size that is used, and the size that it gets."""

from __future__ import annotations

import math
from typing import NamedTuple

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in the image's pixels, perhaps with fractions."""

_REDUCTIONS = (8, 4, 2)


class RandomCrop(NamedTuple):
    """A part of an image, by numbers that fit images of any size."""

    area: float
    """Share of the image's area, above 0 and at most 1."""
    shape: float
    """0 is the tallest part that the image and `widest` allow, 1 the widest."""
    across: float
    """0 is at the left edge, 1 at the right one."""
    down: float
    """0 is at the top, 1 at the bottom."""
    widest: float
    """Largest aspect ratio, either way."""

    def box(self, width: int, height: int) -> Box:
        """The box of this part in an image of that size.

        Torchvision's RandomResizedCrop draws area and shape until they fit the image. Here the shape lies
        between those that fit, so one draw is enough. Where none fits, the part has the nearest shape and
        less than its area.
        """
        wide = width / height
        tallest, widest = (
            min(max(shape, 1 / self.widest), self.widest)
            for shape in (wide * self.area, wide / self.area)
        )
        ratio = tallest * (widest / tallest) ** self.shape
        area = self.area * width * height
        part_width, part_height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        shrink = min(1.0, width / part_width, height / part_height)
        # Rounding must not leave the image.
        part_width, part_height = min(part_width * shrink, width), min(part_height * shrink, height)
        left, top = self.across * (width - part_width), self.down * (height - part_height)
        return left, top, min(left + part_width, width), min(top + part_height, height)


class Crop(NamedTuple):
    """A part of an image, by default its centre square, scaled to `size` pixels high and wide."""

    size: int
    cut: RandomCrop | None = None

    def box(self, width: int, height: int) -> Box:
        """The box of the part in an image of that size."""
        if self.cut is not None:
            return self.cut.box(width, height)
        side = min(width, height)
        left, top = (width - side) * 0.5, (height - side) * 0.5
        return left, top, left + side, top + side

    def reduction(self, width: int, height: int) -> int:
        """How many times smaller (1, 2, 4 or 8) the image may be decoded without losing detail."""
        left, top, right, bottom = self.box(width, height)
        pixels = min(right - left, bottom - top)
        return next((k for k in _REDUCTIONS if pixels >= k * self.size), 1)
