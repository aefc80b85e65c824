"""What a user writes, for `mypy --strict` to read; it is not run."""

from pathlib import Path

import firetree
from firetree.errors import RunFailedError, UserError


def accuracies(folder: Path) -> dict[float, float | None]:
    recipe = firetree.Recipe(seed=1)
    found = {}
    for rate in (0.05, 0.1):
        try:
            run = firetree.train(
                recipe, workers=2, run_dir=folder / str(rate), fields={"optim.lr": rate}
            )
        except RunFailedError:
            run = firetree.Run(folder / str(rate)).resume()
        found[rate] = run.accuracy
    return found


def seconds_a_step(folders: list[str]) -> list[float]:
    try:
        return [summary.step_s for summary in firetree.report(folders)]
    except UserError as error:
        print(error)
        return []


def best(rates: tuple[float, ...]) -> float:
    rows = firetree.sweep("digits", {"optim.lr": rates}, seeds=3, progress=print).rows
    return max(row.accuracy for row in rows)


def samples(run: firetree.Run) -> int:
    trace: firetree.Trace = run.trace()
    return sum(step.samples for rank in trace.ranks for step in rank.steps)


def bottleneck(run: firetree.Run) -> str:
    return firetree.report(run).bottleneck + run.model().network


def planned(file: Path) -> firetree.Plan:
    plan = firetree.load_plan(file)
    firetree.train("digits", plan=plan, restarts=1, run_dir="runs/planned")
    return plan
