"""The delta rule: its chunked form against its definition, and the layer around it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import linear, normalize, pad

from firetree.fastweights import DeltaFastWeights
from firetree.fastweights.delta_rule import by_chunks, step_by_step


def arguments(steps: int, seed: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(seed)
    q, k, v = (torch.randn(3, steps, size, dtype=dtype) for size in (5, 5, 7))
    made = [normalize(q, dim=2), normalize(k, dim=2), v, torch.rand(3, steps, dtype=dtype)]
    return [one.requires_grad_() for one in [*made, torch.randn(3, 5, 7, dtype=dtype)]]


@settings(max_examples=25)
@given(st.integers(1, 200), st.integers(0, 2**16))
def test_chunks_give_what_single_steps_give_and_the_same_gradients(steps: int, seed: int) -> None:
    given = arguments(steps, seed)
    results = []
    for form in (step_by_step, by_chunks):
        y, S = form(*given)
        slope = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
        gradients = torch.autograd.grad((y * slope).sum() + S.square().sum(), given)
        results.append([y, S, *gradients])
    for ours, theirs in zip(*results, strict=True):
        scale = max(1.0, theirs.abs().max().item())
        assert (ours - theirs).abs().max() <= 1e-10 * scale


def test_chunks_give_what_single_steps_give_in_float32() -> None:
    given = arguments(300, 0, torch.float32)
    for ours, theirs in zip(by_chunks(*given), step_by_step(*given), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_key_written_anew_gives_its_new_value_alone() -> None:
    k = normalize(torch.randn(1, 2, 4), dim=2)
    keys = torch.cat([k, k[:, :1]], 1)
    v = torch.randn(1, 3, 4)
    y, _ = step_by_step(keys, keys, v, torch.ones(1, 3), torch.zeros(1, 4, 4))
    torch.testing.assert_close(y[:, 2], v[:, 2])


def test_corrections_read_by_their_attention_are_what_the_memory_gives() -> None:
    torch.manual_seed(0)
    layer = DeltaFastWeights(3, 8, batch_first=True, heads=2).double()
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    seen = pad(linear(x, layer.weight_qkv_l0), (0, 0, 3, 0))
    q, k, v = layer._queries_keys_values(0, seen)
    beta = layer._gates(0, x).mT.flatten(0, 1)
    S, corrections = torch.zeros(4, 4, 4, dtype=torch.float64), []
    for t in range(9):
        corrections.append(v[:, t] - torch.einsum("bkv,bk->bv", S, k[:, t]))
        S = S + torch.einsum("b,bk,bv->bkv", beta[:, t], k[:, t], corrections[-1])
    expected, _ = step_by_step(q, k, v, beta, torch.zeros_like(S))
    attention_BNTT = layer.attention(x)
    read = attention_BNTT.flatten(0, 1) @ torch.stack(corrections, 1)
    torch.testing.assert_close(read, expected)
    assert (attention_BNTT.triu(1) == 0).all()


def test_gradients_are_those_of_differences() -> None:
    torch.manual_seed(1)
    layer = DeltaFastWeights(2, 4, batch_first=True, heads=2).double()
    x = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x)[0], x)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_recurrent_and_chunked_layers_are_equal(heads: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 100, 6, dtype=torch.float64)
    layer = DeltaFastWeights(6, 8, 2, batch_first=True, heads=heads).double()
    results = []
    for form in ("recurrent", "chunked"):
        layer.form = form  # type: ignore[assignment]
        y, state = layer(x)
        results.append([y, *state])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


def test_streaming_one_step_at_a_time_is_one_long_call() -> None:
    torch.manual_seed(0)
    layer = DeltaFastWeights(3, 6, 2, batch_first=True, heads=2).double()
    x = torch.randn(2, 70, 3, dtype=torch.float64)
    whole, end = layer(x)
    state, outputs = None, []
    for step in x.split(1, 1):
        y, state = layer(step, state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), whole)
    torch.testing.assert_close(state, end)
