"""`firetree sweep`: one recipe trained with every combination of some fields' values.

SqueezeNet's design space exploration (Iandola et al. 2016, section 5) is one use, a search for a
learning rate another.
"""

from __future__ import annotations

from firetree.sweeps.command import SweepOptions, as_text, sweep
from firetree.sweeps.trials import Result, Trial, grid, train_all

__all__ = ["Result", "SweepOptions", "Trial", "as_text", "grid", "sweep", "train_all"]
