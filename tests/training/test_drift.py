"""Ranks whose weights have drifted apart are found, and the right one is named."""

from __future__ import annotations

import math
import socket

import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks
from torch import nn

from firetree.errors import RunFailedError
from firetree.training.drift import check_weights


def _checked(other_rank: int | None, change: float) -> tuple[str | None, list[float]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    if dist.get_rank() == other_rank:
        with torch.no_grad():
            model[1].bias[1] += change
    try:
        said = check_weights(model, step=7)
    except RunFailedError as error:
        said = str(error)
    return said, model[1].bias.tolist()


def test_the_same_weights_are_no_news() -> None:
    assert {said for said, _ in run_on_ranks(2, _checked, None, 0.0)} == {None}


@pytest.mark.parametrize("other_rank", [0, 2])
@pytest.mark.parametrize("change", [0.01, math.nan, math.inf])
def test_the_rank_that_differs_from_most_is_named(other_rank: int, change: float) -> None:
    [line] = {said for said, _ in run_on_ranks(3, _checked, other_rank, change)}
    assert line is not None
    host = socket.gethostname()
    assert line.startswith(
        f"rank {other_rank} (host {host}) has other weights than most after step 7, first in 1.bias;"
    )


def test_after_other_rounding_all_go_on_with_the_same_weights() -> None:
    (said, weights), *others = run_on_ranks(3, _checked, 2, 1e-7)
    assert said == "step 7: the ranks' weights differed by rounding; all have rank 0's now"
    assert [theirs for _, theirs in others] == [weights] * 2
