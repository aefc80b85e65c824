"""The attention of steps to earlier states, and its gradients.

An inner step n with guess g(n) reads Σ w (g(n)·h(τ)) h(τ) over the states before it (Ba et al. 2016,
equation 4). Let du(n) be the gradient of this sum. Then the gradient of g(n) is Σ w (du(n)·h(τ)) h(τ),
and that of h(τ) is Σ w ((du(n)·h(τ)) g(n) + (g(n)·h(τ)) du(n)) over all later n. The backward pass goes
block by block: a state's gradient from its own block is computed at its step, and the gradient from a
later block is added for all of that block's steps at once.

Letters in names: B batch, T time, S inner steps, H hidden, K steps of a block, N their inner steps,
P states up to the block's end, R rows of all guesses and then all gradients (2·N).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK_STEPS = 16

_LEAST_PRODUCTS = 400
"""For smaller matrices, torch's batched product uses a loop that is three times as slow."""


class Block:
    """Consecutive steps, and all states up to the last of them, also transposed.

    For speed each step reads all of these states, with weight 0 for those that do not precede it.

    Args:
        h_BTH: states; those not computed yet may be any finite numbers.
        weight_R: η λᵏ from k = T − 1 down to 0, then as many zeros.
        begin: the first step.
    """

    def __init__(self, h_BTH: Tensor, weight_R: Tensor, begin: int):
        size_T, size_H = h_BTH.shape[1:]
        self.begin, self.end = begin, min(begin + BLOCK_STEPS, size_T)
        self.steps = range(begin, self.end)
        size_P = min(max(self.end, -(-_LEAST_PRODUCTS // size_H)), size_T)
        self.past_BPH = h_BTH.narrow(1, 0, size_P)
        self.past_BHP = self.past_BPH.transpose(1, 2)
        rows = weight_R.unfold(0, size_P, 1).narrow(0, size_T - self.end + 1, len(self.steps))
        self.weight_KP = rows.flip(0)
        self._weights = self.weight_KP.unbind()

    def shares(self, t: int, x_BH: Tensor) -> Tensor:
        """w (x·h) of each state that step t reads, (B, 1, P)."""
        weight_P = self._weights[t - self.begin]
        return torch.bmm(x_BH.unsqueeze(1), self.past_BHP).mul_(weight_P)


def blocks(h_BTH: Tensor, weight_T: Tensor, last_first: bool = False) -> Iterator[Block]:
    """The blocks of all steps, in order or reversed; `weight_T` is η λᵏ for k from 0."""
    size_T = len(weight_T)
    weight_R = pad(weight_T.flip(0), (0, size_T))
    begins = range(0, size_T, BLOCK_STEPS)
    for begin in reversed(begins) if last_first else begins:
        yield Block(h_BTH, weight_R, begin)


class BlockGradients:
    """Gradients of a block's attention; its steps are processed in reverse.

    Args:
        block: a block with all of its states computed.
        guess_KSBH: the guess of each inner step.
    """

    def __init__(self, block: Block, guess_KSBH: Tensor):
        size_K, self._inner_steps, size_B, size_H = guess_KSBH.shape
        size_N = size_K * self._inner_steps
        self._block = block
        self._row_BRH = guess_KSBH.new_zeros(size_B, 2 * size_N, size_H)
        self._guess_BNH, self._du_BNH = self._row_BRH.chunk(2, 1)
        self._guess_BNH.copy_(guess_KSBH.flatten(0, 1).transpose(0, 1))
        self._dus = self._du_BNH.unbind(1)
        # The factor of each row in the gradients of the block's states: w du·h for guesses, w g·h for du.
        share_BRK = guess_KSBH.new_zeros(size_B, 2 * size_N, size_K)
        by_guess_BNK, by_du_BNK = share_BRK.chunk(2, 1)
        self._weight_NP = block.weight_KP.repeat_interleave(self._inner_steps, 0)
        own_NK = self._weight_NP.narrow(1, block.begin, size_K)
        h_BHK = block.past_BHP.narrow(2, block.begin, size_K)
        torch.mul(torch.bmm(self._guess_BNH, h_BHK), own_NK, out=by_du_BNK)
        self._by_guess = torch.split(by_guess_BNK, 1, 1)
        self._shares = torch.split(share_BRK.transpose(1, 2), 1, 1)

    def of_guess(self, t: int, s: int, du_BH: Tensor) -> Tensor:
        """The gradient of the guess of inner step s of step t, from the gradient of its read."""
        block = self._block
        n = (t - block.begin) * self._inner_steps + s
        self._dus[n].copy_(du_BH)
        if not t:
            return torch.zeros_like(du_BH)
        share_B1P = block.shares(t, du_BH)
        self._by_guess[n].copy_(share_B1P.narrow(2, block.begin, len(block.steps)))
        return torch.bmm(share_B1P, block.past_BPH).squeeze(1)

    def of_state(self, t: int) -> Tensor:
        """The gradient of h(t) from the later steps of the block, which must be done."""
        return torch.bmm(self._shares[t - self._block.begin], self._row_BRH).squeeze(1)

    def add_to_earlier(self, dh_BTH: Tensor) -> None:
        """Add the gradients of the states before the block, once all of its steps are done."""
        begin, size_N = self._block.begin, self._du_BNH.shape[1]
        if not begin:
            return
        h_BPH = self._block.past_BPH[:, :begin]
        share_BPR = torch.bmm(h_BPH, self._row_BRH.transpose(1, 2)).roll(size_N, 2)
        share_BPR.mul_(self._weight_NP[:, :begin].t().repeat(1, 2))
        dh_BTH[:, :begin] += torch.bmm(share_BPR, self._row_BRH)

    def add_to_weights(self, dweight_T: Tensor) -> None:
        """Add the gradients of η λᵏ, once all steps of the block are done."""
        block = self._block
        by_guess_BNP, by_du_BNP = torch.bmm(self._row_BRH, block.past_BHP).chunk(2, 1)
        dweight_NP = (by_guess_BNP * by_du_BNP).sum(0)
        for n, dweight_P in enumerate(dweight_NP.unbind()):
            t = block.begin + n // self._inner_steps
            dweight_T[:t] += dweight_P[:t].flip(0)

    def of_memory(self, fades: Sequence[float]) -> Tensor:
        """The gradient of the initial fast weights, which each step reads multiplied by its `fades`."""
        own = fades[self._block.begin : self._block.end]
        faded_N = self._du_BNH.new_tensor(own).repeat_interleave(self._inner_steps)
        return torch.bmm((self._du_BNH * faded_N[:, None]).transpose(1, 2), self._guess_BNH)
