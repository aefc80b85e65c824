"""What the scripts of this folder have in common: their options, and a stand-in for an accelerator.

The hosts of a lab share the cores of one machine. So most of what a layer takes is waited for, as for an
accelerator, and only the rest is computed.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Layer = TypeVar("Layer", bound=nn.Module)


def parse() -> argparse.Namespace:
    """The command line of a script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--eval-every", type=int, default=25, help="steps between evaluations")
    parser.add_argument("--read-ms", type=float, default=1.0, help="what reading a batch takes")
    parser.add_argument("--slow-rank", type=int, default=-1, help="whose disk is slow")
    parser.add_argument("--slow-ms", type=float, default=0.0, help="what it takes there; -1 is all")
    parser.add_argument(
        "--heavy", type=float, default=1.0, help="how many times the wide layer takes"
    )
    parser.add_argument("--on-cpu", action="store_true", help="compute layers on the CPU")
    options = parser.parse_args()
    if options.on_cpu:
        _Work.spend = staticmethod(_compute)
    return options


def read_s(options: argparse.Namespace, rank: int) -> float:
    """What reading a batch takes on this rank's disk, in seconds."""
    is_slow = options.slow_ms and options.slow_rank in (-1, rank)
    return (options.slow_ms if is_slow else options.read_ms) / 1e3


def offload(layer: Layer, forward_s: float) -> Layer:
    """The layer, whose forward pass takes so long on the accelerator, and its backward pass twice that."""
    layer.register_forward_hook(lambda _, given, out: _Work.apply(out, forward_s))
    return layer


def _compute(span_s: float) -> None:
    """Keep a CPU busy for so long, whoever else wants it."""
    until_s = time.thread_time() + span_s
    while time.thread_time() < until_s:
        pass


class _Work(torch.autograd.Function):
    spend = staticmethod(time.sleep)

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward_s: float) -> Tensor:
        ctx.backward_s = 2 * forward_s
        _Work.spend(forward_s)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        _Work.spend(ctx.backward_s)
        return gradient, None
