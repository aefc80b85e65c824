"""Random parts and colours: right, the same for whoever reads the image, and for training only."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from reading import Write, load

from firetree.data import Augmentation, Loader, Splits
from firetree.data.augmentation import changed, draw

EVERYTHING = Augmentation(
    flip=True, crop_padding=1, crop_scale=0.2, brightness=0.3, contrast=0.3, saturation=0.3
)


def loader(splits: Splits, augmentation: Augmentation, **options: int) -> Loader:
    usual = {"batch_size": 7, "seed": 1, "rank": 0, "world_size": 1}
    return Loader(splits, augmentation=augmentation, **{**usual, **options})


@pytest.fixture
def photographs(write_folder: Write) -> Splits:
    """40 JPEGs of different sizes in two classes."""
    rng, files = np.random.default_rng(0), {}
    for number in range(40):
        width, height = rng.integers(20, 90, 2)
        colours = rng.integers(0, 256, (4, 4, 3), np.uint8)
        image = Image.fromarray(colours).resize((int(width), int(height)))
        file = io.BytesIO()
        image.save(file, "JPEG")
        files[f"{number % 2}/{number}.jpg"] = file.getvalue()
    return load("folder", write_folder(files), size=12)


@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_makes_no_difference(photographs: Splits, threads: int) -> None:
    for epoch in range(2):
        ours, theirs = (
            list(loader(photographs, EVERYTHING, threads=number).training_batches(epoch))
            for number in (1, threads)
        )
        assert [b.y.tolist() for b in ours] == [b.y.tolist() for b in theirs]
        assert all(torch.equal(a.x, b.x) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_together_have_the_batch_of_one(photographs: Splits, world_size: int) -> None:
    alone = loader(photographs, EVERYTHING).training_batches(0)
    together = [
        loader(photographs, EVERYTHING, rank=rank, world_size=world_size).training_batches(0)
        for rank in range(world_size)
    ]
    for parts, whole in zip(zip(*together, strict=True), alone, strict=True):
        assert torch.equal(torch.cat([part.x for part in parts]), whole.x)


def test_test_images_are_left_alone(photographs: Splits) -> None:
    plain, changed_ = (
        next(loader(photographs, augmentation).test_batches()).x
        for augmentation in (Augmentation(), EVERYTHING)
    )
    assert torch.equal(plain, changed_)


def test_a_image_looks_another_way_in_each_epoch(photographs: Splits) -> None:
    one = replace(photographs, train=photographs.test)
    epochs = [
        torch.cat([b.x for b in loader(one, EVERYTHING).training_batches(epoch)])
        for epoch in range(2)
    ]
    assert not torch.equal(*(x.sum((1, 2, 3)).sort().values for x in epochs))


def test_a_part_of_the_whole_area_is_the_image(write_npz: Write) -> None:
    splits = load("npz", write_npz())
    whole, plain = (
        list(loader(splits, augmentation).training_batches(0))
        for augmentation in (Augmentation(crop_scale=1.0, crop_ratio=1.0), Augmentation())
    )
    assert all(torch.equal(a.x, b.x) for a, b in zip(whole, plain, strict=True))


def test_parts_of_arrays_are_those_of_encoded_images(write_npz: Write, write_folder: Write) -> None:
    array = np.load(write_npz())["train_x"]
    files = {}
    for number, pixels in enumerate(array):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        files[f"a/{number:02}.png"] = file.getvalue()
    stored = load("folder", write_folder(files), channels=1, test_fraction=0.01)
    arrays = load("npz", write_npz(test_x=None, test_y=None), test_fraction=0.01)
    ours, theirs = (
        next(loader(replace(arrays, train=one.train), EVERYTHING).training_batches(0)).x
        for one in (stored, arrays)
    )
    assert torch.equal(ours, theirs)


def enhanced(image: Image.Image, factors: list[float]) -> Image.Image:
    """By Pillow, one after another."""
    for kind, factor in zip(
        (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors, strict=True
    ):
        image = kind(image).enhance(factor)
    return image


@given(st.integers(0, 99), st.booleans())
def test_colours_change_as_pillow_changes_them(seed: int, grey: bool) -> None:
    # Away from black and white, where Pillow cuts off after each step and we once, at the end.
    x_HWC = np.random.default_rng(seed).integers(90, 150, (6, 6, 1 if grey else 3), np.uint8)
    augmentation = Augmentation(brightness=0.2, contrast=0.3, saturation=0.3)
    draws = draw(augmentation, 1, seed, 0)
    assert draws.factor_N3 is not None
    expected = enhanced(
        Image.fromarray(x_HWC[:, :, 0] if grey else x_HWC), draws.factor_N3[0].tolist()
    )
    ours = changed(x_HWC[None].copy(), np.array([0]), draws)[0]
    assert np.abs(ours - np.asarray(expected, int).reshape(x_HWC.shape)).max() <= 3


@given(st.floats(0.01, 1), st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_areas_are_at_least_what_is_asked_for(least: float, seed: int, epoch: int) -> None:
    cuts = draw(Augmentation(crop_scale=least), 50, seed, epoch).cuts(np.arange(50))
    assert cuts is not None
    assert all(least * (1 - 1e-6) <= cut.area <= 1 + 1e-6 for cut in cuts)


def test_a_stream_goes_on_from_epoch_to_epoch(photographs: Splits) -> None:
    epochs = [
        batch
        for epoch in range(3)
        for batch in loader(photographs, EVERYTHING).training_batches(epoch)
    ]
    stream = loader(photographs, EVERYTHING, threads=2).batches(3)
    assert all(torch.equal(next(stream).x, batch.x) for batch in epochs[3:])
    stream.close()


def test_flowers_are_seen_in_parts(shared: Callable[[str], Path]) -> None:
    splits = load("tar", shared("flowers/flowers.tar"), size=64)
    ours = loader(splits, EVERYTHING, batch_size=32, threads=2)
    batches = ours.batches(0)
    assert next(batches).x.shape == (32, 3, 64, 64)
    batches.close()
