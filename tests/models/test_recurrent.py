"""Networks that read symbols and answer."""

from __future__ import annotations

import pytest
import torch

from firetree.errors import UserError
from firetree.models import glimpses, recurrent


@pytest.mark.parametrize("name", recurrent.names())
def test_it_is_trained_in_bfloat16_too(name: str) -> None:
    torch.manual_seed(0)
    reader = recurrent.build(name, symbols=9, classes=5, each_step=True, hidden=12)
    looker = glimpses.build(f"glimpses_{name}", classes=5, channels=1, size=28, hidden=12)
    for network, x in (
        (reader, torch.randint(9, (4, 7))),
        (looker, torch.rand(4, 1, 28, 28)),
    ):
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x)
        logits.float().sum().backward()
        torch.testing.assert_close(logits.float(), network(x), rtol=0.1, atol=0.1)


def test_first_embeddings_are_as_large_as_said() -> None:
    def first(**fields: float) -> torch.Tensor:
        torch.manual_seed(0)
        network = recurrent.build("lstm", symbols=37, classes=5, each_step=False, **fields)
        return network.embedding.weight

    torch.testing.assert_close(first(embedding_scale=0.1), 0.1 * first())
    torch.testing.assert_close(first().std(), torch.tensor(1.0), rtol=0.05, atol=0)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_cannot_be_is_refused(scale: float) -> None:
    with pytest.raises(UserError, match=f"embedding_scale = {scale}; expected a number above 0"):
        recurrent.build("gru", symbols=9, classes=5, each_step=True, embedding_scale=scale)
