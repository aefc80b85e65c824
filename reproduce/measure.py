"""What the scripts about small files measure alike: a model's accuracy, and the bytes of pruned floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from firetree.modelfiles import Model
from firetree.prediction.backends import Inference, start
from firetree.prediction.classification import classify, image_scores
from firetree.prediction.images import ImageInput


def accuracy(
    model: Model, images: Sequence[ImageInput], run: Inference | None = None
) -> tuple[float, float]:
    """Top-1 and top-5 in percent, of the model or of another that answers for it."""
    answering = run or start("torch", model)
    found = classify(answering, model.preprocessing, model.class_names, images)
    scores = image_scores(found, duration_s=0.0)
    return scores.top1_percent, scores.top5_percent


def pruned_bytes(state: Mapping[str, Tensor]) -> int:
    """Of safetensors with the weights that are not zero, and a bit for each weight that says where."""
    held = {}
    for name, tensor in state.items():
        held[name] = tensor
        if tensor.dim() > 1:
            held[name] = tensor[tensor != 0]
            held[f"{name}.mask"] = torch.from_numpy(np.packbits((tensor != 0).numpy()))
    return len(save(held))
