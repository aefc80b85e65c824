"""Train a recipe with every combination of some fields' values.

One use is SqueezeNet's design space exploration (Iandola et al. 2016, section 5), another a search for
the learning rate.
"""

from __future__ import annotations

from firetree.sweeps.combinations import Combination, Sweep, sweep
from firetree.sweeps.trials import SweepTrial, TrialResult, grid, train_all

__all__ = ["Combination", "Sweep", "SweepTrial", "TrialResult", "grid", "sweep", "train_all"]
