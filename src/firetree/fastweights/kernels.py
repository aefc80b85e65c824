"""The loops of `compiled.py` over one tile of a batch, which numba compiles for this CPU.

The sequences of a tile are the last axis of every array here. So each step consists of vector operations
on long rows, whatever the layer's size. Equations and names are those of `recurrence.py`.

Letters in names: B batch, T time, S inner steps, R a step's sums that are normalised, H hidden, N
tiles, L lanes, the sequences of a tile; P states before a step.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from firetree.fastweights.recurrence import EPSILON

Array = NDArray[Any]

# Sums may be reordered, but NaN and infinity must propagate, so not all of fastmath is on.
_compiled = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"}
)


@_compiled
def forward(
    tile: int,
    relu: bool,
    drive_BTH: Array,
    W_HH: Array,
    gain_H: Array,
    bias_H: Array,
    fade_T: Array,
    weight_T: Array,
    h_BH: Array,
    A_BHH: Array,
    out_BTH: Array,
    h_NTHL: Array,
    normal_NTRHL: Array,
    scale_NTRL: Array,
    guess_NTSHL: Array,
) -> None:
    """Compute one tile's states into `out_BTH`, and what `backward` needs into the arrays after it.

    `h_NTHL` has T + 1 steps, from the state before the first. `A_BHH` has B = 0 if there are no fast
    weights at the beginning.
    """
    h_THL, guess_TSHL = h_NTHL[tile], guess_NTSHL[tile]
    size_T, size_S, size_H, size_L = guess_TSHL.shape
    first_normal = size_S + 1 - normal_NTRHL.shape[2]
    begin, end = tile * size_L, min(tile * size_L + size_L, len(drive_BTH))
    z_HL = np.empty((size_H, size_L), drive_BTH.dtype)
    u_HL = np.empty_like(z_HL)
    share_PL = np.empty((size_T, size_L), drive_BTH.dtype)
    _load(h_THL[0], h_BH, begin, end)
    for t in range(size_T):
        _load(z_HL, drive_BTH[:, t], begin, end)
        _add_product(z_HL, W_HH, h_THL[t])
        for s in range(size_S + 1):
            for i in range(size_H):
                for lane in range(size_L):
                    u_HL[i, lane] = z_HL[i, lane]
            if s:
                guess_HL, past_PHL = guess_TSHL[t, s - 1], h_THL[1 : t + 1]
                _dots(share_PL, guess_HL, past_PHL)
                for p in range(t):
                    share_L, h_HL = share_PL[p], past_PHL[p]
                    for lane in range(size_L):
                        share_L[lane] *= weight_T[t - 1 - p]
                    for i in range(size_H):
                        for lane in range(size_L):
                            u_HL[i, lane] += share_L[lane] * h_HL[i, lane]
                if len(A_BHH):
                    for b in range(begin, end):
                        lane = b - begin
                        _read(u_HL[:, lane], A_BHH[b], guess_HL[:, lane], fade_T[t])
            if s >= first_normal:
                r = s - first_normal
                _normalise(u_HL, gain_H, bias_H, normal_NTRHL[tile, t, r], scale_NTRL[tile, t, r])
            _activate(h_THL[t + 1] if s == size_S else guess_TSHL[t, s], u_HL, relu)
        _store(out_BTH[:, t], h_THL[t + 1], begin, end)


@_compiled
def backward(
    tile: int,
    relu: bool,
    dout_BTH: Array,
    W_t: Array,
    gain_H: Array,
    fade_T: Array,
    weight_T: Array,
    A_BHH: Array,
    h_NTHL: Array,
    normal_NTRHL: Array,
    scale_NTRL: Array,
    guess_NTSHL: Array,
    dz_BTH: Array,
    dgain_NH: Array,
    dbias_NH: Array,
    dfade_NT: Array,
    dweight_NT: Array,
    dA_BHH: Array,
) -> None:
    """Compute one tile's gradients from those of its states; all but `dz_BTH` are accumulated."""
    h_THL, guess_TSHL = h_NTHL[tile], guess_NTSHL[tile]
    size_T, size_S, size_H, size_L = guess_TSHL.shape
    first_normal = size_S + 1 - normal_NTRHL.shape[2]
    begin, end = tile * size_L, min(tile * size_L + size_L, len(dout_BTH))
    zero = dout_BTH.dtype.type(0)
    dh_THL = np.zeros((size_T, size_H, size_L), dout_BTH.dtype)
    # Lanes without a sequence stay 0.
    dh_HL, du_HL, dz_HL = np.zeros_like(dh_THL[0]), np.empty_like(dh_THL[0]), dh_THL[0].copy()
    by_du_PL = np.empty((size_T, size_L), dout_BTH.dtype)
    by_guess_PL = np.empty_like(by_du_PL)
    for t in range(size_T - 1, -1, -1):
        _load(dh_HL, dout_BTH[:, t], begin, end)
        for i in range(size_H):
            for lane in range(size_L):
                dh_HL[i, lane] += dh_THL[t, i, lane]
                dz_HL[i, lane] = 0
        for s in range(size_S, -1, -1):
            h_HL = h_THL[t + 1] if s == size_S else guess_TSHL[t, s]
            _through_activation(du_HL, dh_HL, h_HL, relu)
            if s >= first_normal:
                r = s - first_normal
                normal_HL, scale_L = normal_NTRHL[tile, t, r], scale_NTRL[tile, t, r]
                _through_normal(du_HL, gain_H, normal_HL, scale_L, dgain_NH[tile], dbias_NH[tile])
            for i in range(size_H):
                for lane in range(size_L):
                    dz_HL[i, lane] += du_HL[i, lane]
                    dh_HL[i, lane] = 0
            if s:
                guess_HL, past_PHL = guess_TSHL[t, s - 1], h_THL[1 : t + 1]
                _dots(by_du_PL, du_HL, past_PHL)
                _dots(by_guess_PL, guess_HL, past_PHL)
                for p in range(t):
                    h_HL, by_du_L, by_guess_L = past_PHL[p], by_du_PL[p], by_guess_PL[p]
                    weight, dweight = weight_T[t - 1 - p], zero
                    for lane in range(size_L):
                        dweight += by_du_L[lane] * by_guess_L[lane]
                        by_du_L[lane] *= weight
                        by_guess_L[lane] *= weight
                    dweight_NT[tile, t - 1 - p] += dweight
                    for i in range(size_H):
                        for lane in range(size_L):
                            dh_HL[i, lane] += by_du_L[lane] * h_HL[i, lane]
                            dh_THL[p, i, lane] += (
                                by_du_L[lane] * guess_HL[i, lane]
                                + by_guess_L[lane] * du_HL[i, lane]
                            )
                if len(A_BHH):
                    for b in range(begin, end):
                        lane = b - begin
                        dfade_NT[tile, t] += _through_read(
                            dh_HL[:, lane],
                            du_HL[:, lane],
                            A_BHH[b],
                            guess_HL[:, lane],
                            fade_T[t],
                            dA_BHH[b],
                        )
        _store(dz_BTH[:, t], dz_HL, begin, end)
        if t:
            _add_product(dh_THL[t - 1], W_t, dz_HL)


