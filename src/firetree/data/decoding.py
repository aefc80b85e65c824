"""From the bytes of a picture file to pixels of a wanted part, size and colour.

A JPEG of which fewer pixels are wanted is decoded 2, 4 or 8 times smaller, which leaves out most of
the work. JPEGs go through simplejpeg where it is installed; what it does not take goes to Pillow, so
that both call the same pictures damaged.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from firetree.data.views import View

try:
    import simplejpeg
except ImportError:  # an extra: `pip install firetree[fast]`
    simplejpeg = None

# Others stay closed: Pillow would hand an EPS file, for one, to a program outside.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "PPM")
_JPEG_START = b"\xff\xd8"


class DamagedPictureError(Exception):
    """A picture that cannot be decoded; the text is the reason, without the picture's name."""


def decode(content: bytes, view: View | None = None) -> Image.Image:
    """The picture in grey (mode L) or colour (RGB), smaller than its own size if `view` needs less.

    Raises:
        DamagedPictureError: no picture, cut off, or so large that it can only be meant as a trap.
    """
    if simplejpeg is not None and content.startswith(_JPEG_START):
        image = _decode_jpeg(content, view)
        if image is not None:
            return image
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        if view is not None:
            times = view.reduction(*image.size)
            image.draft(None, (image.width // times, image.height // times))
        image.load()
        if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip, not scale
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    except UnidentifiedImageError as error:
        raise DamagedPictureError(f"none of {', '.join(_FORMATS)}") from error
    except Exception as error:  # Pillow lets through whatever its parsers stumble over
        raise DamagedPictureError(str(error) or type(error).__name__) from error


def _decode_jpeg(content: bytes, view: View | None) -> Image.Image | None:
    """The picture by simplejpeg; None where Pillow should have a look at it."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if colours not in ("Gray", "YCbCr") or width * height > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        times = 1 if view is None else view.reduction(width, height)
        x_HWC = simplejpeg.decode_jpeg(
            content,
            "GRAY" if colours == "Gray" else "RGB",
            min_height=-(-height // times),
            min_width=-(-width // times),
            min_factor=times,
        )
    except ValueError:
        return None
    return Image.fromarray(x_HWC[:, :, 0] if x_HWC.shape[2] == 1 else x_HWC)


def fit(image: Image.Image, view: View, channels: int) -> npt.NDArray[np.uint8]:
    """x_HWC: what the view shows of a picture of mode L or RGB (bilinear)."""
    box = view.box(*image.size)
    if box != (0, 0, view.size, view.size) or image.size != (view.size, view.size):
        image = image.resize((view.size, view.size), Image.Resampling.BILINEAR, box)
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    return np.asarray(image).reshape(view.size, view.size, channels)
