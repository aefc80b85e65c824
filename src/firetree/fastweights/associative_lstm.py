"""An LSTM whose cell is a store of pairs of complex vectors (Danihelka et al. 2016).

Letters in names: B batch, T time, I input features, H hidden, L layers, K complex numbers (H / 2),
C copies of the store, Z (2, K): their real and imaginary parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from firetree.errors import UserError
from firetree.fastweights.norms import within_unit_circle
from firetree.fastweights.sequences import SequenceLayers, check_state, last_steps


class AssociativeState(NamedTuple):
    """Outputs and stores after a step: h_LBH, and c_LBCZ as (L, B, C, 2, K)."""

    h_LBH: Tensor
    c_LBCZ: Tensor


class AssociativeLSTM(SequenceLayers[AssociativeState]):
    """An LSTM that stores values under complex keys, in redundant copies (Danihelka et al. 2016, §4).

    Gates are as in an LSTM. Multiplying by a complex key of length at most 1 stores and reads a value.

    Args:
        input_size, hidden_size, num_layers, batch_first, dropout, device, dtype: as for torch.nn.LSTM;
            the hidden size is even, one half real and the other imaginary parts.
        copies: of the store, each with its own fixed permutation of the keys.

    Raises:
        UserError: an odd hidden size, or a size out of its range.
    """

    _state_kind = AssociativeState
    permutation_CK: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        batch_first: bool = False,
        dropout: float = 0.0,
        copies: int = 4,
        **options: Any,
    ):
        super().__init__(
            *(input_size, hidden_size, num_layers),
            batch_first=batch_first,
            dropout=dropout,
            **options,
        )
        if hidden_size % 2:
            raise UserError(f"hidden_size = {hidden_size}; expected an even number")
        if copies < 1:
            raise UserError(f"copies = {copies}; expected 1 or more")
        self._size_K = hidden_size // 2
        # Three gates for each complex number; two keys and an update of it.
        features = 3 * self._size_K + 3 * hidden_size
        for layer in range(num_layers):
            below = input_size if layer == 0 else hidden_size
            for name, columns in (("weight_ih", below), ("weight_hh", hidden_size)):
                self._add(name, layer, torch.empty(features, columns))
            self._add("bias", layer, torch.empty(features))
        # An own generator makes the permutations depend on the size only, not on the weights' seed.
        generator = torch.Generator().manual_seed(self._size_K)
        orders = [torch.randperm(self._size_K, generator=generator) for _ in range(copies)]
        self.register_buffer("permutation_CK", torch.stack(orders).to(self._device))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights as torch.nn.LSTM does; the forget gate's bias is 1."""
        bound = 1 / math.sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():
            parameter.uniform_(-bound, bound)
            if name.startswith("bias"):
                parameter[: self._size_K] = 1.0

    def _run(self, layer: int, x_BTI: Tensor, before: Any, lengths_B: Tensor) -> tuple[Tensor, Any]:
        W_hh = self._weight("weight_hh", layer)
        drive_BTF = linear(x_BTI, self._weight("weight_ih", layer), self._weight("bias", layer))
        size_B, (copies, size_K) = len(x_BTI), self.permutation_CK.shape
        h_BH, c_BCZ = before or (
            x_BTI.new_zeros(size_B, self.hidden_size),
            x_BTI.new_zeros(size_B, copies, 2, size_K),
        )
        store = final = c_BCZ.unbind(2)
        outputs = []
        for t, drive_BF in enumerate(drive_BTF.unbind(1)):
            h_BH, store = self._step(torch.addmm(drive_BF, h_BH, W_hh.t()), *store)
            outputs.append(h_BH)
            within_B11 = (lengths_B > t)[:, None, None]
            final = [torch.where(within_B11, *both) for both in zip(store, final, strict=True)]
        y_BTH = torch.stack(outputs, 1)
        return y_BTH, (last_steps(y_BTH, lengths_B), torch.stack([*final], 2))

    def _step(
        self, features_BF: Tensor, real_BCK: Tensor, imaginary_BCK: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Equations 16 to 24 of the paper: the output, and the store's real and imaginary parts."""
        copies, size_K = self.permutation_CK.shape
        gates, complexes = torch.split(features_BF, [3 * size_K, 3 * self.hidden_size], 1)
        forget_BK, store_BK, read_BK = gates.sigmoid().chunk(3, 1)
        bounded_B3Z = within_unit_circle(torch.unflatten(complexes, 1, (3, 2, size_K)))
        keys_B2Z, update_B1Z = torch.split(bounded_B3Z, [2, 1], 1)
        update = (store_BK[:, None, None] * update_B1Z).unbind(2)
        # Each copy of the store has its own permutation of the keys.
        order = self.permutation_CK.flatten()
        keys_B2ZCK = keys_B2Z.flatten(0, 2).index_select(1, order).view(-1, 2, 2, copies, size_K)
        key_in, key_out = (key_BZCK.unbind(1) for key_BZCK in keys_B2ZCK.unbind(1))
        real, imaginary = _product(key_in, update)
        real_BCK = forget_BK[:, None] * real_BCK + real
        imaginary_BCK = forget_BK[:, None] * imaginary_BCK + imaginary
        found = _product(key_out, (real_BCK, imaginary_BCK))
        found_BZ = torch.stack([part_BCK.mean(1) for part_BCK in found], 1)
        h_BZ = read_BK[:, None] * within_unit_circle(found_BZ)
        return h_BZ.flatten(1), (real_BCK, imaginary_BCK)

    def _split(self, state: AssociativeState, x_BTI: Tensor) -> list[Any]:
        size_B = len(x_BTI)
        check_state("h", state.h_LBH, (self.num_layers, size_B, self.hidden_size))
        copies, size_K = self.permutation_CK.shape
        check_state("c", state.c_LBCZ, (self.num_layers, size_B, copies, 2, size_K))
        return list(zip(*state, strict=True))

    def _join(self, parts: list[Any]) -> AssociativeState:
        return AssociativeState(*map(torch.stack, zip(*parts, strict=True)))


def _product(a: Sequence[Tensor], b: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The product of complex numbers given as real and imaginary parts."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]
