"""Losses by name are PyTorch's means, summed over samples, for any layout of the classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from firetree.errors import UserError
from firetree.tasks.losses import LOSSES, build_loss, scores

LUCK = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=LUCK)


def numbered(*shape: int) -> Tensor:
    return torch.randint(4, shape, generator=LUCK)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "cross_entropy"])
@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 2, 3)])
def test_a_loss_is_pytorchs_mean_times_the_samples(name: str, shape: tuple[int, ...]) -> None:
    outputs, y = drawn(*shape), drawn(*shape).sigmoid()
    expected = LOSSES[name](outputs, y) * 6
    torch.testing.assert_close(build_loss(name, {})(outputs, y), expected)


@pytest.mark.parametrize(
    ("outputs", "y", "as_pytorch"),
    [
        (drawn(6, 4), numbered(6), (0, 1)),
        (drawn(6, 5, 4), numbered(6, 5), (0, 2, 1)),
        (drawn(6, 4, 5), numbered(6, 5), (0, 1, 2)),
        (drawn(6, 4, 5, 3), numbered(6, 5, 3), (0, 1, 2, 3)),
    ],
)
def test_classes_are_along_the_last_axis_or_the_second(
    outputs: Tensor, y: Tensor, as_pytorch: tuple[int, ...]
) -> None:
    expected = F.cross_entropy(outputs.permute(as_pytorch), y) * 6
    torch.testing.assert_close(build_loss("cross_entropy", {})(outputs, y), expected)
    found = scores(outputs, y)
    assert found is not None
    assert found.shape == (*y.shape, 4)


def test_a_sample_counts_as_one_however_many_answers_it_is_asked_for() -> None:
    outputs, y = drawn(2, 5, 4), numbered(2, 5)
    y[0, 1:] = -100
    each = F.cross_entropy(outputs.movedim(-1, 1), y, reduction="none")
    expected = each[0, 0] + each[1].mean()
    torch.testing.assert_close(build_loss("cross_entropy", {})(outputs, y), expected)


@pytest.mark.parametrize(
    ("name", "outputs", "y"),
    [("mse", drawn(6, 1), drawn(6)), ("cross_entropy", drawn(6, 4), drawn(6))],
)
def test_shapes_that_pytorch_would_stretch_are_refused(
    name: str, outputs: Tensor, y: Tensor
) -> None:
    with pytest.raises(
        UserError, match=r"and y is \(6,\) of torch.float32; expected shapes that are"
    ):
        build_loss(name, {})(outputs, y)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mse", {"reduction": "sum"}, "loss.arguments has reduction; leave it out"),
        ("cross_entropy", {"ignore_index": 0}, "answers that do not count are targets of -100"),
        ("cross_entropy", {"delat": 1}, "loss.name = cross_entropy failed: TypeError"),
        ("cross_entropy", {}, "gives 4 scores, and y has class 7; expected classes from 0 to 3"),
    ],
)
def test_what_pytorch_does_not_take_is_refused(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    y = torch.tensor([0, 1, 2]) if arguments else torch.tensor([0, 7, -100])
    with pytest.raises(UserError, match=message):
        build_loss(name, arguments)(drawn(3, 4), y)
