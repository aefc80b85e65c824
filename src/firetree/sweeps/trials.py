"""Trials of a sweep: which there are, and their results, each kept in a file as soon as it is known."""

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
from firetree.training import Recipe, load_recipe, recipe_toml
from firetree.training.apart import log_of, train_apart

_DIVERGED = "lower optim.lr"
"""What a run advises that ended because its numbers grew beyond bounds: a result too."""

Values = Mapping[str, Any]
"""A field of a recipe, as in `model.squeeze_ratio`, to its value, or to the TOML of that."""


@dataclass(frozen=True, slots=True)
class SweepTrial:
    """A recipe to be trained; `name` is also its run's folder, `values` what it has of its own."""

    name: str
    values: Values
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A trial's top-1 accuracy (0 to 1) at its end; None where its loss was NaN or infinite."""

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
    """Train what has no result yet, `jobs` at a time on equal parts of the cores.

    A trial that was broken off goes on from its last checkpoint.

    Raises:
        UserError: a trial's name belongs to a trial of another recipe in this folder.
        RunFailedError: a trial failed; the others that had begun have their results.
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
    """The trial's result, if it has one (UserError where what lies there is another recipe's)."""
    result, recipe = folder / f"{trial.name}.json", folder / f"{trial.name}.toml"
    if not any(path.exists() for path in (result, recipe, folder / trial.name)):
        return None
    # As data, since a file of an earlier version lacks the fields that have been added.
    if not recipe.exists() or load_recipe(str(recipe)) != trial.recipe:
        raise UserError(f"{folder} has a trial {trial.name} of another recipe; give another folder")
    if not result.exists():
        return None
    return TrialResult(trial, parse_json(_Kept, read_text(result, "result"), str(result)).accuracy)


def _train(trial: SweepTrial, folder: Path, jobs: int) -> TrialResult:
    """Train in a process of its own, and keep the result."""
    recipe, run_dir = folder / f"{trial.name}.toml", folder / trial.name
    write_durably(recipe, recipe_toml(trial.recipe).encode())
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    code = train_apart(trial.recipe, run_dir, environ={"OMP_NUM_THREADS": str(threads)})
    accuracy = None
    if not code:
        accuracy = read_metrics(run_dir)[-1].accuracy
    elif code != RunFailedError.exit_code or _DIVERGED not in _last_line(log_of(run_dir)):
        raise RunFailedError(f"trial {trial.name} failed; its last words are in {log_of(run_dir)}")
    kept = asdict(_Kept(accuracy, trial.values))
    write_durably(folder / f"{trial.name}.json", json.dumps(kept, indent=1).encode())
    return TrialResult(trial, accuracy)


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[-1] if lines else ""
