"""Mixed images: the same for whoever reads them, by the shares that their labels have."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import load

from firetree import models
from firetree.data import Augmentation, Batch, Loader, Splits
from firetree.data.augmentation import draw

ALPHAS = st.one_of(st.just(0.0), st.floats(0.01, 100))


def loader(
    augmentation: Augmentation, rank: int = 0, world_size: int = 1, **options: int
) -> Loader:
    usual = {"batch_size": 9, "seed": 1}
    return Loader(
        digits(),
        rank=rank,
        world_size=world_size,
        augmentation=augmentation,
        **{**usual, **options},
    )


@cache
def digits() -> Splits:
    return load("digits", test_fraction=0.9)


def joined(parts: tuple[Batch, ...]) -> Batch:
    return Batch(
        torch.cat([it.x for it in parts]), torch.cat([it.y for it in parts]), parts[0].global_count
    )


@settings(max_examples=25)
@given(ALPHAS, ALPHAS, st.integers(1, 5), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_ranks_together_have_the_batch_of_one(
    mixup: float, cutmix: float, world_size: int, batch_size: int, seed: int
) -> None:
    both = Augmentation(mixup=mixup, cutmix=cutmix, crop_padding=1, erase=0.5, rand_augment=1)
    options = {"batch_size": batch_size, "seed": seed}
    alone = loader(both, **options).batches(0)
    ranks = [loader(both, rank, world_size, **options).batches(0) for rank in range(world_size)]
    for _ in range(3):
        whole, parts = next(alone), tuple(map(next, ranks))
        together = joined(parts)
        assert torch.equal(together.x, whole.x)
        assert torch.equal(together.y, whole.y)
        assert sum(part.count for part in parts) == whole.count == whole.global_count
    for batches in (alone, *ranks):
        batches.close()


@given(ALPHAS.filter(bool), st.integers(0, 99))
def test_labels_have_the_shares_of_a_blend(alpha: float, seed: int) -> None:
    mixed = next(loader(Augmentation(mixup=alpha), seed=seed).training_batches(0))
    plain = next(loader(Augmentation(), seed=seed).training_batches(0))
    torch.testing.assert_close(mixed.y.sum(1), torch.ones(9))
    others = plain.x.roll(-1, 0), plain.y.roll(-1)
    for k in range(9):
        own = float(mixed.y[k, plain.y[k]])
        if plain.y[k] != others[1][k]:
            assert own + float(mixed.y[k, others[1][k]]) == pytest.approx(1)
            expected = own * plain.x[k] + (1 - own) * others[0][k]
            torch.testing.assert_close(mixed.x[k], expected, rtol=1e-4, atol=1e-4)


@given(ALPHAS.filter(bool), st.integers(0, 99))
def test_labels_have_the_shares_of_an_area(alpha: float, seed: int) -> None:
    mixed = next(loader(Augmentation(cutmix=alpha), seed=seed).training_batches(0))
    plain = next(loader(Augmentation(), seed=seed).training_batches(0))
    others = plain.x.roll(-1, 0), plain.y.roll(-1)
    for k in range(9):
        from_own, from_other = mixed.x[k] == plain.x[k], mixed.x[k] == others[0][k]
        assert (from_own | from_other).all()
        if plain.y[k] != others[1][k]:
            other = float(mixed.y[k, others[1][k]])
            assert (~from_own).float().mean() <= other + 1e-6
            assert (~from_other).float().mean() <= 1 - other + 1e-6


def test_with_both_each_is_for_about_half_of_the_images() -> None:
    both = next(loader(Augmentation(mixup=1, cutmix=1), batch_size=170).training_batches(0))
    plain = next(loader(Augmentation(), batch_size=170).training_batches(0))
    # A pixel of a blend is neither image's, where these differ.
    apart = (plain.x != plain.x.roll(-1, 0)).flatten(1)
    is_other = ((both.x != plain.x) & (both.x != plain.x.roll(-1, 0))).flatten(1)
    blends = int(((is_other & apart).sum(1) > 0).sum())
    assert 60 < blends < 110


@pytest.mark.parametrize("first_step", [1, 7])
def test_an_epoch_resumed_has_the_batches_that_were_left(first_step: int) -> None:
    mixed = Augmentation(flip=True, mixup=0.2, cutmix=1)
    whole = list(loader(mixed).training_batches(2))
    resumed = list(loader(mixed).training_batches(2, first_step))
    for ours, theirs in zip(resumed, whole[first_step:], strict=True):
        assert torch.equal(ours.x, theirs.x)
        assert torch.equal(ours.y, theirs.y)


def test_test_images_are_left_alone() -> None:
    batch = next(loader(Augmentation(mixup=1, erase=1)).test_batches())
    assert batch.y.dtype == torch.int64
    assert torch.equal(batch.x, next(loader(Augmentation()).test_batches()).x)


def test_an_image_beside_a_damaged_one_stays_as_it_is_on_every_rank(
    write_parquet: Callable[..., Path], encode: Callable[..., bytes]
) -> None:
    good = encode(kind="JPEG")
    write_parquet([good[:-60]] * 3 + [good] * 297)
    splits = load("parquet", write_parquet([good] * 100, "test-0000.parquet").parent)
    options = {"batch_size": 100, "seed": 3, "augmentation": Augmentation(mixup=1)}
    alone = Loader(splits, rank=0, world_size=1, **options).training_batches(0)
    ranks = [Loader(splits, rank=k, world_size=4, **options).training_batches(0) for k in range(4)]
    counts = []
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert torch.equal(joined(tuple(parts)).x, whole.x)
        assert torch.equal(joined(tuple(parts)).y, whole.y)
        counts.append(whole.count)
    assert sum(counts) == 297


def test_mixed_batches_are_cut_into_parts() -> None:
    batch = next(loader(Augmentation(mixup=1)).training_batches(0))
    assert [part.count for part in batch.parts(4)] == [3, 2, 2, 2]
    assert torch.equal(torch.cat([part.y for part in batch.parts(4)]), batch.y)


@given(st.integers(0, 99))
def test_a_third_of_an_image_is_erased_at_most(seed: int) -> None:
    erased = next(loader(Augmentation(erase=1), seed=seed).training_batches(0))
    plain = next(loader(Augmentation(), seed=seed).training_batches(0))
    is_erased = erased.x != plain.x
    assert not erased.x[is_erased].any()
    shares = is_erased.flatten(1).float().mean(1)
    # Sides are rounded to whole pixels, of 8.
    assert float(shares.max()) < 0.5
    assert float(shares.mean()) > 0.05


def test_erasing_has_its_probability() -> None:
    erased = next(loader(Augmentation(erase=0.3), batch_size=170).training_batches(0))
    plain = next(loader(Augmentation(), batch_size=170).training_batches(0))
    assert 25 < int((erased.x != plain.x).flatten(1).any(1).sum()) < 80


def test_the_loss_of_a_mixture_is_that_of_both_labels() -> None:
    torch.manual_seed(0)
    logits_BK, first_B, second_B = (
        torch.randn(4, 5),
        torch.tensor([0, 1, 2, 3]),
        torch.arange(4) + 1,
    )
    own_B, weights_K = torch.rand(4), torch.rand(5)
    y_BK = torch.zeros(4, 5)
    y_BK[torch.arange(4), first_B] = own_B
    y_BK[torch.arange(4), second_B] += 1 - own_B
    mixed = models.summed_loss(logits_BK, y_BK, 0.1, weights_K)
    expected = torch.zeros(())
    for k in range(4):
        for label_B, share in ((first_B, own_B[k]), (second_B, 1 - own_B[k])):
            one = models.summed_loss(logits_BK[k : k + 1], label_B[k : k + 1], 0.1, weights_K)
            expected = expected + share * one
    torch.testing.assert_close(mixed, expected)


def test_shares_come_from_beta() -> None:
    for alpha in (0.2, 1.0, 8.0):
        mixtures = draw(Augmentation(mixup=alpha), 20_000, 0, 0).mixtures
        assert mixtures is not None
        assert np.mean(mixtures.own_N) == pytest.approx(0.5, abs=0.01)
        assert np.var(mixtures.own_N) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
