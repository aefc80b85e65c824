"""simplejpeg and Pillow give the same pictures, and call the same ones damaged."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from firetree.data import decoding
from firetree.data.decoding import DamagedPictureError, decode, fit
from firetree.data.views import Cut, View

simplejpeg = pytest.importorskip("simplejpeg", reason="needs simplejpeg")

VIEWS = [None, View(16), View(40), View(16, Cut(0.5, 0.3, 0.2, 0.9, 1.5))]


def photograph(mode: str = "RGB", width: int = 150, height: int = 113, **options: object) -> bytes:
    """Smooth colours with some noise, as a JPEG."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    waves = np.stack([np.sin(x / 17), np.cos(y / 11), np.sin((x + y) / 23)], axis=2)
    pixels = np.clip(128 + 90 * waves + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(content: bytes, view: View | None) -> Image.Image:
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
def test_both_decoders_give_the_same_picture(
    mode: str, options: dict[str, object], view: View | None
) -> None:
    content = photograph(mode, **options)
    assert difference(decode(content, view), by_pillow(content, view)) <= 2


@pytest.mark.parametrize(("size", "pixels"), [(113, 150), (50, 75), (28, 38), (14, 19), (1, 19)])
def test_a_picture_of_which_little_is_wanted_is_decoded_smaller(size: int, pixels: int) -> None:
    content = photograph()
    assert decode(content, View(size)).width == pixels
    assert by_pillow(content, View(size)).width == pixels


def verdict(decoder: Callable[[bytes, View | None], Image.Image], content: bytes) -> str:
    try:
        decoder(content, None)
    except DamagedPictureError as error:
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
        whole, view = decode(content), View(32)
        assert difference(whole, by_pillow(content, None)) <= 2
        ours, smaller = fit(whole, view, 3), fit(decode(content, view), view, 3)
        assert np.abs(ours.astype(int) - smaller).mean() < 6
