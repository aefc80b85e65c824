"""simplejpeg and Pillow give the same images, and call the same ones damaged."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from firetree.data import decoding
from firetree.data.crops import Crop, RandomCrop
from firetree.data.damaged import DamagedImageError
from firetree.data.decoding import decode, fit

simplejpeg = pytest.importorskip("simplejpeg", reason="needs simplejpeg")

VIEWS = [None, Crop(16), Crop(40), Crop(16, RandomCrop(0.5, 0.3, 0.2, 0.9, 1.5))]


def photograph(mode: str = "RGB", width: int = 150, height: int = 113, **options: object) -> bytes:
    """Smooth colours with some noise, as a JPEG."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    waves = np.stack([np.sin(x / 17), np.cos(y / 11), np.sin((x + y) / 23)], axis=2)
    pixels = np.clip(128 + 90 * waves + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(content: bytes, view: Crop | None) -> Image.Image:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "simplejpeg", None)
        return decode(content, view)


def difference(one: Image.Image, other: Image.Image) -> int:
    assert (one.size, one.mode) == (other.size, other.mode)
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"progressive": True}, {"quality": 30}]
)
def test_both_decoders_give_the_same_image(
    mode: str, options: dict[str, object], view: Crop | None
) -> None:
    content = photograph(mode, **options)
    assert difference(decode(content, view), by_pillow(content, view)) <= 2


@pytest.mark.parametrize(("size", "pixels"), [(113, 150), (50, 75), (28, 38), (14, 19), (1, 19)])
def test_a_image_of_which_little_is_wanted_is_decoded_smaller(size: int, pixels: int) -> None:
    content = photograph()
    assert decode(content, Crop(size)).width == pixels
    assert by_pillow(content, Crop(size)).width == pixels


def turned(orientation: int, kind: str, **options: object) -> bytes:
    """A photograph that says in its Exif data how it is to be turned."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    Image.open(io.BytesIO(photograph())).save(file, kind, exif=exif, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_image_comes_out_upright(kind: str, orientation: int) -> None:
    content = turned(orientation, kind)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert expected.size == ((113, 150) if 5 <= orientation <= 8 else (150, 113))
    for decoder in (decode, by_pillow):
        assert difference(decoder(content, None), expected) <= (2 if kind == "JPEG" else 0)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_view_is_one_of_the_upright_image(orientation: int, view: Crop | None) -> None:
    content = turned(orientation, "JPEG", quality=95)
    assert difference(decode(content, view), by_pillow(content, view)) <= 2
    seen = view or Crop(50)
    ours, whole = fit(decode(content, view), seen, 3), fit(decode(content), seen, 3)
    assert np.abs(ours.astype(int) - whole).mean() < 12


def test_an_orientation_in_xmp_counts_and_a_damaged_one_does_not() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert decode(photograph(xmp=xmp)).size == (113, 150)
    for exif in (b"Exif\0\0MM\0*\0\0", b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff"):
        for decoder in (decode, by_pillow):
            assert decoder(photograph(exif=exif), None).size == (150, 113)


def test_floating_point_pixels_are_refused() -> None:
    file = io.BytesIO()
    Image.new("F", (4, 4), 0.5).save(file, "TIFF")
    with pytest.raises(DamagedImageError, match="floating-point"):
        decode(file.getvalue())


def verdict(decoder: Callable[[bytes, Crop | None], Image.Image], content: bytes) -> str:
    try:
        decoder(content, None)
    except DamagedImageError as error:
        return str(error)
    return "whole"


@given(st.integers(0, len(photograph())))
def test_a_jpeg_cut_off_anywhere_gets_the_same_verdict_from_both(length: int) -> None:
    content = photograph()[:length]
    assert verdict(decode, content) == verdict(by_pillow, content)


@given(st.integers(0, 8 * len(photograph()) - 1))
def test_a_jpeg_with_a_changed_bit_gets_the_same_verdict_from_both(bit: int) -> None:
    content = bytearray(photograph())
    content[bit // 8] ^= 1 << bit % 8
    assert verdict(decode, bytes(content)) == verdict(by_pillow, bytes(content))


def test_photographs_are_the_same_by_both_and_nearly_the_same_decoded_smaller(
    shared: Callable[[str], Path],
) -> None:
    with tarfile.open(shared("flowers/flowers.tar")) as archive:
        files = [member for member in archive if member.name.endswith(".jpg")][::200]
        contents = [archive.extractfile(member).read() for member in files]  # type: ignore[union-attr]
    for content in contents:
        whole, view = decode(content), Crop(32)
        assert difference(whole, by_pillow(content, None)) <= 2
        ours, smaller = fit(whole, view, 3), fit(decode(content, view), view, 3)
        assert np.abs(ours.astype(int) - smaller).mean() < 6
