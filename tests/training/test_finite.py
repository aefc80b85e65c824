"""Where a number that is not finite began."""

from __future__ import annotations

import torch
from torch import nn

from firetree.training.finite import first_layer


class Root(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sqrt()


def test_the_first_layer_that_gives_no_number_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(Root(), nn.ReLU()), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(-1.0)
    assert first_layer(model, torch.ones(2, 3)) == "1.0"
    with torch.no_grad():
        model[0].bias.fill_(1.0)
    assert first_layer(model, torch.ones(2, 3)) is None


def test_infinite_weights_are_found_in_their_own_layer() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    with torch.no_grad():
        model[1].bias.fill_(torch.inf)
    assert first_layer(model, torch.ones(2, 3)) == "1"
