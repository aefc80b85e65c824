"""The recurrence of `recurrence.py` in compiled code, if numba is installed.

The loops are in `kernels.py`. Threads process tiles of the batch in parallel. Here too, no step's fast
weights are stored.

Letters in names: B batch, T time, S inner steps, R a step's sums that are normalised, H hidden, N
tiles, L lanes, the sequences of a tile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from firetree.fastweights.recurrence import Rule, slow_weight_gradients
from firetree.torch_private import never_compiled

LANES = 16, 64
"""Least and most lanes: short rows pay for each loop's start, long ones do not fit the cache."""


@never_compiled
def takes(drive_BTH: Tensor) -> bool:
    """Whether `stretch` applies: float32 or float64 on the CPU, in training, with numba installed.

    Loading numba takes two seconds, too long for one prediction of a trained net.
    """
    numbers = drive_BTH.device.type == "cpu" and drive_BTH.dtype in (torch.float32, torch.float64)
    return numbers and drive_BTH.requires_grad and _kernels() is not None


@never_compiled
def stretch(rule: Rule, *tensors: Tensor | None) -> Tensor:
    """The same as `recurrence.stretch`."""
    h_BTH: Tensor = _Compiled.apply(rule, *tensors)  # type: ignore[no-untyped-call]
    return h_BTH


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rule: Rule, *tensors: Tensor | None) -> Tensor:
        given = [tensor.contiguous() for tensor in tensors if tensor is not None]
        drive_BTH, W_HH, gain_H, _, fade_T, weight_T, h_BH, *begun = given
        A_BHH = begun[0] if begun else drive_BTH.new_empty(0, *W_HH.shape)
        size_B, size_T, size_H = drive_BTH.shape
        size_N, size_L = _tiles(size_B)
        out_BTH = torch.empty_like(drive_BTH)
        kept = (
            drive_BTH.new_empty(size_N, size_T + 1, size_H, size_L),
            drive_BTH.new_empty(size_N, size_T, rule.normal_sums, size_H, size_L),
            drive_BTH.new_empty(size_N, size_T, rule.normal_sums, size_L),
            drive_BTH.new_empty(size_N, size_T, rule.inner_steps, size_H, size_L),
        )
        _each(size_N, _kernels().forward, rule.relu, *_arrays(*given[:7], A_BHH, out_BTH, *kept))
        ctx.rule = rule
        ctx.save_for_backward(W_HH, gain_H, fade_T, weight_T, h_BH, A_BHH, out_BTH, *kept)
        return out_BTH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout_BTH: Tensor) -> tuple[Tensor | None, ...]:
        W_HH, gain_H, fade_T, weight_T, h_BH, A_BHH, h_BTH, *kept = ctx.saved_tensors
        size_N, size_H, size_T = len(kept[0]), len(gain_H), len(fade_T)
        dz_BTH, dA_BHH = torch.empty_like(h_BTH), torch.zeros_like(A_BHH)
        of_tiles = *gain_H.new_zeros(2, size_N, size_H), *gain_H.new_zeros(2, size_N, size_T)
        given = dout_BTH.contiguous(), W_HH.t().contiguous(), gain_H, fade_T, weight_T, A_BHH
        arrays = _arrays(*given, *kept, dz_BTH, *of_tiles, dA_BHH)
        _each(size_N, _kernels().backward, ctx.rule.relu, *arrays)
        dW_HH, dh_BH = slow_weight_gradients(dz_BTH, W_HH, h_BH, h_BTH)
        dA = dA_BHH if ctx.needs_input_grad[8] else None
        return None, dz_BTH, dW_HH, *(each.sum(0) for each in of_tiles), dh_BH, dA


@cache
def _kernels() -> Any:
    """The compiled loops; None without numba, an extra: `pip install firetree[fast]`."""
    try:
        from firetree.fastweights import kernels
    except (
        ImportError,
        RuntimeError,
    ):  # numba is missing, rejects this NumPy, or cannot write its cache
        return None
    return kernels


def _tiles(size_B: int) -> tuple[int, int]:
    """The number of tiles, at least one a thread if rows stay long enough, and the lanes of each."""
    least, most = LANES
    threads = torch.get_num_threads()
    size_L = -(-size_B // max(-(-size_B // most), min(threads, -(-size_B // least))))
    return -(-size_B // size_L), size_L


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


def _each(size_N: int, kernel: Callable[..., None], *arguments: Any) -> None:
    """Call a kernel for every tile, with as many threads as PyTorch may use."""
    threads = min(torch.get_num_threads(), size_N)
    if threads == 1:
        for tile in range(size_N):
            kernel(tile, *arguments)
    else:
        pool = _threads(threads, os.getpid())
        list(pool.map(lambda tile: kernel(tile, *arguments), range(size_N)))


@cache
def _threads(count: int, process_id: int) -> ThreadPoolExecutor:
    """A thread pool for each process, as a fork does not inherit its parent's threads."""
    return ThreadPoolExecutor(count, "fast-weights")
