"""Shares follow speeds, but neither noise nor stalls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from firetree.data.speeds import better_shares, relative_speeds


def noisy(
    speeds: Sequence[float], steps: int, noise: float, seed: int = 0, stalls: float = 0.0
) -> list[list[float]]:
    """What a sample takes on each rank in each step; some stall and take four times as long."""
    luck = np.random.default_rng(seed)
    sample_s_RK = np.exp(noise * luck.standard_normal((len(speeds), steps)))
    sample_s_RK *= np.where(luck.random(sample_s_RK.shape) < stalls, 4, 1)
    found: list[list[float]] = (sample_s_RK / np.array(speeds)[:, None]).tolist()
    return found


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.1])
def test_equal_machines_keep_equal_shares_whatever_the_noise(noise: float) -> None:
    steps = [noisy((1.0,) * 4, 15, noise, seed, stalls=0.05) for seed in range(200)]
    looks = [better_shares((64,) * 4, sample_s_RK) for sample_s_RK in steps]
    assert sum(found is not None for found in looks) <= 1


@pytest.mark.parametrize(("steps", "stalls"), [(5, 0.0), (15, 0.05)])
def test_unequal_machines_get_their_shares(steps: int, stalls: float) -> None:
    for seed in range(20):
        found = better_shares((86, 85, 85), noisy((1.0, 0.5, 0.25), steps, 0.02, seed, stalls))
        assert found is not None
        shares, saved = found
        assert shares == pytest.approx((146, 73, 37), abs=4)
        assert saved == pytest.approx(1 - 37 / 85, abs=0.04)


def test_shares_that_are_by_speed_already_stay() -> None:
    assert better_shares((40, 20, 10), noisy((4.0, 2.0, 1.0), 15, 0.01)) is None


def test_steps_of_longer_samples_change_no_speed() -> None:
    even = np.array(noisy((1.0, 0.5), 15, 0.1))
    speeds, error = relative_speeds((even * np.linspace(1, 9, 15)).tolist())
    assert speeds == pytest.approx(relative_speeds(even.tolist())[0])
    assert error == pytest.approx(relative_speeds(even.tolist())[1])
