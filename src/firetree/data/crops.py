"""What is seen of an image: which part of it, and at what size, whatever its own size is."""

from __future__ import annotations

import math
from typing import NamedTuple

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of the image, which may fall between two."""

_REDUCTIONS = (8, 4, 2)


class RandomCrop(NamedTuple):
    """A part of an image, by numbers that mean the same for images of any size."""

    area: float
    """Share of the image's area, above 0 and at most 1."""
    shape: float
    """0 is the tallest part that the image and `widest` allow, 1 the widest."""
    across: float
    """0 is at the left edge, 1 at the right one."""
    down: float
    """0 is at the top, 1 at the bottom."""
    widest: float
    """Most that the width is of the height, or the height of the width."""

    def box(self, width: int, height: int) -> Box:
        """The part of an image this large, inside it.

        Torchvision's RandomResizedCrop draws area and shape until they fit the image. Here the
        shape lies between those that fit, so that one draw is enough; where none fits, the part has
        the nearest shape and less than its area.
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
        # Rounding must not lead out of the image.
        part_width, part_height = min(part_width * shrink, width), min(part_height * shrink, height)
        left, top = self.across * (width - part_width), self.down * (height - part_height)
        return left, top, min(left + part_width, width), min(top + part_height, height)


class Crop(NamedTuple):
    """A part of an image, by default the square at its centre, seen `size` pixels high and wide."""

    size: int
    cut: RandomCrop | None = None

    def box(self, width: int, height: int) -> Box:
        """The part of an image this large."""
        if self.cut is not None:
            return self.cut.box(width, height)
        side = min(width, height)
        left, top = (width - side) * 0.5, (height - side) * 0.5
        return left, top, left + side, top + side

    def reduction(self, width: int, height: int) -> int:
        """How many times smaller (1, 2, 4 or 8) an image can be decoded with no pixel missing."""
        left, top, right, bottom = self.box(width, height)
        pixels = min(right - left, bottom - top)
        return next((k for k in _REDUCTIONS if pixels >= k * self.size), 1)
