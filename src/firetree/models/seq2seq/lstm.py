"""An encoder and a decoder of one LSTM each, without or with a memory of the source.

Without a memory the decoder only gets the encoder's last state (Sutskever, Vinyals, Le 2014). Attention
(Bahdanau, Cho, Bengio 2015) looks at all of the encoder's states. Fast weights (Ba et al. 2016) and the
delta rule store the source in a matrix.

Letters in names: B batch, S symbols of a source, T symbols of a target, H hidden, F features that a
memory sees, A units that score.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from firetree.fastweights import DeltaFastWeights, DeltaState, FastWeightRNN, FastWeightState
from firetree.fastweights.sequences import check_rate
from firetree.models.recurrent import LSTM, also_of_none
from firetree.models.seq2seq.network import (
    PADDING,
    Embedding,
    Readout,
    SequenceToSequence,
    State,
)


class Encoder(nn.Module):
    """Sources (B, S) to embeddings and the LSTM's outputs, packed, and its last state h_BH and c_BH."""

    def __init__(self, sources: int, hidden: int, dropout: float):
        super().__init__()
        self.embedding = Embedding(sources, hidden, dropout)
        self.lstm = LSTM(hidden, hidden, batch_first=True)

    def forward(self, source_BS: Tensor) -> tuple[PackedSequence, PackedSequence, State]:
        # A source without a symbol is read as one of padding.
        lengths_B = (source_BS != PADDING).sum(1).clamp(min=1).cpu()
        symbols = pack_padded_sequence(
            self.embedding(source_BS), lengths_B, batch_first=True, enforce_sorted=False
        )
        outputs, (h_1BH, c_1BH) = self.lstm(symbols)
        return symbols, outputs, (h_1BH[0], c_1BH[0])


