"""FastWeightRNN against the paper's equations, written out with A(t) and left to autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import layer_norm, linear, pad

from firetree.fastweights import FastWeightRNN, FastWeightState, compiled

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}

RULES = {
    "paper": {},
    "two inner steps": {"inner_steps": 2},
    "first normalised": {"normalise_first": True, "decay": 0.9},
    "not normalised": {"normalise": False, "rate": 0.05, "nonlinearity": "tanh"},
    "learned": {"learned": True, "inner_steps": 2},
    "no memory": {"decay": 0.0},
    "no forgetting": {"decay": 1.0},
}


def written_out(rnn: FastWeightRNN, options: dict, x_BTI: Tensor, h: Tensor, A: Tensor) -> Tensor:
    """Equations 1 and 2, one after the other."""
    weights = dict(rnn.named_parameters())
    decay, rate = rnn.rates(0)
    f = getattr(torch, options.get("nonlinearity", "relu"))

    def normal(v: Tensor) -> Tensor:
        if not options.get("normalise", True):
            return v
        return layer_norm(v, v.shape[1:], weights["norm_weight_l0"], weights["norm_bias_l0"])

    outputs = []
    for x in x_BTI.unbind(1):
        z = linear(x, weights["weight_ih_l0"], weights["bias_l0"])
        z = z + linear(h, weights["weight_hh_l0"])
        h = f(normal(z) if options.get("normalise_first") else z)
        for _ in range(options.get("inner_steps", 1)):
            h = f(normal(z + torch.einsum("bij,bj->bi", A, h)))
        A = decay * A + rate * torch.einsum("bi,bj->bij", h, h)
        outputs.append(h)
    return torch.stack([*outputs, *A.unbind(1)], 1)


def everything(rnn: FastWeightRNN, x: Tensor, h: Tensor, A: Tensor, options: dict) -> list[Tensor]:
    """Outputs with the last A, and the gradients of all that goes in."""
    inputs = [x, h, A, *rnn.parameters()]
    if rnn.form == "written out":
        result = written_out(rnn, options, x, h, A)
    else:
        y, state = rnn(x, FastWeightState(h[None], A[None]))
        result = torch.cat([y, state.A_LBHH[0]], 1)
        assert torch.equal(state.h_LBH[0], y[:, -1])
    slope = torch.linspace(-1, 1, result.numel(), dtype=x.dtype).view(result.shape)
    return [result, *torch.autograd.grad((result * slope).sum(), inputs)]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
@pytest.mark.parametrize("form", ["attention", "matrix", "auto", "auto without numba"])
def test_every_form_is_the_papers_equations(
    form: str, options: dict, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "auto without numba":
        monkeypatch.setattr(compiled, "takes", lambda _: False)
        form = "auto"
    torch.manual_seed(0)
    rnn = FastWeightRNN(3, 16, batch_first=True, **options).to(dtype)
    x = torch.randn(4, 35, 3, dtype=dtype, requires_grad=True)
    h = torch.rand(4, 16, dtype=dtype, requires_grad=True)
    A = torch.rand(4, 16, 16, dtype=dtype).div(16).requires_grad_()
    rnn.form = "written out"  # type: ignore[assignment]
    expected = everything(rnn, x, h, A, options)
    rnn.form = form  # type: ignore[assignment]
    for ours, theirs in zip(everything(rnn, x, h, A, options), expected, strict=True):
        scale = max(1.0, theirs.abs().max().item())
        assert (ours - theirs).abs().max() <= TOLERANCE[dtype] * scale


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
def test_states_read_by_their_attention_give_the_next_state(options: dict) -> None:
    torch.manual_seed(0)
    rnn = FastWeightRNN(3, 16, batch_first=True, **options).double()
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    h, _ = rnn(x)
    weights = dict(rnn.named_parameters())
    z = linear(x, weights["weight_ih_l0"], weights["bias_l0"])
    z = z + linear(pad(h[:, :-1], (0, 0, 1, 0)), weights["weight_hh_l0"])
    attention_BSTT = rnn.attention(x)
    u = z + attention_BSTT[:, -1] @ h
    if "norm_weight_l0" in weights:
        u = layer_norm(u, (16,), weights["norm_weight_l0"], weights["norm_bias_l0"])
    torch.testing.assert_close(getattr(torch, options.get("nonlinearity", "relu"))(u), h)
    assert attention_BSTT.shape == (2, options.get("inner_steps", 1), 9, 9)
    assert (attention_BSTT.triu() == 0).all()


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_gradients_are_those_of_differences(form: str) -> None:
    torch.manual_seed(1)
    rnn = FastWeightRNN(
        2, 4, batch_first=True, inner_steps=2, learned=True, nonlinearity="tanh", form=form
    ).double()
    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    weights = {name: p.detach().requires_grad_() for name, p in rnn.named_parameters()}

    def outputs(x: Tensor, *values: Tensor) -> Tensor:
        called = dict(zip(weights, values, strict=True))
        return torch.func.functional_call(rnn, called, (x,))[0]

    assert torch.autograd.gradcheck(outputs, (x, *weights.values()))


def test_a_layer_without_normalisation_has_no_weights_for_it() -> None:
    names = set(FastWeightRNN(3, 4, normalise=False).state_dict())
    assert names == {"weight_ih_l0", "weight_hh_l0", "bias_l0"}


def test_learned_rates_begin_where_they_are_told() -> None:
    decay, rate = FastWeightRNN(3, 4, learned=True, decay=0.9, rate=0.3).rates(0)
    assert decay.item() == pytest.approx(0.9)
    assert rate.item() == pytest.approx(0.3)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 2**16), st.sampled_from(["attention", "matrix", "auto"]))
def test_going_on_from_a_state_is_one_long_call(cut: int, seed: int, form: str) -> None:
    torch.manual_seed(seed)
    rnn = FastWeightRNN(3, 5, 2, batch_first=True, form=form).double()
    x = torch.randn(2, 41, 3, dtype=torch.float64)
    whole, end = rnn(x)
    first, between = rnn(x[:, :cut])
    second, end_too = rnn(x[:, cut:], between.detached())
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(end_too.A_LBHH, end.A_LBHH)


def test_the_attention_form_keeps_memory_in_proportion_to_the_steps() -> None:
    kept = {}
    for steps in (64, 128, 256):
        rnn = FastWeightRNN(8, 64, batch_first=True, form="attention")
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            rnn(torch.randn(4, steps, 8, requires_grad=True))
        kept[steps] = total
    assert kept[256] - kept[128] == pytest.approx(2 * (kept[128] - kept[64]), rel=0.01)


@pytest.mark.parametrize("rate", [1e-30, 0.5, 800.0])
def test_any_rate_can_be_where_learning_begins(rate: float) -> None:
    _, begun = FastWeightRNN(3, 4, learned=True, rate=rate).rates(0)
    torch.testing.assert_close(begun.item(), rate, rtol=1e-5, atol=0)
