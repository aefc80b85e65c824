"""From the bytes of an image file to pixels of a wanted part, size and colour.

A JPEG of which fewer pixels are wanted is decoded 2, 4 or 8 times smaller, which leaves out most of
the work. JPEGs go through simplejpeg where it is installed; what it does not take goes to Pillow, so
that both call the same images damaged. An image comes out upright, as its Exif orientation says.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from firetree.data.crops import Crop
from firetree.data.damaged import DamagedImageError
from firetree.extras import extra
from firetree.foreign import ENOUGH_BYTES, foreign

with extra("images", "decode images"):
    from PIL import ExifTags, Image, UnidentifiedImageError, features

try:
    import simplejpeg
except ImportError:  # an extra: `pip install firetree[fast]`
    simplejpeg = None

_SUFFIXES_OF = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    **({"AVIF": (".avif",)} if features.check("avif") else {}),
}
# Others stay closed: Pillow would hand an EPS file, for one, to a program outside.
_FORMATS = tuple(_SUFFIXES_OF)
SUFFIXES = tuple(suffix for suffixes in _SUFFIXES_OF.values() for suffix in suffixes)
"""What the names of image files end in, in small letters."""

_JPEG_START = b"\xff\xd8"
_EXIF_MARKS = b"Exif\0\0", b"tiff:Orientation"
"""One of these stands near the start of a JPEG that says how it is to be turned."""
_HEAD_BYTES = 100_000

Turn = Image.Transpose | None
"""What makes an image upright; None where it is."""

_SIDEWAYS = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)
_TURNS: dict[Any, Turn] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    **dict(enumerate(_SIDEWAYS, 5)),
}
"""By Exif's orientation."""


# Pixels or errors tell; of large images, those that Pillow refuses are named.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode(content: bytes, crop: Crop | None = None) -> Image.Image:
    """The image in grey (mode L) or colour (RGB), smaller than its own size if `view` needs less.

    Raises:
        DamagedImageError: no image, cut off, or so large that it can only be meant as a trap.
    """
    if simplejpeg is not None and content.startswith(_JPEG_START):
        image = _decode_jpeg(content, crop)
        if image is not None:
            return image
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        if crop is not None:
            times = _reduction(crop, *image.size, _turn(image))
            image.draft(None, (image.width // times, image.height // times))
        image.load()
        if image.mode == "I" and image.format == "TIFF":
            raise ValueError("signed or 32-bit pixels; expected 8 or 16 bits a pixel")
        image = _upright(image, _turn(image))
        if image.mode == "F":
            raise ValueError("floating-point pixels; expected 8 or 16 bits a pixel")
        if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip, not scale
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    except UnidentifiedImageError as error:
        what = foreign(content[:ENOUGH_BYTES]) or f"none of {', '.join(_FORMATS)}"
        raise DamagedImageError(what) from error
    except Exception as error:  # Pillow lets through whatever its parsers stumble over
        raise DamagedImageError(str(error) or type(error).__name__) from error


def _decode_jpeg(content: bytes, crop: Crop | None) -> Image.Image | None:
    """The image by simplejpeg; None where Pillow should have a look at it."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if colours not in ("Gray", "YCbCr") or width * height > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        turn = _turn_of_jpeg(content)
        times = 1 if crop is None else _reduction(crop, width, height, turn)
        x_HWC = simplejpeg.decode_jpeg(
            content,
            "GRAY" if colours == "Gray" else "RGB",
            min_height=-(-height // times),
            min_width=-(-width // times),
            min_factor=times,
        )
    except ValueError:
        return None
    return _upright(Image.fromarray(x_HWC[:, :, 0] if x_HWC.shape[2] == 1 else x_HWC), turn)


def _turn(image: Image.Image) -> Turn:
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # what Pillow stumbles over in Exif data does no harm to the pixels
        return None


def _turn_of_jpeg(content: bytes) -> Turn:
    head = content[:_HEAD_BYTES]
    if not any(mark in head for mark in _EXIF_MARKS):
        return None  # of most JPEGs, nothing else has to be looked at
    return _turn(Image.open(io.BytesIO(content), formats=("JPEG",)))


def _reduction(crop: Crop, width: int, height: int, turn: Turn) -> int:
    return crop.reduction(*((height, width) if turn in _SIDEWAYS else (width, height)))


def _upright(image: Image.Image, turn: Turn) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def fit(image: Image.Image, crop: Crop, channels: int) -> npt.NDArray[np.uint8]:
    """x_HWC: what the view shows of an image of mode L or RGB (bilinear)."""
    box = crop.box(*image.size)
    if box != (0, 0, crop.size, crop.size) or image.size != (crop.size, crop.size):
        image = image.resize((crop.size, crop.size), Image.Resampling.BILINEAR, box)
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    return np.asarray(image).reshape(crop.size, crop.size, channels)
