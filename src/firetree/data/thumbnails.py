"""Small pictures of images, for people to look at."""

from __future__ import annotations

import io

from firetree.data.images import U8

MOST_PIXELS = 96
_QUALITY = 85


def thumbnail(x_HWC: U8) -> bytes:
    """A JPEG of at most `MOST_PIXELS` a side, made of pixels alone; empty where Pillow is not installed.

    Of tiny images each pixel becomes a square, so that it can be seen.
    """
    try:
        from PIL import Image
    except ImportError:  # an extra: `pip install firetree[images]`
        return b""
    scale = max(1, MOST_PIXELS // max(x_HWC.shape))
    x_HWC = x_HWC.repeat(scale, 0).repeat(scale, 1)
    image = Image.fromarray(x_HWC[:, :, 0] if x_HWC.shape[2] == 1 else x_HWC)
    image.thumbnail((MOST_PIXELS, MOST_PIXELS))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()
