"""A run, opened by its folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firetree import reporting
from firetree.documents import parse_json, read_text
from firetree.metrics import Metrics, read_metrics
from firetree.progress import Progress, log
from firetree.shown import Shown
from firetree.trace import Trace, read_trace

if TYPE_CHECKING:
    from torch import Tensor

    from firetree.modelfiles import Model
    from firetree.planning.plan import Plan
    from firetree.training import IfSlower, Recipe


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Run(Shown):
    """A run of `firetree.train` or of the command; it may still go on.

    Every verb that takes a run's folder takes a `Run`.

    Args:
        folder: the run's folder.

    Example:
        >>> run = firetree.Run("runs/demo")
        >>> run.accuracy > 0.2
        True
        >>> run.model()
        Model(squeezenet_small, 70,138 parameters, 10 classes)
    """

    folder: Path

    def __init__(self, folder: str | PathLike[str]):
        object.__setattr__(self, "folder", Path(folder))

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def recipe(self) -> Recipe:
        """The recipe that was trained (UserError where the folder holds no run)."""
        from firetree.training import read_kept_recipe

        return read_kept_recipe(self.folder / "recipe.toml")

    @property
    def evaluations(self) -> tuple[Metrics, ...]:
        """All evaluations so far (UserError where the file is damaged)."""
        return tuple(read_metrics(self.folder))

    @property
    def accuracy(self) -> float | None:
        """Top-1 accuracy (0 to 1) on the test set, or what a task has in its place; None before the
        first evaluation, or where no answer is right or wrong."""
        evaluations = self.evaluations
        return evaluations[-1].accuracy if evaluations else None

    def report(self) -> reporting.Diagnosis:
        """What holds the run back, and why: `firetree.report`."""
        return reporting.report(self)

    def trace(self) -> Trace:
        """The trace of every rank and step (UserError where there is none)."""
        return read_trace(self)

    def model(self) -> Model:
        """The network of the newest checkpoint.

        Raises:
            UserError: no run's folder, no whole checkpoint, or not a network that classifies images.
        """
        from firetree import modelfiles

        return modelfiles.load_model(self.folder)

    def weights(self) -> dict[str, Tensor]:
        """The weights of the newest checkpoint, as `load_state_dict` takes them.

        Raises:
            UserError: no run's folder, or no whole checkpoint.
        """
        from firetree.training import read_run

        return dict(read_run(self.folder).weights)

    def resume(
        self,
        *,
        workers: int | None = None,
        plan: Plan | str | PathLike[str] | None = None,
        restarts: int = 0,
        grace_s: float = 10.0,
        if_slower: IfSlower = "fewer",
        fields: Mapping[str, Any] | None = None,
        trust: bool = False,
        progress: Progress = log,
    ) -> Run:
        """Go on from the newest whole checkpoint, to the end of the recipe.

        Args:
            workers: by default as many as before.
            plan: as for `firetree.train`; none is remembered.
            restarts: as for `firetree.train`.
            grace_s: as for `firetree.train`.
            if_slower: as for `firetree.train`.
            fields: as for `firetree.train`; fields that the weights depend on cannot change.
            trust: run code that the run's recipe names; without, code in a file of the folder alone.
            progress: gets a line now and then.

        Raises:
            UserError: as `firetree.train`.
        """
        from firetree.own_code import check_beside
        from firetree.runs.starting import train
        from firetree.training.recipe import own_names

        recipe = self.recipe
        if not trust:
            check_beside(own_names(recipe), self.folder / "recipe.toml")
        return train(
            recipe,
            workers=workers or self._world_size(),
            run_dir=self.folder,
            plan=plan,
            restarts=restarts,
            resume=True,
            grace_s=grace_s,
            if_slower=if_slower,
            fields=fields,
            progress=progress,
        )

    def _world_size(self) -> int:
        path = self.folder / "environment.json"
        return int(parse_json(dict[str, Any], read_text(path, "file"), str(path))["world_size"])


def new_run_dir(name: str) -> Path:
    """The folder of a run that nobody named, by the name of its recipe or script, and the time."""
    return Path("runs", f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
