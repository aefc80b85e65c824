"""Decode image files to the pixels of a crop, in a given size and colour.

A JPEG that needs fewer pixels is decoded 2, 4 or 8 times smaller, which saves most of the work. simplejpeg
decodes JPEGs where it is installed. What it refuses goes to Pillow, so that the same images count as damaged
without it. Images come out upright, by their Exif orientation.
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
# No other formats: Pillow hands an EPS file to an external program, for example.
_FORMATS = tuple(_SUFFIXES_OF)
SUFFIXES = tuple(suffix for suffixes in _SUFFIXES_OF.values() for suffix in suffixes)
"""Endings of image files' names, in lower case."""

_JPEG_START = b"\xff\xd8"
_EXIF_MARKS = b"Exif\0\0", b"tiff:Orientation"
"""A JPEG with an orientation has one of these near its start."""
_HEAD_BYTES = 100_000

Turn = Image.Transpose | None
"""The transposition that makes an image upright; None where it is."""

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

# Damage shows as errors, and Pillow raises one for far too large images.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode(content: bytes, crop: Crop | None = None) -> Image.Image:
    """The image in grey (mode L) or colour (RGB), perhaps smaller where `crop` needs fewer pixels.

    Raises:
        DamagedImageError: no image, one that is cut off, or one so large that it must be malicious.
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
    except Exception as error:  # Pillow's parsers raise all kinds of errors
        raise DamagedImageError(str(error) or type(error).__name__) from error


def _decode_jpeg(content: bytes, crop: Crop | None) -> Image.Image | None:
    """The image by simplejpeg; None where Pillow should try."""
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
    except Exception:  # damaged Exif data leave the pixels intact
        return None


def _turn_of_jpeg(content: bytes) -> Turn:
    head = content[:_HEAD_BYTES]
    if not any(mark in head for mark in _EXIF_MARKS):
        return None  # as for most JPEGs, which then need no parsing
    return _turn(Image.open(io.BytesIO(content), formats=("JPEG",)))


def _reduction(crop: Crop, width: int, height: int, turn: Turn) -> int:
    return crop.reduction(*((height, width) if turn in _SIDEWAYS else (width, height)))


def _upright(image: Image.Image, turn: Turn) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def fit(image: Image.Image, crop: Crop, channels: int) -> npt.NDArray[np.uint8]:
    """x_HWC: the crop of an image of mode L or RGB, scaled bilinearly."""
    box = crop.box(*image.size)
    if box != (0, 0, crop.size, crop.size) or image.size != (crop.size, crop.size):
        image = image.resize((crop.size, crop.size), Image.Resampling.BILINEAR, box)
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    return np.asarray(image).reshape(crop.size, crop.size, channels)
