"""Fast weights: recurrent layers with a temporary memory of the recent past, called like nn.LSTM.

`FastWeightRNN` is the paper's (Ba et al. 2016), `DeltaFastWeights` what became of it (Schlag et al.
2021); `AssociativeLSTM` and `IRNN` are what the paper compares itself with.
"""

from __future__ import annotations

from firetree.fastweights.associative_lstm import AssociativeLSTM
from firetree.fastweights.delta import DeltaFastWeights, DeltaState
from firetree.fastweights.irnn import IRNN
from firetree.fastweights.rnn import FastWeightRNN, FastWeightState

__all__ = [
    "IRNN",
    "AssociativeLSTM",
    "DeltaFastWeights",
    "DeltaState",
    "FastWeightRNN",
    "FastWeightState",
]
