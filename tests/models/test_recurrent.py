"""Networks that read symbols and answer."""

from __future__ import annotations

import pytest
import torch

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
