"""Cost and accuracy of every combination of some fields' values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from statistics import median
from typing import Any

from firetree.errors import ArgumentError
from firetree.models.cost import FLOAT_BYTES, cost
from firetree.models.families import Pretrainable
from firetree.models.timing import measure
from firetree.network import Network
from firetree.planning.plan import Prices, make_plan
from firetree.progress import Progress, log
from firetree.shown import Shown
from firetree.sweeps.trials import SweepTrial, TrialResult, Values, grid, train_all
from firetree.tasks import Task
from firetree.training import (
    Recipe,
    build_network,
    check_recipe,
    load_recipe,
    load_task,
    with_fields,
)

NetworkCosts = tuple[int, float, float]
"""|W| in bytes, flops of a sample, and the predicted step in seconds."""


@dataclass(frozen=True, slots=True)
class Combination:
    """A combination: its values, its net's costs, and its top-1 accuracies, one for each seed.

    `flops` count a sample's forward pass. `step_s` is predicted, with one batch of the recipe on each
    host. `best` means that no smaller net of the sweep is as accurate.
    """

    values: Values
    parameters: int
    weight_bytes: int
    flops: float
    step_s: float
    accuracies: tuple[float, ...]
    accuracy: float
    best: bool


@dataclass(frozen=True, slots=True, repr=False)
class Sweep(Shown):
    """The combinations, smallest net first."""

    rows: tuple[Combination, ...]

    def __repr__(self) -> str:
        best = max(self.rows, key=lambda row: row.accuracy)
        return f"<Sweep of {len(self.rows)}: {best.accuracy:.2%} with {_name(best.values)}>"


def sweep(
    recipe: Recipe | str | PathLike[str],
    vary: Mapping[str, Sequence[Any]],
    *,
    seeds: int = 1,
    jobs: int = 1,
    network: Network | str | Path = "8 x 1gbit",
    runs: str | PathLike[str] = "runs/sweep",
    trust: bool = False,
    progress: Progress = log,
) -> Sweep:
    """Train a recipe with every combination of some fields' values, and count each net's costs.

    Called again, it continues where it stopped.

    Args:
        recipe: a ready recipe's name, a TOML file, or a `Recipe`.
        vary: the values of each field, as in `{"optim.lr": [0.05, 0.1]}`.
        seeds: runs of each combination, with seeds from 0.
        jobs: runs that train at the same time.
        network: the network for predicted step times: a `Network`, one line, or a JSON file.
        runs: the folder for recipes, runs and results.
        trust: as for `firetree.train`.
        progress: called with each line of progress.

    Raises:
        UserError: an invalid recipe, field or number.
        RunFailedError: a training failed.

    Example:
        >>> found = firetree.sweep("digits", {"optim.lr": [0.05, 0.1], "optim.epochs": [1]})
        >>> len([row.accuracy for row in found.rows])
        2
    """
    for argument, number in (("seeds", seeds), ("jobs", jobs)):
        if number < 1:
            raise ArgumentError(argument, f"is {number}; expected 1 or more")
    if "seed" in vary:
        raise ArgumentError("vary", "has 'seed'; give the number of seeds instead")
    base = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, trust)
    combinations = {_name(values): values for values in grid(vary)}
    recipes = {name: with_fields(base, values) for name, values in combinations.items()}
    for one in recipes.values():
        check_recipe(one)
    prices = Prices(network if isinstance(network, Network) else Network.load(network))
    # Costs first: training would disturb the measurement of a step.
    tasks, costs = dict[str, Task](), dict[str, NetworkCosts]()
    known = dict[tuple[str, str], NetworkCosts]()
    for name, one in recipes.items():
        start = (one.model.weights, one.model.freeze) if isinstance(one.model, Pretrainable) else ()
        # As text, since arguments of the user's own code have no hash.
        data, net = repr((one.data, one.seed, start)), repr((one.model, one.optim.batch_size))
        if (data, net) not in known:
            progress(f"counting the costs of {name}")
            tasks[data] = tasks.get(data) or load_task(one)
            known[data, net] = _costs(one, tasks[data], prices)
        costs[name] = known[data, net]
    trials = [
        SweepTrial(f"{name}-{seed}", combinations[name], replace(one, seed=seed))
        for seed in range(seeds)
        for name, one in recipes.items()
    ]
    results = train_all(trials, Path(runs), jobs, progress)
    return Sweep(tuple(_with_best(_rows(combinations, costs, results))))


def _name(values: Values) -> str:
    """A file's name: the last parts of the fields, and the values."""
    parts = (f"{field.rpartition('.')[2]}={value}" for field, value in values.items())
    return ",".join(parts).replace("/", "|") or "recipe"


def _costs(recipe: Recipe, task: Task, prices: Prices) -> NetworkCosts:
    net, batch = build_network(recipe.model, task), task.example(recipe.optim.batch_size)
    found = cost(net, task.example(1))
    plan = make_plan(recipe.model.name, measure(net, batch), prices)
    return found.weight_bytes, found.flops, plan.step_s


def _rows(
    combinations: Mapping[str, Values],
    costs: Mapping[str, NetworkCosts],
    results: Sequence[TrialResult],
) -> list[Combination]:
    rows = []
    for name, values in combinations.items():
        weight_bytes, flops, step_s = costs[name]
        # A net whose loss became NaN counts as accuracy 0.
        accuracies = tuple(r.accuracy or 0.0 for r in results if r.trial.values == values)
        parameters = weight_bytes // FLOAT_BYTES
        accuracy = median(accuracies)
        rows.append(
            Combination(
                values, parameters, weight_bytes, flops, step_s, accuracies, accuracy, False
            )
        )
    return rows


def _with_best(rows: Sequence[Combination]) -> Iterator[Combination]:
    """The rows by size, with the Pareto front marked."""
    most = 0.0
    for row in sorted(rows, key=lambda row: (row.parameters, -row.accuracy)):
        yield replace(row, best=row.accuracy > most)
        most = max(most, row.accuracy)
