"""RandAugment: images of the same shape, changed as far as its magnitude says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from firetree.data import Augmentation
from firetree.data.augmentation import changed, draw
from firetree.data.rand_augment import OPERATIONS

WITHOUT_STRENGTH = (1, 2)
"""Autocontrast and equalise."""


def image(channels: int = 3, seed: int = 0) -> np.ndarray:
    x_HWC = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), np.uint8)
    return x_HWC.repeat(4, 0).repeat(4, 1)


def pictured(x_HWC: np.ndarray) -> Image.Image:
    return Image.fromarray(x_HWC[:, :, 0] if x_HWC.shape[2] == 1 else x_HWC)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("which", range(len(OPERATIONS)))
def test_an_operation_gives_an_image_of_the_same_kind(which: int, channels: int) -> None:
    before = pictured(image(channels))
    for strength in (-1.0, -0.3, 0.0, 1.0):
        after = OPERATIONS[which](before, strength)
        assert (after.mode, after.size) == (before.mode, before.size)
        if strength == 0 and which not in WITHOUT_STRENGTH:
            assert np.array_equal(np.asarray(after), np.asarray(before))


def test_more_magnitude_changes_more() -> None:
    before = np.stack([image(seed=seed) for seed in range(200)])
    far = []
    for magnitude in (1, 9, 30):
        drawn = Augmentation(rand_augment=1, rand_augment_magnitude=magnitude)
        after = changed(before.copy(), np.arange(200), draw(drawn, 200, 0, 0))
        far.append(np.abs(after.astype(int) - before).mean())
    assert far == sorted(far)
    assert far[0] > 0


def test_an_image_changes_the_same_way_whichever_it_is_read_with() -> None:
    before = np.stack([image(seed=seed) for seed in range(12)])
    draws = draw(Augmentation(rand_augment=2), 12, 0, 0)
    together = changed(before.copy(), np.arange(12), draws)
    alone = [changed(before[k : k + 1].copy(), np.array([k]), draws)[0] for k in range(12)]
    assert np.array_equal(together, np.stack(alone))


def test_earlier_draws_stay_as_they_were() -> None:
    usual = {"flip": True, "crop_padding": 2, "crop_scale": 0.3, "brightness": 0.1}
    plain, more = (
        draw(Augmentation(**usual, **others), 50, 3, 4)  # type: ignore[arg-type]
        for others in ({}, {"rand_augment": 2, "erase": 0.5, "mixup": 1.0, "cutmix": 1.0})
    )
    for name in ("flipped_N", "corner_N2", "cut_N4", "factor_N3"):
        assert np.array_equal(getattr(plain, name), getattr(more, name))
