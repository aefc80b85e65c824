"""A plain recurrent net that begins as the identity (Le, Jaitly, Hinton 2015)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_SPREAD = 0.001
"""Deviation of the initial weights from input to state (Le et al. 2015, section 4)."""


class IRNN(nn.RNN):
    """torch.nn.RNN of rectified units whose state keeps itself at first; arguments as for it.

    W is the identity, biases are 0 and C is drawn from a Gaussian of deviation 0.001 (Le et al. 2015).
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Any):
        super().__init__(input_size, hidden_size, num_layers, nonlinearity="relu", **options)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Put the initial weights back."""
        for name, parameter in self.named_parameters():
            if name.startswith("weight_hh"):
                nn.init.eye_(parameter)
            elif name.startswith("weight"):
                parameter.normal_(std=_SPREAD)
            else:
                parameter.zero_()
