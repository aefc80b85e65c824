"""Which part of an image is seen: inside it, as large as it should be, and no wider than allowed."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firetree.data.crops import Crop, RandomCrop

sides = st.integers(1, 5000)
shares = st.floats(0, 1, exclude_max=True)
cuts = st.builds(RandomCrop, st.floats(0.01, 1), shares, shares, shares, st.floats(1, 4))


@given(cuts, sides, sides)
@example(RandomCrop(0.96875, 0.0, 0.5, 0.0, 2.5), 23, 2503)
def test_a_cut_lies_inside_its_image(cut: RandomCrop, width: int, height: int) -> None:
    left, top, right, bottom = cut.box(width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


@given(cuts, sides, sides)
def test_a_cut_has_its_area_and_is_no_wider_than_allowed(
    cut: RandomCrop, width: int, height: int
) -> None:
    left, top, right, bottom = cut.box(width, height)
    shape, area = (right - left) / (bottom - top), (right - left) * (bottom - top)
    assert 1 / cut.widest <= shape * (1 + 1e-6)
    assert shape <= cut.widest * (1 + 1e-6)
    assert area <= cut.area * width * height * (1 + 1e-6)
    wide = width / height
    if 1 / cut.widest <= wide / cut.area and wide * cut.area <= cut.widest:
        assert math.isclose(area, cut.area * width * height, rel_tol=1e-6)


@given(st.integers(100, 5000), shares, st.floats(1.1, 4))
def test_every_allowed_shape_and_place_can_come(width: int, shape: float, widest: float) -> None:
    height = round(width * 0.95 * widest ** (2 * shape - 1))
    tall = RandomCrop(0.1, 0.0, 0.0, 0.0, widest).box(width, height)
    wide = RandomCrop(0.1, 1.0, 1.0, 1.0, widest).box(width, height)
    assert (tall[0], tall[1]) == (0, 0)
    assert wide[2:] == pytest.approx((width, height))
    assert (tall[2] - tall[0]) / (tall[3] - tall[1]) < (wide[2] - wide[0]) / (wide[3] - wide[1])


@given(sides, sides, st.integers(1, 300), st.none() | cuts)
def test_a_image_decoded_smaller_has_a_pixel_for_each_that_is_wanted(
    width: int, height: int, size: int, cut: RandomCrop | None
) -> None:
    view = Crop(size, cut)
    times = view.reduction(width, height)
    assert times in (1, 2, 4, 8)
    left, top, right, bottom = view.box(width, height)
    assert times == 1 or min(right - left, bottom - top) / times >= size


@pytest.mark.parametrize(
    ("width", "height", "box"), [(60, 20, (20, 0, 40, 20)), (20, 61, (0, 20.5, 20, 40.5))]
)
def test_without_a_cut_the_centre_is_seen(
    width: int, height: int, box: tuple[float, float, float, float]
) -> None:
    assert Crop(10).box(width, height) == box
