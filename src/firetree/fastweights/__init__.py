"""Fast weights: recurrent layers with a temporary memory of the recent past, called like nn.LSTM.

`FastWeightRNN` is the layer of Ba et al. 2016, `DeltaFastWeights` its successor (Schlag et al. 2021).
`AssociativeLSTM` and `IRNN` are baselines of the first paper.
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
