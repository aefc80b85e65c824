"""Encoder and decoder of one LSTM each, alone or with a memory of what they have read.

Without a memory all that the decoder learns of the source is the encoder's last state (Sutskever,
Vinyals, Le 2014). Attention (Bahdanau, Cho, Bengio 2015) looks at all of the encoder's states. Fast
weights (Ba et al. 2016) and the delta rule hold them in a matrix, which the decoder goes on writing.

Letters in names: B batch, S symbols of a source, T symbols of a target, H hidden, A units that score.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from firetree.fastweights import DeltaFastWeights, DeltaState, FastWeightRNN, FastWeightState
from firetree.models.recurrent import LSTM, also_of_none
from firetree.models.seq2seq.network import (
    PADDING,
    Embedding,
    Readout,
    SequenceToSequence,
    State,
)

Memory = FastWeightRNN | DeltaFastWeights


class Encoder(nn.Module):
    """Sources (B, S) to the LSTM's outputs, packed, and its last state h_BH and c_BH."""

    def __init__(self, sources: int, hidden: int, dropout: float):
        super().__init__()
        self.embedding = Embedding(sources, hidden, dropout)
        self.lstm = LSTM(hidden, hidden, batch_first=True)

    def forward(self, source_BS: Tensor) -> tuple[Any, tuple[Tensor, Tensor]]:
        lengths_B = (source_BS != PADDING).sum(1).cpu()
        packed = pack_padded_sequence(
            self.embedding(source_BS), lengths_B, batch_first=True, enforce_sorted=False
        )
        outputs, (h_1BH, c_1BH) = self.lstm(packed)
        return outputs, (h_1BH[0], c_1BH[0])


class Recurrent(SequenceToSequence):
    """An encoder whose last state the decoder begins with (Sutskever, Vinyals, Le 2014).

    Args:
        sources, targets: symbols of each side, padding included.
        hidden: H, also of embeddings.
        dropout: of embeddings, and before the logits.
        features: of a step that the logits are read from; by default H.
    """

    def __init__(
        self, sources: int, targets: int, hidden: int, dropout: float, features: int | None = None
    ):
        super().__init__()
        self.encoder = Encoder(sources, hidden, dropout)
        self.embedding = Embedding(targets, hidden, dropout)
        self.decoder = LSTM(hidden, hidden, batch_first=True)
        self.readout = Readout(features or hidden, hidden, targets, dropout)

    def begin(self, source_BS: Tensor) -> State:
        known: State
        _, known = self.encoder(source_BS)
        return known

    def go_on(self, before_BT: Tensor, state: State) -> tuple[Tensor, State]:
        y_BTH, known = self._decoded(before_BT, state)
        return self.readout(y_BTH), known

    def _decoded(self, before_BT: Tensor, known: State) -> tuple[Tensor, State]:
        h_BH, c_BH = known
        y_BTH, (h_1BH, c_1BH) = self.decoder(self.embedding(before_BT), (h_BH[None], c_BH[None]))
        return y_BTH, (h_1BH[0], c_1BH[0])


class Remembering(Recurrent):
    """The same with fast weights, which read the encoder's outputs and then the decoder's.

    They are one memory with one set of slow weights, so that what it finds in the target's steps are
    the source's. Its outputs stand beside the decoder's before the logits.

    Args:
        memory: batch first, of H features; the others are those of `Recurrent`.
    """

    def __init__(self, sources: int, targets: int, hidden: int, dropout: float, memory: Memory):
        super().__init__(sources, targets, hidden, dropout, 2 * hidden)
        self.memory = memory

    @also_of_none
    def forward(self, x_B2T: Tensor) -> Tensor:
        """As by `begin` and `go_on`, but in one stretch, between which no fast weights are formed."""
        source_BS, before_BT = x_B2T.unbind(1)
        outputs, known = self.encoder(source_BS)
        seen_BSH, lengths_B = pad_packed_sequence(outputs, batch_first=True)
        y_BTH, _ = self._decoded(before_BT, known)
        size_S, size_T = seen_BSH.shape[1], y_BTH.shape[1]
        place_U = torch.arange(size_S + size_T, device=y_BTH.device)
        begins_B1 = lengths_B.to(y_BTH.device)[:, None]
        # Each target right behind its own source, without the padding of shorter ones.
        which_BU = torch.where(place_U < begins_B1, place_U, place_U - begins_B1 + size_S)
        both_BUH = torch.cat([seen_BSH, y_BTH], 1)
        found_BUH, _ = self.memory(_at(both_BUH, which_BU.clamp(max=len(place_U) - 1)))
        found_BTH = _at(found_BUH, begins_B1 + place_U[:size_T])
        logits_BTK: Tensor = self.readout(torch.cat([y_BTH, found_BTH], 2))
        return logits_BTK

    def begin(self, source_BS: Tensor) -> State:
        outputs, known = self.encoder(source_BS)
        _, held = self.memory(outputs)
        return *known, *_tensors(held)

    def go_on(self, before_BT: Tensor, state: State) -> tuple[Tensor, State]:
        h_BH, c_BH, *held = state
        y_BTH, known = self._decoded(before_BT, (h_BH, c_BH))
        found_BTH, after = self.memory(y_BTH, _state(self.memory, held))
        return self.readout(torch.cat([y_BTH, found_BTH], 2)), (*known, *_tensors(after))


