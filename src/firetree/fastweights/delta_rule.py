"""The delta rule, which corrects fast weights instead of only adding to them, by steps or by chunks.

W(t) = W(t−1) + β(t) (v(t) − W(t−1) k(t)) k(t)ᵀ, y(t) = W(t) q(t) (Schlag, Irie, Schmidhuber 2021,
equations 22 to 24). Here S = Wᵀ, so that vectors are rows.

Letters in names: B batch (heads included), T time, K features of keys, V of values; S_BKV memory,
C steps of a chunk, N chunks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

CHUNK_STEPS = 32
"""Steps in a chunk."""


def step_by_step(
    q_BTK: Tensor, k_BTK: Tensor, v_BTV: Tensor, beta_BT: Tensor, S_BKV: Tensor
) -> tuple[Tensor, Tensor]:
    """y_BTV and the memory after the last step, computed one step at a time.

    Keys have length 1, and β is from 0 to 1; a step with β = 0 does not change the memory.
    """
    outputs = []
    weighed_BTK = beta_BT[:, :, None] * k_BTK
    rows = (torch.split(x, 1, 1) for x in (q_BTK, k_BTK, v_BTV, weighed_BTK))
    for q_B1K, k_B1K, v_B1V, weighed_B1K in zip(*rows, strict=True):
        error_B1V = torch.baddbmm(v_B1V, k_B1K, S_BKV, alpha=-1)
        S_BKV = torch.baddbmm(S_BKV, weighed_B1K.transpose(1, 2), error_B1V)
        outputs.append(torch.bmm(q_B1K, S_BKV))
    return torch.cat(outputs, 1), S_BKV


def by_chunks(
    q_BTK: Tensor, k_BTK: Tensor, v_BTV: Tensor, beta_BT: Tensor, S_BKV: Tensor
) -> tuple[Tensor, Tensor]:
    """The same, `CHUNK_STEPS` steps at a time (Yang et al. 2024, arXiv 2406.06484, section 3).

    Within a chunk, with M the lower triangle and L = strict lower triangle of diag(β) K Kᵀ, the
    corrections U − W S solve (I + L) (U, W) = diag(β) (V, K) (equations 7 to 11).
    """
    _, size_T, size_K = q_BTK.shape
    steps = min(CHUNK_STEPS, size_T)
    behind = -size_T % steps

    def chunked(x_BTF: Tensor) -> Tensor:
        return torch.unflatten(pad(x_BTF, (0, 0, 0, behind)), 1, (-1, steps))

    q_BNCK, k_BNCK, v_BNCV = map(chunked, (q_BTK, k_BTK, v_BTV))
    beta_BNC1 = chunked(beta_BT[:, :, None])
    weighed_BNCK = beta_BNC1 * k_BNCK
    L_BNCC = (weighed_BNCK @ k_BNCK.transpose(2, 3)).tril(-1)
    sides_BNCF = torch.cat([beta_BNC1 * v_BNCV, weighed_BNCK], 3)
    # PyTorch's solver needs at least float32; with `unitriangular` it takes the diagonal as ones.
    exact = torch.promote_types(q_BTK.dtype, torch.float32)
    solved = torch.linalg.solve_triangular(
        L_BNCC.to(exact), sides_BNCF.to(exact), upper=False, unitriangular=True
    )
    U_BNCV, W_BNCK = solved.to(q_BTK.dtype).split([v_BTV.shape[2], size_K], 3)
    attention_BNCC = (q_BNCK @ k_BNCK.transpose(2, 3)).tril()
    outputs = []
    # `unbind`, because indexing would make a full-size gradient for each chunk.
    chunks = (x.unbind(1) for x in (q_BNCK, k_BNCK, U_BNCV, W_BNCK, attention_BNCC))
    for q_BCK, k_BCK, U_BCV, W_BCK, attention_BCC in zip(*chunks, strict=True):
        correction_BCV = torch.baddbmm(U_BCV, W_BCK, S_BKV, alpha=-1)
        outputs.append(torch.baddbmm(torch.bmm(q_BCK, S_BKV), attention_BCC, correction_BCV))
        S_BKV = torch.baddbmm(S_BKV, k_BCK.transpose(1, 2), correction_BCV)
    return torch.cat(outputs, 1)[:, :size_T], S_BKV