class Recurrent(SequenceToSequence):
    """A decoder that starts from the encoder's last state (Sutskever, Vinyals, Le 2014).

    Args:
        sources, targets: symbols of each side, padding included.
        hidden: H, also of embeddings.
        dropout: of embeddings, and before the logits.
        features: F, the features of a step from which logits are computed; by default H.
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
        _, _, known = self.encoder(source_BS)
        return known

    def go_on(self, before_BT: Tensor, state: State) -> tuple[Tensor, State]:
        y_BTH, known = self._decoded(self.embedding(before_BT), state)
        return self.readout(y_BTH), known

    def _decoded(self, x_BTH: Tensor, known: State) -> tuple[Tensor, State]:
        h_BH, c_BH = known
        y_BTH, (h_1BH, c_1BH) = self.decoder(x_BTH, (h_BH[None], c_BH[None]))
        return y_BTH, (h_1BH[0], c_1BH[0])


class Remembering(Recurrent):
    """The same with a memory, which reads each symbol's embedding and the LSTM's output, normalised.

    What the memory returns is concatenated with the decoder's outputs before the logits. Arguments are
    those of `Recurrent`.
    """

    def __init__(self, sources: int, targets: int, hidden: int, dropout: float):
        super().__init__(sources, targets, hidden, dropout, 2 * hidden)
        self.norm = nn.LayerNorm(2 * hidden)

    def _memory_input(self, x: Tensor, y: Tensor) -> Tensor:
        normal: Tensor = self.norm(torch.cat([x, y], -1))
        return normal

    def _read(self, source_BS: Tensor) -> tuple[PackedSequence, State]:
        """The memory's inputs for a source, packed, and the encoder's last state."""
        symbols, outputs, known = self.encoder(source_BS)
        return outputs._replace(data=self._memory_input(symbols.data, outputs.data)), known

    def go_on(self, before_BT: Tensor, state: State) -> tuple[Tensor, State]:
        h_BH, c_BH, *held = state
        x_BTH = self.embedding(before_BT)
        y_BTH, known = self._decoded(x_BTH, (h_BH, c_BH))
        found_BTH, after = self._find(self._memory_input(x_BTH, y_BTH), held)
        return self.readout(torch.cat([y_BTH, found_BTH], 2)), (*known, *after)

    def _find(self, shown_BTF: Tensor, held: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """What the memory returns at each step, (B, T, H), and its state afterwards."""
        raise NotImplementedError


class FastWeights(Remembering):
    """An LSTM whose decoder reads the source from fast weights (Ba et al. 2016).

    Each symbol of the source writes a state of its own, k(τ) = ReLU(LN(C x(τ))), with x(τ) the memory's
    input: A = η Σ k(τ) k(τ)ᵀ. This is equation 1 with λ = 1, which keeps the whole source. Nothing is
    read while writing, since that would mix each state with earlier ones. The decoder's steps read by
    equation 2 and write nothing, so that they find the source and not each other.

    Args:
        sources, targets, hidden, dropout: as for `Recurrent`.
        rate: η, 0 or more.
        inner_steps: S, of reading.

    Raises:
        UserError: a number out of its range.
    """

    def __init__(
        self,
        sources: int,
        targets: int,
        hidden: int,
        dropout: float,
        *,
        rate: float = 0.1,
        inner_steps: int = 1,
    ):
        super().__init__(sources, targets, hidden, dropout)
        check_rate(rate)
        self.rate = rate
        self.code = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.ReLU())
        self.memory = FastWeightRNN(
            *(2 * hidden, hidden),
            batch_first=True,
            inner_steps=inner_steps,
            decay=1.0,
            rate=0.0,
            normalise_first=True,
        )

    def begin(self, source_BS: Tensor) -> State:
        shown, known = self._read(source_BS)
        # Zeros after the end of a source write nothing.
        k_BSH, _ = pad_packed_sequence(shown._replace(data=self.code(shown.data)), batch_first=True)
        with torch.autocast(k_BSH.device.type, enabled=False):  # a long sum needs float32
            k_BSH = k_BSH.to(self.norm.weight.dtype)
            A_BHH = self.rate * k_BSH.mT @ k_BSH
        return *known, A_BHH.new_zeros(A_BHH.shape[:2]), A_BHH

    def _find(self, shown_BTF: Tensor, held: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        last_BH, A_BHH = held
        found_BTH, after = self.memory(shown_BTF, FastWeightState(last_BH[None], A_BHH[None]))
        return found_BTH, (after.h_LBH[0], A_BHH)


class DeltaRule(Remembering):
    """An LSTM with fast weights that the delta rule writes, in source and target alike.

    Encoder and decoder share one memory with one set of slow weights, so the target's steps find the
    source's.

    Args:
        sources, targets, hidden, dropout: as for `Recurrent`.
        heads: of the memory, a divisor of `hidden`.

    Raises:
        UserError: heads that do not divide the width.
    """

    def __init__(self, sources: int, targets: int, hidden: int, dropout: float, *, heads: int = 1):
        super().__init__(sources, targets, hidden, dropout)
        self.memory = DeltaFastWeights(2 * hidden, hidden, batch_first=True, heads=heads)

    @also_of_none
    def forward(self, x_B2T: Tensor) -> Tensor:
        """The same as `begin` and `go_on`, but in one pass that never forms the fast weights."""
        source_BS, before_BT = x_B2T.unbind(1)
        shown, known = self._read(source_BS)
        source_BSF, lengths_B = pad_packed_sequence(shown, batch_first=True)
        x_BTH = self.embedding(before_BT)
        y_BTH, _ = self._decoded(x_BTH, known)
        size_S, size_T = source_BSF.shape[1], y_BTH.shape[1]
        place_U = torch.arange(size_S + size_T, device=y_BTH.device)
        begins_B1 = lengths_B.to(y_BTH.device)[:, None]
        # Each target follows its own source directly, without the padding of shorter sources.
        which_BU = torch.where(place_U < begins_B1, place_U, place_U - begins_B1 + size_S)
        both_BUF = torch.cat([source_BSF, self._memory_input(x_BTH, y_BTH)], 1)
        found_BUH, _ = self.memory(_at(both_BUF, which_BU.clamp(max=len(place_U) - 1)))
        found_BTH = _at(found_BUH, begins_B1 + place_U[:size_T])
        logits_BTK: Tensor = self.readout(torch.cat([y_BTH, found_BTH], 2))
        return logits_BTK

    def begin(self, source_BS: Tensor) -> State:
        shown, known = self._read(source_BS)
        _, held = self.memory(shown)
        return *known, *(tensor[0] for tensor in held)

    def _find(self, shown_BTF: Tensor, held: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        found_BTH, after = self.memory(shown_BTF, DeltaState(*(tensor[None] for tensor in held)))
        return found_BTH, [tensor[0] for tensor in after]


def _at(y_BUF: Tensor, which_BT: Tensor) -> Tensor:
    """The steps of each sequence that `which_BT` names."""
    return y_BUF.gather(1, which_BT[:, :, None].expand(-1, -1, y_BUF.shape[2]))


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
        _, outputs, known = self.encoder(source_BS)
        states_BSH, lengths_B = pad_packed_sequence(outputs, batch_first=True)
        places_S = torch.arange(states_BSH.shape[1], device=source_BS.device)
        behind_BS = places_S >= lengths_B[:, None].to(source_BS.device)
        return *known, states_BSH, self.key(states_BSH), behind_BS

    def go_on(self, before_BT: Tensor, state: State) -> tuple[Tensor, State]:
        h_BH, c_BH, *source = state
        steps = []
        for before_BH in self.embedding(before_BT).unbind(1):
            context_BH = self._attend(h_BH, *source)
            h_BH, c_BH = self.cell(torch.cat([before_BH, context_BH], 1), (h_BH, c_BH))
            steps.append(torch.cat([h_BH, context_BH], 1))
        return self.readout(torch.stack(steps, 1)), (h_BH, c_BH, *source)

    def _attend(
        self, h_BH: Tensor, states_BSH: Tensor, key_BSA: Tensor, behind_BS: Tensor
    ) -> Tensor:
        score_BS = self.score(torch.tanh(self.query(h_BH)[:, None] + key_BSA))[:, :, 0]
        weight_BS = score_BS.masked_fill(behind_BS, -torch.inf).softmax(1)
        context_BH: Tensor = (weight_BS[:, None] @ states_BSH)[:, 0]
        return context_BH
