"""Networks and losses on inputs at the edge: finite values and gradients, in every dtype."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import local_response_norm as pytorchs

from firetree import models
from firetree.data.vocabulary import PADDING
from firetree.models import glimpses, seq2seq
from firetree.models.classic import local_response_norm
from firetree.models.outputs import summed_loss

SIZE = 28


def images(**options: object) -> Callable[[], nn.Module]:
    name = str(options.pop("name", "squeezenet_small"))
    return lambda: models.build(name, classes=3, channels=3, size=SIZE, **options)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "squeezenet": images(),
    "with batch norm": images(batch_norm=True),
    "with complex bypasses": images(bypass="complex", batch_norm=True),
    "nin": images(name="nin"),
    "alexnet": images(name="alexnet"),
    **{
        name: lambda name=name: glimpses.build(name, classes=3, channels=3, size=SIZE, hidden=8)  # type: ignore[misc]
        for name in glimpses.names()
    },
}
INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": torch.zeros_like,
    "equal": torch.ones_like,
    "huge": lambda x: x.clamp(-2, 2) * 5e29,
    "one huge": lambda x: torch.where(x > 2.5, 1e30, x),
    "denormal": lambda x: x * 1e-42,
    "repeated": lambda x: x[:1].expand(4, -1, -1, -1),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_answers_and_gradients_are_finite(
    name: str, kind: str, dtype: torch.dtype, training: bool
) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().to(dtype).train(training)
    x = INPUTS[kind](torch.randn(4, 3, SIZE, SIZE)).to(dtype).requires_grad_()
    logits_BK = network(x)
    loss = summed_loss(logits_BK, torch.tensor([0, 1, 2, 0]), label_smoothing=0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [x.grad, *(p.grad for p in network.parameters() if p.grad is not None)]
    assert loss.isfinite()
    assert logits_BK.abs().max() <= 100 * max(1.0, float(x.detach().abs().max()))
    assert all(g is not None and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 300.0])
def test_local_responses_are_normalised_as_by_pytorch(scale: float) -> None:
    x = scale * torch.randn(2, 9, 3, 3)
    torch.testing.assert_close(local_response_norm(x), pytorchs(x, 5))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_loss_is_that_of_float64(dtype: torch.dtype, scale: float, smoothing: float) -> None:
    torch.manual_seed(0)
    logits = (scale * torch.randn(5, 7)).to(dtype).requires_grad_()
    exact = logits.detach().double().requires_grad_()
    y_B = torch.arange(5)
    loss = summed_loss(logits, y_B, smoothing)
    expected = torch.nn.functional.cross_entropy(
        exact, y_B, reduction="sum", label_smoothing=smoothing
    )
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    expected.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", seq2seq.names())
def test_a_source_without_a_symbol_among_others_is_answered(name: str) -> None:
    torch.manual_seed(0)
    network = seq2seq.build(name, sources=7, targets=9, hidden=8)
    x_B2T = torch.randint(2, 7, (3, 2, 5))
    x_B2T[1] = PADDING
    logits = network(x_B2T)
    logits.square().sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
