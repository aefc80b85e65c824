"""First weights of the networks without a bypass."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn


@torch.no_grad()
def initialise(network: nn.Module, classifiers: Collection[nn.Module]) -> None:
    """He's first weights (He et al. 2015, arXiv 1502.01852), small ones in the last layers.

    The papers drew from fixed normal distributions; of these VGG's 16 and 19 layers did not learn
    from scratch (Simonyan and Zisserman's section 3.1).

    Args:
        classifiers: layers that give logits. A standard deviation of 0.01 starts them near 0, so
            that the first loss is that of a guess.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if module in classifiers:
                nn.init.normal_(module.weight, std=0.01)
            else:
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
