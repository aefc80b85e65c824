"""What computes a prediction: PyTorch, or onnxruntime over the same model as ONNX.

Axes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from firetree.modelfiles import Published, build, onnx_export

Backend = Literal["torch", "onnxruntime"]
Run = Callable[[Tensor], Tensor]
"""From x_BCHW to logits_BK, on the calling thread; several may call it at once."""

_MANY = 1000


def fastest(pictures: int) -> Backend:
    """onnxruntime where it is installed and so many pictures repay the seconds of an onnx_export."""
    needed = ("onnxruntime", "onnx", "onnxscript")
    installed = all(map(importlib.util.find_spec, needed))
    return "onnxruntime" if installed and pictures >= _MANY else "torch"


def start(backend: Backend, published: Published) -> Run:
    """The model, ready to run.

    Raises:
        UserError: the backend is not installed.
    """
    return _torch(published) if backend == "torch" else _onnxruntime(published)


def _torch(published: Published) -> Run:
    network = build(published)

    def run(x_BCHW: Tensor) -> Tensor:
        with torch.inference_mode():
            logits_BK: Tensor = network(x_BCHW)
        return logits_BK

    return run


def _onnxruntime(published: Published) -> Run:
    session = onnx_export.session(published, threads=1)

    def run(x_BCHW: Tensor) -> Tensor:
        logits_BK = session.run(None, {onnx_export.INPUT: x_BCHW.contiguous().numpy()})[0]
        return torch.from_numpy(logits_BK)

    return run
