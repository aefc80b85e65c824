"""Inputs at the edge of what numbers can tell: values and gradients stay right, whatever the dtype."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from firetree.fastweights import AssociativeLSTM, DeltaFastWeights, DeltaState, FastWeightRNN
from firetree.fastweights.norms import unit, unit_rms, within_unit_circle

STEPS, FEATURES, HIDDEN = 40, 6, 8
LAYERS: dict[str, Callable[..., nn.Module]] = {
    "fast weights": FastWeightRNN,
    "by attention": partial(FastWeightRNN, form="attention"),
    "by matrix": partial(FastWeightRNN, form="matrix"),
    "tanh": partial(FastWeightRNN, normalise_first=True, inner_steps=2, nonlinearity="tanh"),
    "learned": partial(FastWeightRNN, learned=True),
    "delta": DeltaFastWeights,
    "two heads, step by step": partial(DeltaFastWeights, form="recurrent", heads=2),
    "two layers": partial(DeltaFastWeights, num_layers=2),
    "associative": AssociativeLSTM,
}
INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": torch.zeros_like,
    "equal": torch.ones_like,
    "zeros at the end": lambda x: torch.cat([x[:, :20], 0 * x[:, 20:]], 1),
    "huge": lambda x: x.clamp(-2, 2) * 5e29,
    "one huge": lambda x: torch.where(x > 2.5, 1e30, x),
    "tiny": lambda x: x * 1e-30,
    "denormal": lambda x: x * 1e-42,
    "repeated": lambda x: x[:, :1].repeat(1, STEPS, 1),
    "one step": lambda x: x[:, :1],
}


def inputs(kind: str, dtype: torch.dtype) -> Tensor:
    made = INPUTS[kind](torch.randn(3, STEPS, FEATURES, generator=torch.Generator().manual_seed(3)))
    return made.to(dtype) if dtype != torch.float16 else made.clamp(-6e4, 6e4).half()


def seeded(kind: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(1)
    return LAYERS[kind](FEATURES, HIDDEN, batch_first=True).to(dtype)


@pytest.mark.parametrize("lengths", [None, [1, 17, 40]])
@pytest.mark.parametrize("x_kind", INPUTS)
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_outputs_and_gradients_are_finite_and_bounded(
    dtype: torch.dtype, kind: str, x_kind: str, lengths: list[int] | None
) -> None:
    layer, x = seeded(kind, dtype), inputs(x_kind, dtype).requires_grad_()
    steps = [min(length, x.shape[1]) for length in lengths] if lengths else None
    y, _ = layer(x, lengths_B=steps)
    y.float().mean(1).square().sum().backward()
    gradients = [x.grad, *(parameter.grad for parameter in layer.parameters())]
    assert y.abs().max() < 10
    assert all(g is not None and g.isfinite().all() and g.abs().max() < 1e4 for g in gradients)


@pytest.mark.parametrize("x_kind", INPUTS)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_the_same_function_in_every_dtype(kind: str, x_kind: str) -> None:
    expected = seeded(kind, torch.float64)(inputs(x_kind, torch.float64))[0]
    for dtype, apart in ((torch.float32, 1e-4), (torch.bfloat16, 0.5)):
        y = seeded(kind, dtype)(inputs(x_kind, dtype))[0]
        assert (y.double() - expected).abs().max() < apart


def test_a_delta_layer_in_float32_differs_from_float64_by_rounding_alone() -> None:
    x = torch.randn(200, 6, FEATURES, generator=torch.Generator().manual_seed(0))
    y, exact = (seeded("delta", t)(x.to(t))[0].double() for t in (torch.float32, torch.float64))
    error_BT = (y - exact).norm(dim=2) / exact.norm(dim=2)
    assert error_BT.max() < 1e-4
    assert error_BT.median() < 1e-6


@pytest.mark.parametrize("bias", [True, False])
def test_zeros_give_moderate_gradients_to_what_lies_below_a_delta_layer(bias: bool) -> None:
    torch.manual_seed(0)
    below = nn.Linear(16, 16)
    nn.init.zeros_(below.bias)
    layer = DeltaFastWeights(16, 16, bias=bias, batch_first=True)
    x = torch.randn(8, 28, 16)
    x[:, 20:] = 0
    cross_entropy(layer(below(x))[0].mean(1), torch.arange(8)).backward()
    assert below.bias.grad is not None
    assert below.bias.grad.abs().max() < (1 if bias else 1e5)


def test_a_delta_layer_reads_its_memory_after_zeros() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 28, FEATURES)
    x[:, 20:] = 0
    last = DeltaFastWeights(FEATURES, HIDDEN, batch_first=True)(x)[0][:, -1]
    assert torch.pdist(last).min() > 0.01, "sequences that differ are told apart"
    without = DeltaFastWeights(FEATURES, HIDDEN, batch_first=True, bias=False)(x)[0][:, -1]
    assert (without == 0).all()


def test_weights_without_a_bias_are_loaded_as_what_they_computed() -> None:
    torch.manual_seed(0)
    old = DeltaFastWeights(FEATURES, HIDDEN, 2, bias=False)
    new = DeltaFastWeights(FEATURES, HIDDEN, 2)
    new.load_state_dict(old.state_dict())
    x = torch.randn(9, 2, FEATURES)
    assert torch.equal(new(x)[0], old(x)[0])


def test_a_state_of_huge_values_is_read_as_one_of_small_ones() -> None:
    layer, x = seeded("delta"), inputs("equal", torch.float32)
    state = layer(x[:, :5])[1]
    outputs = [
        layer(0 * x[:, :1], DeltaState(state.S_LBNDD * scale, 0 * state.recent_LBPF))[0]
        for scale in (1e10, 1e30)
    ]
    torch.testing.assert_close(*outputs)


@pytest.mark.parametrize("norm", [unit, unit_rms])
@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-4, 1.0, 1e18, 1e30])
def test_norms_are_those_of_float64(norm: Callable[[Tensor], Tensor], scale: float) -> None:
    x = (torch.randn(4, 7) * scale).requires_grad_()
    exact = x.detach().double().requires_grad_()
    norm(x)[:, 0].sum().backward()
    norm(exact)[:, 0].sum().backward()
    torch.testing.assert_close(norm(x).double(), norm(exact), atol=1e-6, rtol=1e-5)
    assert x.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=1e-4, atol=1e-36)


def test_a_complex_number_is_cut_to_length_1_whatever_its_length() -> None:
    x = torch.tensor([[3e30, 0.3, 0.0], [4e30, 0.4, 0.0]])
    expected = torch.tensor([[0.6, 0.3, 0.0], [0.8, 0.4, 0.0]])
    torch.testing.assert_close(within_unit_circle(x), expected)


@pytest.mark.parametrize("kind", LAYERS)
def test_states_of_half_precision_go_on_in_halves(kind: str) -> None:
    layer, x = seeded(kind, torch.float16), inputs("zeros at the end", torch.float16)
    whole, _ = layer(x)
    first, state = layer(x[:, :13])
    torch.testing.assert_close(
        torch.cat([first, layer(x[:, 13:], state)[0]], 1), whole, atol=2e-3, rtol=2e-3
    )


@pytest.mark.parametrize("kind", LAYERS)
def test_states_are_saved_and_copied(kind: str) -> None:
    layer, x = seeded(kind).eval(), inputs("equal", torch.float32)
    with torch.no_grad():
        _, state = layer(x)
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        for again in (torch.load(file, weights_only=False), copy.deepcopy(state)):
            assert torch.equal(layer(x, again)[0], layer(x, state)[0])


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("scale", [1e36, 3e38])
def test_gradients_are_finite_up_to_the_largest_float(kind: str, scale: float) -> None:
    layer, x = seeded(kind), (inputs("equal", torch.float32) * scale).requires_grad_()
    layer(x)[0].sum().backward()
    gradients = [x.grad, *(parameter.grad for parameter in layer.parameters())]
    assert all(g is not None and g.isfinite().all() for g in gradients)
