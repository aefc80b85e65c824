"""Compiled fast weights compute what PyTorch's operations do, whatever the sizes and threads."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from firetree.fastweights import FastWeightRNN, FastWeightState, compiled

pytest.importorskip("numba", reason="needs numba")

RULES = [
    {"normalise": False, "nonlinearity": "tanh"},  # relu would let the memory explode
    *(
        {"normalise_first": first, "nonlinearity": nonlinearity}
        for first in (False, True)
        for nonlinearity in ("relu", "tanh")
    ),
]


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def outputs_and_gradients(
    rnn: FastWeightRNN, x: Tensor, state: FastWeightState | None
) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y, _ = rnn(x, state)
    slope = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    return [y, *torch.autograd.grad((y * slope).sum(), [x, *rnn.parameters()])]


@settings(max_examples=60, deadline=None)
@given(
    size_B=st.integers(1, 140),
    size_T=st.integers(1, 12),
    size_H=st.integers(1, 20),
    inner_steps=st.integers(1, 3),
    rule=st.sampled_from(RULES),
    learned=st.booleans(),
    begun=st.booleans(),
    threads=st.integers(1, 3),
)
def test_any_sizes_give_what_pytorchs_operations_give(
    size_B: int,
    size_T: int,
    size_H: int,
    inner_steps: int,
    rule: dict,
    learned: bool,
    begun: bool,
    threads: int,
) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    rnn = FastWeightRNN(
        3,
        size_H,
        batch_first=True,
        inner_steps=inner_steps,
        rate=0.02,
        learned=learned,
        **rule,
    ).double()
    x = torch.randn(size_B, size_T, 3, dtype=torch.float64)
    h = torch.rand(1, size_B, size_H, dtype=torch.float64)
    state = FastWeightState(h, h[..., None] * h[..., None, :]) if begun else None
    ours = outputs_and_gradients(rnn, x, state)
    rnn.form = "attention"
    for one, other in zip(ours, outputs_and_gradients(rnn, x, state), strict=True):
        scale = max(1.0, other.abs().max().item())
        assert (one - other).abs().max() <= 1e-8 * scale


def test_numbers_that_are_not_finite_come_through() -> None:
    for nonlinearity in ("relu", "tanh"):
        rnn = FastWeightRNN(3, 5, batch_first=True, nonlinearity=nonlinearity)  # type: ignore[arg-type]
        with torch.no_grad():
            rnn.bias_l0[2] = torch.nan
        assert rnn(torch.randn(2, 4, 3))[0].isnan().any()


def test_a_compiled_network_leaves_the_layer_to_numba() -> None:
    torch.manual_seed(0)
    rnn = FastWeightRNN(3, 5, batch_first=True)
    x = torch.randn(4, 6, 3)
    assert torch.equal(torch.compile(rnn, backend="eager")(x)[0], rnn(x)[0])


def test_without_numba_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    drive = torch.ones(2, 3, 4, requires_grad=True)
    assert compiled.takes(drive)
    assert not compiled.takes(drive.detach())
    assert not compiled.takes(drive.bfloat16())
    compiled._kernels.cache_clear()
    monkeypatch.delitem(sys.modules, "firetree.fastweights.kernels")
    monkeypatch.delattr("firetree.fastweights.kernels")
    monkeypatch.setitem(sys.modules, "numba", None)
    assert not compiled.takes(drive)
    compiled._kernels.cache_clear()
