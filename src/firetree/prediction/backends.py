"""Run a model by PyTorch, or by onnxruntime as ONNX.

Axes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from firetree.errors import ArgumentError
from firetree.modelfiles import Model, onnx_export

Backend = Literal["torch", "onnxruntime"]
Inference = Callable[[Tensor], Tensor]
"""From x_BCHW to logits_BK, on the calling thread; several may call it at once."""

_MANY = 1000


def fastest(images: int) -> Backend:
    """onnxruntime where it is installed and there are enough images to repay an export's seconds."""
    needed = ("onnxruntime", "onnx", "onnxscript")
    installed = all(map(importlib.util.find_spec, needed))
    return "onnxruntime" if installed and images >= _MANY else "torch"


def start(backend: Backend, model: Model) -> Inference:
    """The model, ready to run.

    Raises:
        UserError: the backend is unknown or not installed.
    """
    if backend not in get_args(Backend):
        raise ArgumentError("backend", f"is {backend}; expected {' or '.join(get_args(Backend))}")
    return _torch(model) if backend == "torch" else _onnxruntime(model)


def _torch(model: Model) -> Inference:
    network = model.build()

    def run(x_BCHW: Tensor) -> Tensor:
        with torch.inference_mode():
            logits_BK: Tensor = network(x_BCHW)
        return logits_BK

    return run


def _onnxruntime(model: Model) -> Inference:
    session = onnx_export.session(model, threads=1)

    def run(x_BCHW: Tensor) -> Tensor:
        logits_BK = session.run(None, {onnx_export.INPUT: x_BCHW.contiguous().numpy()})[0]
        return torch.from_numpy(logits_BK)

    return run
