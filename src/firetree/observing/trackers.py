"""The numbers of a watched script for the W&B or MLflow run that the script itself has under way."""

from __future__ import annotations

import logging
import sys
import time

from firetree.observing.board import numbers
from firetree.observing.thinning import Joined
from firetree.trace import StepTrace

EVERY_S = 10.0
"""How often a tracker gets a point, at most."""

_LOG = logging.getLogger("firetree")


class Trackers:
    """Gives this rank's steps to the trackers that the script has imported, while it has a run there.

    Called by the thread that trains: MLflow's run is known in that one alone.
    """

    def __init__(self) -> None:
        self._joined: Joined | None = None
        self._told_s = time.monotonic()
        self._works = True

    def add(self, step: StepTrace) -> None:
        """A step is over."""
        new = Joined.of(step)
        self._joined = self._joined.with_next(new) if self._joined else new
        if time.monotonic() - self._told_s >= EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Give the means over the steps since the last time."""
        joined, self._joined, self._told_s = self._joined, None, time.monotonic()
        if joined and self._works:
            try:
                _tell(joined.line())
            except Exception as error:  # of another's library, on its server or disk
                self._works = False
                _LOG.warning("firetree's numbers no longer go to W&B or MLflow: %s", error)


def _tell(mean: StepTrace) -> None:
    wandb, mlflow = sys.modules.get("wandb"), sys.modules.get("mlflow")
    if wandb and wandb.run:
        # Beside what the script logs next: a row of its own would count as a step of the script's.
        wandb.run.log(numbers(mean), commit=False)
    if mlflow and mlflow.active_run():
        mlflow.log_metrics(numbers(mean), step=mean.step, synchronous=False)
