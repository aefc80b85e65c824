"""How far the answer departs when one layer alone is pruned (Han et al. 2015, figure 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from firetree import tables
from firetree.deep_compression.calibrate import check_answers
from firetree.modelfiles import Published, build
from firetree.models.pruning import largest

DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)


@dataclass(frozen=True, slots=True)
class Curve:
    """A layer, and what each of `DENSITIES` does to the answer."""

    name: str
    weights: int
    nats: tuple[float, ...]
    """From the unpruned answer (Kullback and Leibler's divergence), mean of the pictures."""
    agreement: tuple[float, ...]
    """The share of pictures whose most probable class stays, 0 to 1."""


@torch.inference_mode()
def scan_layers(published: Published, x_BCHW: Tensor, tell: Callable[[str], None]) -> list[Curve]:
    """Prune each layer's smallest weights and restore them, one layer after the other.

    Raises:
        UserError: an answer that is not finite.
    """
    network = build(published)
    logits_BK = network(x_BCHW)
    check_answers(published, logits_BK)
    before_BK = logits_BK.log_softmax(1)
    curves = []
    for name, parameter in network.named_parameters():
        if parameter.dim() < 2:
            continue
        tell(f"{name} …")
        whole = parameter.clone()
        found = []
        for density in DENSITIES:
            parameter.copy_(torch.where(largest([whole], density)[0], whole, 0.0))
            found.append(_departed(before_BK, network(x_BCHW).log_softmax(1)))
        parameter.copy_(whole)
        nats, agreement = zip(*found, strict=True)
        curves.append(Curve(name, whole.numel(), nats, agreement))
    return curves


def _departed(before_BK: Tensor, after_BK: Tensor) -> tuple[float, float]:
    nats = F.kl_div(after_BK, before_BK, reduction="batchmean", log_target=True)
    same = (before_BK.argmax(1) == after_BK.argmax(1)).float().mean()
    return float(nats), float(same)


def as_text(curves: Sequence[Curve]) -> str:
    """A line a layer: the nats at each density."""
    rows = [
        (curve.name, f"{curve.weights:,}", *(f"{nats:.3f}" for nats in curve.nats))
        for curve in curves
    ]
    headings = ("layer", "weights", *(f"{density:.0%}" for density in DENSITIES))
    return tables.as_text(headings, rows, left=("layer",))
