"""The moving average of weights."""

from __future__ import annotations

import pytest
import torch

from firetree.fastweights import AssociativeLSTM
from firetree.models import glimpses
from firetree.training.average import moving_average


@pytest.mark.parametrize("decay", [0.9, 0.9999])
def test_floats_are_averaged_and_positions_are_kept(decay: float) -> None:
    model = torch.nn.Sequential(
        AssociativeLSTM(2, 50),
        glimpses.build("glimpses_irnn", classes=10, channels=1, size=28),
        torch.nn.BatchNorm1d(3),
    )
    average = moving_average(model, decay)
    average.update_parameters(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.data += 1
    model[2](torch.randn(4, 3))
    average.update_parameters(model)
    ours = average.module.state_dict()
    whole = 0
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(ours[name], decay * before[name] + (1 - decay) * tensor)
        else:
            whole += 1
            assert torch.equal(ours[name], tensor)
    assert whole == 3