@_compiled
def _load(x_HL: Array, x_BH: Array, begin: int, end: int) -> None:
    for b in range(begin, end):
        for i in range(x_HL.shape[0]):
            x_HL[i, b - begin] = x_BH[b, i]
    for lane in range(end - begin, x_HL.shape[1]):
        for i in range(x_HL.shape[0]):
            x_HL[i, lane] = 0


@_compiled
def _store(x_BH: Array, x_HL: Array, begin: int, end: int) -> None:
    for b in range(begin, end):
        for i in range(x_HL.shape[0]):
            x_BH[b, i] = x_HL[i, b - begin]


@_compiled
def _read(u_H: Array, A_HH: Array, x_H: Array, fade: float) -> None:
    """Add fade · A x to u, for one sequence and the fast weights of the beginning."""
    row_H = x_H.copy()
    for i in range(len(u_H)):
        total = u_H.dtype.type(0)
        for j in range(len(row_H)):
            total += A_HH[i, j] * row_H[j]
        u_H[i] += fade * total


@_compiled
def _through_read(
    dx_H: Array, du_H: Array, A_HH: Array, x_H: Array, fade: float, dA_HH: Array
) -> float:
    """The backward pass of `_read`: add the gradients of x and A, and return that of the fading."""
    row_H, by_A_H = x_H.copy(), np.zeros_like(x_H)
    for i in range(len(du_H)):
        du = du_H[i]
        for j in range(len(row_H)):
            by_A_H[j] += A_HH[i, j] * du
            dA_HH[i, j] += fade * du * row_H[j]
    dfade: float = du_H.dtype.type(0)
    for j in range(len(row_H)):
        dx_H[j] += fade * by_A_H[j]
        dfade += by_A_H[j] * row_H[j]
    return dfade


