"""A plain recurrent net, initialised to the identity (Le, Jaitly, Hinton 2015)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_SPREAD = 0.001
"""Standard deviation of the initial input weights (Le et al. 2015, section 4)."""


class IRNN(nn.RNN):
    """torch.nn.RNN with ReLU, initialised so that it keeps its state; its arguments are those of nn.RNN.

    W is the identity, biases are 0, and C is Gaussian with a standard deviation of 0.001.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Any):
        super().__init__(input_size, hidden_size, num_layers, nonlinearity="relu", **options)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the weights again."""
        for name, parameter in self.named_parameters():
            if name.startswith("weight_hh"):
                nn.init.eye_(parameter)
            elif name.startswith("weight"):
                parameter.normal_(std=_SPREAD)
            else:
                parameter.zero_()
