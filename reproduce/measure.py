"""What the scripts about small files measure alike: a model's accuracy, and the bytes of pruned floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from firetree.modelfiles import Published
from firetree.prediction.answer import predict
from firetree.prediction.backends import Run, start
from firetree.prediction.pictures import Picture


def accuracy(
    published: Published, pictures: Sequence[Picture], run: Run | None = None
) -> tuple[float, float]:
    """Top-1 and top-5 in percent, of the model or of another that answers for it."""
    answering = run or start("torch", published)
    found = predict(answering, published.preprocessing, published.class_names, pictures)
    return 100 * found.top(1), 100 * found.top(5)


def pruned_bytes(state: Mapping[str, Tensor]) -> int:
    """Of safetensors with the weights that are not zero, and a bit for each weight that says where."""
    held = {}
    for name, tensor in state.items():
        held[name] = tensor
        if tensor.dim() > 1:
            held[name] = tensor[tensor != 0]
            held[f"{name}.mask"] = torch.from_numpy(np.packbits((tensor != 0).numpy()))
    return len(save(held))