@_compiled
def _add_product(y_HL: Array, W_HH: Array, x_HL: Array) -> None:
    """Add W x to y, eight columns at once, so that y is read and written eight times less often."""
    whole = W_HH.shape[1] // 8 * 8
    for i in range(W_HH.shape[0]):
        W_H, y_L = W_HH[i], y_HL[i]
        for j in range(0, whole, 8):
            for lane in range(len(y_L)):
                y_L[lane] += (
                    W_H[j] * x_HL[j, lane]
                    + W_H[j + 1] * x_HL[j + 1, lane]
                    + W_H[j + 2] * x_HL[j + 2, lane]
                    + W_H[j + 3] * x_HL[j + 3, lane]
                    + W_H[j + 4] * x_HL[j + 4, lane]
                    + W_H[j + 5] * x_HL[j + 5, lane]
                    + W_H[j + 6] * x_HL[j + 6, lane]
                    + W_H[j + 7] * x_HL[j + 7, lane]
                )
        for j in range(whole, W_HH.shape[1]):
            for lane in range(len(y_L)):
                y_L[lane] += W_H[j] * x_HL[j, lane]


@_compiled
def _dots(share_PL: Array, x_HL: Array, past_PHL: Array) -> None:
    """x·h of each earlier state, four rows at once for the same reason."""
    size_P, size_H, size_L = past_PHL.shape
    whole = size_H // 4 * 4
    for p in range(size_P):
        share_L, h_HL = share_PL[p], past_PHL[p]
        for lane in range(size_L):
            share_L[lane] = 0
        for i in range(0, whole, 4):
            for lane in range(size_L):
                share_L[lane] += (
                    x_HL[i, lane] * h_HL[i, lane]
                    + x_HL[i + 1, lane] * h_HL[i + 1, lane]
                    + x_HL[i + 2, lane] * h_HL[i + 2, lane]
                    + x_HL[i + 3, lane] * h_HL[i + 3, lane]
                )
        for i in range(whole, size_H):
            for lane in range(size_L):
                share_L[lane] += x_HL[i, lane] * h_HL[i, lane]


@_compiled
def _normalise(u_HL: Array, gain_H: Array, bias_H: Array, normal_HL: Array, scale_L: Array) -> None:
    """Layer normalisation of u in place; also stores the normalised values and the scale."""
    size_H, size_L = u_HL.shape
    one, each = u_HL.dtype.type(1), u_HL.dtype.type(1 / size_H)
    mean_L = np.zeros(size_L, u_HL.dtype)
    for i in range(size_H):
        for lane in range(size_L):
            mean_L[lane] += each * u_HL[i, lane]
    for lane in range(size_L):
        scale_L[lane] = EPSILON
    for i in range(size_H):
        for lane in range(size_L):
            normal_HL[i, lane] = u_HL[i, lane] - mean_L[lane]
            scale_L[lane] += each * normal_HL[i, lane] * normal_HL[i, lane]
    for lane in range(size_L):
        scale_L[lane] = one / np.sqrt(scale_L[lane])
    for i in range(size_H):
        for lane in range(size_L):
            normal_HL[i, lane] *= scale_L[lane]
            u_HL[i, lane] = gain_H[i] * normal_HL[i, lane] + bias_H[i]


@_compiled
def _through_normal(
    du_HL: Array,
    gain_H: Array,
    normal_HL: Array,
    scale_L: Array,
    dgain_H: Array,
    dbias_H: Array,
) -> None:
    """The backward pass of layer normalisation, in place; adds the gradients of gain and bias."""
    size_H, size_L = du_HL.shape
    zero, each = du_HL.dtype.type(0), du_HL.dtype.type(1 / size_H)
    mean_L, along_L = np.zeros(size_L, du_HL.dtype), np.zeros(size_L, du_HL.dtype)
    for i in range(size_H):
        dgain, dbias = zero, zero
        for lane in range(size_L):
            normal, dv = normal_HL[i, lane], du_HL[i, lane]
            dgain += dv * normal
            dbias += dv
            du = each * gain_H[i] * dv
            mean_L[lane] += du
            along_L[lane] += du * normal
        dgain_H[i] += dgain
        dbias_H[i] += dbias
    for i in range(size_H):
        for lane in range(size_L):
            du = gain_H[i] * du_HL[i, lane] - mean_L[lane] - normal_HL[i, lane] * along_L[lane]
            du_HL[i, lane] = scale_L[lane] * du


@_compiled
def _activate(h_HL: Array, u_HL: Array, relu: bool) -> None:
    zero = u_HL.dtype.type(0)
    for i in range(h_HL.shape[0]):
        for lane in range(h_HL.shape[1]):
            u = u_HL[i, lane]
            # NaN is not below 0, so it propagates.
            h_HL[i, lane] = (zero if u < zero else u) if relu else np.tanh(u)


@_compiled
def _through_activation(du_HL: Array, dh_HL: Array, h_HL: Array, relu: bool) -> None:
    zero, one = h_HL.dtype.type(0), h_HL.dtype.type(1)
    for i in range(h_HL.shape[0]):
        for lane in range(h_HL.shape[1]):
            h, dh = h_HL[i, lane], dh_HL[i, lane]
            du_HL[i, lane] = (zero if h <= zero else dh) if relu else dh * (one - h * h)
