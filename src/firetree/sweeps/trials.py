"""The trials of a sweep; each result is written to a file as soon as its run ends."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firetree.documents import Finite, parse_json, read_text
from firetree.durable import write_durably
from firetree.errors import ArgumentError, RunFailedError, UserError
from firetree.metrics import read_metrics
from firetree.progress import Progress, log
from firetree.training import Recipe, read_recipe, recipe_toml
from firetree.training.apart import log_of, train_apart

_DIVERGED = "lower optim.lr"
"""The advice of a run that ended because it diverged; that counts as a result."""

Values = Mapping[str, Any]
"""Values, or their TOML, by field of a recipe, such as `model.squeeze_ratio`."""


@dataclass(frozen=True, slots=True)
class SweepTrial:
    """A recipe to train; `name` is also its run's folder, `values` the fields that vary."""

    name: str
    values: Values
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A trial's final top-1 accuracy (0 to 1); None if its loss became NaN or infinite."""

    trial: SweepTrial
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A result's file."""

    accuracy: Finite | None
    values: Values = field(default_factory=dict)


def grid(vary: Mapping[str, Sequence[Any]]) -> Iterator[Values]:
    """Every combination of the fields' values, in order.

    Raises:
        ArgumentError: a field without a list of values.
    """
    for name, values in vary.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ArgumentError("vary", f"has {name} = {values!r}; expected a list of values")
    for combination in itertools.product(*vary.values()):
        yield dict(zip(vary, combination, strict=True))


def train_all(
    trials: Iterable[SweepTrial], folder: Path, jobs: int, progress: Progress = log
) -> list[TrialResult]:
    """Train the trials without a result, `jobs` at a time on equal shares of the cores.

    An interrupted trial continues from its last checkpoint.

    Raises:
        UserError: the folder has a trial of that name with another recipe.
        RunFailedError: a trial failed; trials that were running have kept their results.
    """
    trials = [*trials]
    found = {trial.name: known for trial in trials if (known := _known(trial, folder))}
    missing = [trial for trial in trials if trial.name not in found]
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(_train, trial, folder, jobs) for trial in missing]
        try:
            for number, ended in enumerate(as_completed(running), start=1):
                result = ended.result()
                found[result.trial.name] = result
                said = "NaN" if result.accuracy is None else f"{result.accuracy:.2%}"
                progress(f"{number} of {len(missing)}: {result.trial.name} {said}")
        finally:
            pool.shutdown(cancel_futures=True)
    return [found[trial.name] for trial in trials]


def _known(trial: SweepTrial, folder: Path) -> TrialResult | None:
    """The trial's result, if there is one (UserError if the folder's trial has another recipe)."""
    result, recipe = folder / f"{trial.name}.json", folder / f"{trial.name}.toml"
    if not any(path.exists() for path in (result, recipe, folder / trial.name)):
        return None
    # Compared as data, as a file of an earlier version lacks newer fields.
    if not recipe.exists() or read_recipe(recipe) != trial.recipe:
        raise UserError(f"{folder} has a trial {trial.name} of another recipe; give another folder")
    if not result.exists():
        return None
    return TrialResult(trial, parse_json(_Kept, read_text(result, "result"), str(result)).accuracy)


def _train(trial: SweepTrial, folder: Path, jobs: int) -> TrialResult:
    """Train in a subprocess, and write the result."""
    recipe, run_dir = folder / f"{trial.name}.toml", folder / trial.name
    write_durably(recipe, recipe_toml(trial.recipe).encode())
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    code = train_apart(trial.recipe, run_dir, environ={"OMP_NUM_THREADS": str(threads)})
    accuracy = None
    if not code:
        accuracy = read_metrics(run_dir)[-1].accuracy
        if accuracy is None:
            raise UserError(
                f"trial {trial.name} has no accuracy; expected a recipe whose answers are right or wrong"
            )
    elif code != RunFailedError.exit_code or _DIVERGED not in _last_line(log_of(run_dir)):
        raise RunFailedError(f"trial {trial.name} failed; see the end of {log_of(run_dir)}")
    kept = asdict(_Kept(accuracy, trial.values))
    write_durably(folder / f"{trial.name}.json", json.dumps(kept, indent=1).encode())
    return TrialResult(trial, accuracy)


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[-1] if lines else ""
