"""How much answers change when one layer alone is pruned (Han et al. 2015, figure 6)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from firetree.deep_compression.calibrate import check_answers
from firetree.deep_compression.images import CALIBRATION_IMAGES, inputs_of, read_images
from firetree.modelfiles import Model, as_model
from firetree.models.pruning import largest
from firetree.progress import Progress, log
from firetree.shown import Shown

DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)


@dataclass(frozen=True, slots=True)
class Curve:
    """A layer, and what each of `DENSITIES` does to the answer."""

    name: str
    weights: int
    nats: tuple[float, ...]
    """Kullback–Leibler divergence from the unpruned answer, as the mean over images."""
    agreement: tuple[float, ...]
    """The share of images whose most probable class stays, 0 to 1."""


@dataclass(frozen=True, slots=True, repr=False)
class Scan(Shown):
    """What pruning each layer alone does to a model's answers."""

    network: str
    images: int
    curves: tuple[Curve, ...]

    def __repr__(self) -> str:
        return f"Scan({self.network}, {len(self.curves)} layers, {self.images} images)"


def scan(model: Model | str | Path, images: str | Path, *, progress: Progress = log) -> Scan:
    """Prune one layer after the other, and compare the answers with the unpruned model's.

    Args:
        model: as `load_model` takes it, or a model.
        images: such as the model will see, without labels: a tar or folder of classes, or a parquet.
        progress: hears which layer's turn it is.

    Raises:
        UserError: the model or the images cannot be read, or an answer is not finite.

    Example:
        >>> firetree.scan("net.safetensors", "photographs/").curves[0].nats
        (...)
    """
    model = as_model(model, progress)
    stored = read_images(images, progress)
    x_BCHW = inputs_of(model.preprocessing, stored, CALIBRATION_IMAGES, 0, progress)
    return Scan(model.network, len(x_BCHW), scan_layers(model, x_BCHW, progress))


@torch.inference_mode()
def scan_layers(model: Model, x_BCHW: Tensor, progress: Progress) -> tuple[Curve, ...]:
    """Prune each layer's smallest weights and restore them, one layer after the other.

    Raises:
        UserError: an answer that is not finite.
    """
    network = model.build()
    logits_BK = network(x_BCHW)
    check_answers(model, logits_BK)
    before_BK = logits_BK.log_softmax(1)
    curves = []
    for name, parameter in network.named_parameters():
        if parameter.dim() < 2:
            continue
        progress(name)
        whole = parameter.clone()
        changes = []
        for density in DENSITIES:
            parameter.copy_(torch.where(largest([whole], density)[0], whole, 0.0))
            after_BK = network(x_BCHW).log_softmax(1)
            nats = F.kl_div(after_BK, before_BK, reduction="batchmean", log_target=True)
            same = (before_BK.argmax(1) == after_BK.argmax(1)).float().mean()
            changes.append((float(nats), float(same)))
        parameter.copy_(whole)
        divergence, agreement = zip(*changes, strict=True)
        curves.append(Curve(name, whole.numel(), divergence, agreement))
    return tuple(curves)
