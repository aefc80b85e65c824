"""From the bytes of a picture file to pixels of a wanted size and colour."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

# Others stay closed: Pillow would hand an EPS file, for one, to a program outside.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "PPM")


class DamagedPictureError(Exception):
    """A picture that cannot be decoded; the text is the reason, without the picture's name."""


def decode(content: bytes) -> Image.Image:
    """The picture in grey (mode L) or colour (RGB).

    Raises:
        DamagedPictureError: no picture, cut off, or so large that it can only be meant as a trap.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        image.load()
        if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip, not scale
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    except UnidentifiedImageError as error:
        raise DamagedPictureError(f"none of {', '.join(_FORMATS)}") from error
    except Exception as error:  # Pillow lets through whatever its parsers stumble over
        raise DamagedPictureError(str(error) or type(error).__name__) from error


def fit(image: Image.Image, size: int, channels: int) -> npt.NDArray[np.uint8]:
    """x_HWC: the centre square of a picture of mode L or RGB, scaled to `size` pixels (bilinear)."""
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    return np.asarray(image).reshape(size, size, channels)
