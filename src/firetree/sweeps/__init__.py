"""One recipe trained with every combination of some fields' values.

SqueezeNet's design space exploration (Iandola et al. 2016, section 5) is one use, a search for a
learning rate another.
"""

from __future__ import annotations

from firetree.sweeps.combinations import Combination, Sweep, sweep
from firetree.sweeps.trials import SweepTrial, TrialResult, grid, train_all

__all__ = ["Combination", "Sweep", "SweepTrial", "TrialResult", "grid", "sweep", "train_all"]