def _at(y_BUH: Tensor, which_BT: Tensor) -> Tensor:
    """The steps of each sequence that `which_BT` names."""
    return y_BUH.gather(1, which_BT[:, :, None].expand(-1, -1, y_BUH.shape[2]))


def _tensors(state: FastWeightState | DeltaState) -> tuple[Tensor, ...]:
    """The state of the memory's one layer."""
    whole = (state.h_LBH, state.A_LBHH) if isinstance(state, FastWeightState) else state
    return tuple(tensor[0] for tensor in whole)


def _state(memory: Memory, tensors: list[Tensor]) -> Any:
    first, second = (tensor[None] for tensor in tensors)
    kind = FastWeightState if isinstance(memory, FastWeightRNN) else DeltaState
    return kind(first, second)


class Attentive(SequenceToSequence):
    """An LSTM whose decoder attends to the encoder's states (Bahdanau, Cho, Bengio 2015, section 3).

    Step t has s(t) = LSTM(s(t−1), [E y(t−1); c(t)]) with c(t) = Σ α h, α = softmax(vᵀ tanh(W s(t−1) +
    U h)) over the source. The encoder reads in one direction, as in all networks here.
    Arguments are those of `Recurrent`.
    """

    def __init__(self, sources: int, targets: int, hidden: int, dropout: float):
        super().__init__()
        self.encoder = Encoder(sources, hidden, dropout)
        self.embedding = Embedding(targets, hidden, dropout)
        self.cell = nn.LSTMCell(2 * hidden, hidden)
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.readout = Readout(2 * hidden, hidden, targets, dropout)

    def begin(self, source_BS: Tensor) -> State:
        outputs, known = self.encoder(source_BS)
        seen_BSH, lengths_B = pad_packed_sequence(outputs, batch_first=True)
        places_S = torch.arange(seen_BSH.shape[1], device=source_BS.device)
        behind_BS = places_S >= lengths_B[:, None].to(source_BS.device)
        return *known, seen_BSH, self.key(seen_BSH), behind_BS

    def go_on(self, before_BT: Tensor, state: State) -> tuple[Tensor, State]:
        h_BH, c_BH, *source = state
        steps = []
        for before_BH in self.embedding(before_BT).unbind(1):
            seen_BH = self._attend(h_BH, *source)
            h_BH, c_BH = self.cell(torch.cat([before_BH, seen_BH], 1), (h_BH, c_BH))
            steps.append(torch.cat([h_BH, seen_BH], 1))
        return self.readout(torch.stack(steps, 1)), (h_BH, c_BH, *source)

    def _attend(self, h_BH: Tensor, seen_BSH: Tensor, key_BSA: Tensor, behind_BS: Tensor) -> Tensor:
        score_BS = self.score(torch.tanh(self.query(h_BH)[:, None] + key_BSA))[:, :, 0]
        weight_BS = score_BS.masked_fill(behind_BS, -torch.inf).softmax(1)
        seen_BH: Tensor = (weight_BS[:, None] @ seen_BSH)[:, 0]
        return seen_BH
