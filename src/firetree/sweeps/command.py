"""What `firetree sweep` is asked, and what it prints: cost and accuracy of every combination."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import tyro

from firetree import tables
from firetree.errors import UserError
from firetree.models.cost import FLOAT_BYTES, cost
from firetree.models.timing import measure
from firetree.network import Network, format_duration
from firetree.planning.plan import Prices, make_plan
from firetree.sweeps.trials import Result, Trial, Values, grid, train_all
from firetree.tasks import Task
from firetree.training import Recipe, check_recipe, load_recipe, load_task, with_fields


@dataclass(frozen=True)
class SweepOptions:
    """Train a recipe with every combination of some fields' values, and say what each net costs.

    A repeated command goes on where the last one stopped.
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE")]
    """A ready recipe's name, or a TOML file."""
    vary: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A field and its values, as in model.squeeze_ratio=0.125,0.5; can be given several times. One
    value alone is the same for all."""
    seeds: int = 1
    """Trainings of each combination, with seeds from 0."""
    jobs: int = 1
    """Trainings at a time."""
    network: str = "8 x 1gbit"
    """The network for which a step is predicted: one line, or a JSON file."""
    runs: Path = Path("runs/sweep")
    """Where recipes, runs and results are kept."""
    json: bool = False
    """Print JSON: a list of combinations."""
    html: Path | None = None
    """Write a page with the plot: accuracy against parameters and against the step."""


Costs = tuple[int, float, float]
"""|W| in bytes, flops of a sample, and the predicted step in seconds."""


@dataclass(frozen=True, slots=True)
class Row:
    """A combination: its values, what its net costs, and its top-1 accuracies, one a seed.

    `flops` are those of a sample forward; `step_s` is predicted for one batch of the recipe on each
    host of the network. `best` says that no smaller net of the sweep is as good.
    """

    values: Values
    parameters: int
    weight_bytes: int
    flops: float
    step_s: float
    accuracies: tuple[float, ...]
    accuracy: float
    best: bool


def sweep(options: SweepOptions, tell: Callable[[str], None]) -> list[Row]:
    """Train all combinations, and count what their nets cost.

    Raises:
        UserError: a recipe, field or number that cannot be.
        RunFailedError: a training failed.
    """
    for what, number in (("seeds", options.seeds), ("jobs", options.jobs)):
        if number < 1:
            raise UserError(f"--{what} {number}; expected 1 or more")
    base = load_recipe(options.name)
    combinations = {_name(values): values for values in grid(options.vary)}
    if any("seed" in values for values in combinations.values()):
        raise UserError("--vary seed; give the number of seeds with --seeds instead")
    recipes = {name: with_fields(base, values) for name, values in combinations.items()}
    for recipe in recipes.values():
        check_recipe(recipe)
    prices = Prices(Network.load(options.network))
    # Costs first: trainings would disturb the measurement of a step.
    tasks, known, costs = dict[Any, Task](), dict[Any, Costs](), dict[str, Costs]()
    for name, recipe in recipes.items():
        data, net = (recipe.data, recipe.seed), (recipe.model, recipe.optim.batch_size)
        if (data, net) not in known:
            tell(f"counting what {name} costs")
            tasks[data] = tasks.get(data) or load_task(recipe)
            known[data, net] = _costs(recipe, tasks[data], prices)
        costs[name] = known[data, net]
    trials = [
        Trial(f"{name}-{seed}", combinations[name], with_fields(recipe, {"seed": str(seed)}))
        for seed in range(options.seeds)
        for name, recipe in recipes.items()
    ]
    results = train_all(trials, options.runs, options.jobs, tell)
    return _rows(combinations, costs, results)


def _name(values: Values) -> str:
    """A file's name: the last parts of the fields, and the values."""
    parts = (f"{field.rpartition('.')[2]}={value}" for field, value in values.items())
    return ",".join(parts).replace("/", "|") or "recipe"


def _costs(recipe: Recipe, task: Task, prices: Prices) -> Costs:
    net, batch = task.build(asdict(recipe.model)), task.example(recipe.optim.batch_size)
    found = cost(net, batch[:1])
    plan = make_plan(recipe.model.name, measure(net, batch), prices)
    return found.weight_bytes, found.flops, plan.step_s


def _rows(
    combinations: Mapping[str, Values],
    costs: Mapping[str, Costs],
    results: Sequence[Result],
) -> list[Row]:
    rows = []
    for name, values in combinations.items():
        weight_bytes, flops, step_s = costs[name]
        # A net whose loss was no number has learnt nothing.
        accuracies = tuple(r.accuracy or 0.0 for r in results if r.trial.values == values)
        parameters = weight_bytes // FLOAT_BYTES
        accuracy = median(accuracies)
        rows.append(
            Row(values, parameters, weight_bytes, flops, step_s, accuracies, accuracy, False)
        )
    return [*_with_best(rows)]


def _with_best(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows by size, the Pareto front marked."""
    most = 0.0
    for row in sorted(rows, key=lambda row: (row.parameters, -row.accuracy)):
        yield replace(row, best=row.accuracy > most)
        most = max(most, row.accuracy)


def as_text(rows: Sequence[Row]) -> str:
    """A table by size; fields that are the same everywhere are left out."""
    fields = [field for field in rows[0].values if len({row.values[field] for row in rows}) > 1]
    headings = [field.rpartition(".")[2] for field in fields]
    headings += ["parameters", "MB", "Mflop", "step", "top-1", "least to most", "best for its size"]
    cells = [
        [
            *(row.values[field] for field in fields),
            f"{row.parameters:,}",
            f"{row.weight_bytes / 1e6:.2f}",
            f"{row.flops / 1e6:.1f}",
            format_duration(row.step_s),
            f"{row.accuracy:.2%}",
            f"{min(row.accuracies):.2%} to {max(row.accuracies):.2%}",
            "yes" if row.best else "",
        ]
        for row in rows
    ]
    return tables.as_text(headings, cells, left=headings[: len(fields)])
