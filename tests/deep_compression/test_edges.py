"""Models of odd weights are packed and come back: outliers, denormals, layers of one value, one class."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from firetree import models
from firetree.deep_compression.allocate import fit_budget
from firetree.deep_compression.calibrate import calibrate
from firetree.deep_compression.scan import scan_layers
from firetree.deep_compression.share import prune_and_share
from firetree.errors import UserError
from firetree.modelfiles import Model, Preprocessing
from firetree.modelfiles.fire.fire import read, write
from firetree.modelfiles.fire.shared import Compressed, keep_exactly
from firetree.modelfiles.model import check

CHANGED = "fire3.expand3x3.weight"
LARGEST = 3.4e38


def set_first(weight: Tensor, *values: float) -> None:
    weight.view(-1)[: len(values)] = torch.tensor(values)


ODD: dict[str, Callable[[Tensor], object]] = {
    "usual": lambda w: None,
    "one value": lambda w: w.fill_(0.5),
    "one negative value": lambda w: w.fill_(-0.5),
    "zeros": lambda w: w.zero_(),
    "zeros of both signs": lambda w: set_first(w.zero_(), -0.0, 0.0),
    "two values": lambda w: w.copy_((w > 0).float()),
    "one weight": lambda w: set_first(w.zero_(), 1e-3),
    "an outlier": lambda w: set_first(w, 1e30),
    "the largest floats": lambda w: set_first(w, LARGEST, -LARGEST),
    "huge": lambda w: w.mul_(1e30),
    "tiny": lambda w: w.mul_(1e-20),
    "denormal": lambda w: w.mul_(1e-40),
}


def odd_model(kind: str, classes: int = 3, channels: int = 3) -> Model:
    torch.manual_seed(0)
    built = models.build("squeezenet_small", classes=classes, channels=channels, size=16)
    ODD[kind](built.state_dict()[CHANGED])
    preprocessing = Preprocessing(16, True, 16, "RGB", (128.0,) * channels, (64.0,) * channels)
    return Model("squeezenet_small", dict(built.state_dict()), preprocessing)


def packed(compressed: Compressed, coder: str = "rans") -> Model:
    opened = read(write(compressed, coder)).expand()
    check(opened)
    return opened


@pytest.mark.parametrize("coder", ["rans", "huffman"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_weights_are_kept_to_the_last_bit(kind: str, coder: str) -> None:
    model = odd_model(kind)
    opened = packed(keep_exactly(model), coder)
    for name, tensor in model.state.items():
        assert torch.equal(opened.state[name].view(torch.int32), tensor.view(torch.int32)), name


@pytest.mark.parametrize("coder", ["rans", "huffman"])
@pytest.mark.parametrize("kind", ODD)
def test_shared_values_stay_near_the_weights_whatever_their_size(kind: str, coder: str) -> None:
    model = odd_model(kind)
    opened = packed(prune_and_share(model, 1.0, 5), coder)
    weight, kept = model.state[CHANGED].double(), opened.state[CHANGED].double()
    spread = weight.max() - weight.min()
    assert (kept - weight).abs().max() <= max(spread / 31, 1e-3 * weight.abs().max())


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_weights_are_pruned_to_one_bit(kind: str, scope: str) -> None:
    opened = packed(prune_and_share(odd_model(kind), 0.001, 1, scope))  # type: ignore[arg-type]
    assert all(tensor.unique().numel() <= 2 for tensor in opened.state.values() if tensor.dim() > 1)


@pytest.mark.parametrize("kind", ["zeros", "an outlier", "huge", "tiny", "denormal"])
def test_odd_weights_meet_a_budget(kind: str) -> None:
    model, x_BCHW = odd_model(kind), torch.randn(3, 3, 16, 16)
    fitted = fit_budget(model, calibrate(model, x_BCHW), 20_000, lambda _: None)
    assert len(write(fitted)) <= 20_000
    if kind in ("tiny", "denormal"):
        assert packed(fitted).state[CHANGED].abs().max() <= 2 * model.state[CHANGED].abs().max()


@pytest.mark.parametrize(("classes", "channels"), [(1, 3), (1, 1), (3, 1)])
def test_one_class_and_grey_images_are_packed_every_way(classes: int, channels: int) -> None:
    model, x_BCHW = odd_model("usual", classes, channels), torch.randn(3, channels, 16, 16)
    fitted = fit_budget(model, calibrate(model, x_BCHW), 20_000, lambda _: None)
    for compressed in (keep_exactly(model), prune_and_share(model, 0.5, 4), fitted):
        opened = packed(compressed)
        assert opened.build()(x_BCHW).shape == (3, classes)
    assert all(len(curve.nats) for curve in scan_layers(model, x_BCHW, lambda _: None))


def test_an_answer_that_is_not_finite_is_told_with_the_largest_weight() -> None:
    model, x_BCHW = odd_model("the largest floats"), torch.randn(3, 3, 16, 16)
    model.state["fire4.squeeze1x1.weight"].mul_(1e20)
    for measure in (calibrate, lambda *given: scan_layers(*given, lambda _: None)):
        with pytest.raises(UserError, match=rf"NaN or infinity; .* 3\.4e\+38 in {CHANGED}"):
            measure(model, x_BCHW)
