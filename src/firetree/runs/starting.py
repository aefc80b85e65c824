"""From Python to a run: its workers are processes of their own, which end with their caller."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from torch import nn
from torch.utils.data import Dataset

from firetree import launch, own_code
from firetree.documents import from_document
from firetree.errors import ArgumentError, RunFailedError, UserError, WorkerLostError
from firetree.models.families import OwnModel
from firetree.own_code import LIVE
from firetree.planning.plan import Plan, load_plan
from firetree.progress import Progress, log
from firetree.runs.run import Run, new_run_dir
from firetree.tasks import LossRecipe, MetricRecipe, OwnData
from firetree.training import (
    AUTO,
    IfSlower,
    RangeTest,
    Recipe,
    check_recipe,
    check_world_size,
    load_recipe,
    with_fields,
)
from firetree.training.job import Job, work_as_told
from firetree.training.progress import Lines, Watcher, relayed
from firetree.training.recipe import own_names


def train(
    recipe: Recipe | str | PathLike[str] | None = None,
    *,
    workers: int = 1,
    run_dir: str | PathLike[str] | None = None,
    plan: Plan | str | PathLike[str] | None = None,
    restarts: int = 0,
    resume: bool = False,
    grace_s: float = 10.0,
    if_slower: IfSlower = "fewer",
    fields: Mapping[str, Any] | None = None,
    model: nn.Module | Callable[[], Any] | None = None,
    data: Any = None,
    loss: Callable[[Any, Any], Any] | None = None,
    metric: Callable[[Any, Any], Any] | None = None,
    trust: bool = False,
    progress: Progress = log,
) -> Run:
    """Train a recipe on this machine, and wait for it.

    The workers are processes that this function starts, so that it can be called in a notebook, and in a
    script without a main guard. They end with the caller; Ctrl-C ends them with one more checkpoint. On
    several machines, start the command `firetree train` by torchrun, srun or mpirun.

    Args:
        recipe: a ready recipe's name, a TOML file, or a `Recipe`; by default one whose fields have their
            defaults, for live objects.
        workers: how many processes train.
        run_dir: the run's folder; by default `runs/RECIPE-TIME`.
        plan: a `Plan`, its file, or `"auto"` to probe, plan, and plan anew when links change. Replaces
            the recipe's `sync.algorithm` and `sync.bucket_bytes`.
        restarts: how often all workers are started again after one was lost.
        resume: go on from the newest whole checkpoint in `run_dir`, if there is one.
        grace_s: seconds after a signal in which the run may write one more checkpoint.
        if_slower: with plan="auto", what to do where fewer workers would be faster: "fewer" trains with these,
            "warn" with all, and "stop" trains nothing.
        fields: other values of the recipe's fields, as in `{"optim.lr": 0.1}`.
        model: a network in place of the recipe's, with its weights, or a function that gives one.
        data: a torch dataset in place of the recipe's, or a pair to train on and to test on.
        loss: a function of outputs and targets in place of the task's loss: the mean over a batch, or each
            sample's.
        metric: the same for what is measured on the test set besides.
        trust: run code that a file names, wherever it is; without, code in a file beside it alone.
        progress: hears how far the run is, line by line.

    Returns:
        The run, with its accuracy, report and model.

    Raises:
        UserError: the recipe, an argument, the data or the folder cannot be used; or fewer workers are
            faster, and `if_slower` is "stop".
        RunFailedError: the run began and could not go on.
        WorkerLostError: a worker died, or was lost by another, more often than `restarts` allows.
        KeyboardInterrupt: it was interrupted; there is a checkpoint.

    Example:
        >>> run = firetree.train("digits", workers=2, fields={"optim.epochs": 2})
        >>> run.accuracy > 0.2
        True
    """
    rank_info = launch.find_rank_info(os.environ)
    if rank_info and rank_info.world_size > 1:
        raise UserError(
            f"this process is rank {rank_info.rank} of {rank_info.world_size} that others started; start the "
            "command firetree train so, or call firetree.train in a process of its own"
        )
    recipe = recipe or Recipe()
    name = "run" if isinstance(recipe, Recipe) else Path(recipe).stem
    found = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, trust)
    given = {"model": model, "data": data, "loss": loss, "metric": metric}
    live = {name: value for name, value in given.items() if value is not None}
    found = replace(found, **{name: _LIVE[name](f"{LIVE}:{name}") for name in live})
    found = with_fields(found, fields or {})
    check_recipe(found)
    if not 0 <= grace_s < 1e6:
        raise ArgumentError("grace_s", f"is {grace_s:g}; expected seconds, 0 or more")
    if resume and run_dir is None:
        raise ArgumentError("run_dir", "is missing; expected the folder of the run to resume")
    folder = Path(run_dir or new_run_dir(name))
    check_if_slower(if_slower, plan)
    job = Job(found, str(folder), resume, plan_text(plan), grace_s, if_slower=if_slower)
    if live:
        makers = {name: _maker(live[name]) for name in ("model", "data") if name in live}
        job = replace(job, live=own_code.pack(live | makers))
    try:
        start(job, workers, restarts, Lines(progress), progress)
    except (RunFailedError, KeyboardInterrupt) as error:
        if (folder / "recipe.toml").exists():
            error.add_note(f"to resume: {_again(folder, found)}")
        raise
    return Run(folder)


def _again(folder: Path, recipe: Recipe) -> str:
    """What goes on with a run of this recipe."""
    own = own_names(recipe).values()
    if any(name.startswith(LIVE) for name in own):
        return f"the same call with run_dir={str(folder)!r}, resume=True"
    return f"firetree.Run({str(folder)!r}).resume({'trust=True' if own else ''})"


_LIVE: Mapping[str, Callable[[str], Any]] = {
    "model": OwnModel,
    "data": OwnData,
    "loss": LossRecipe,
    "metric": MetricRecipe,
}
"""The part of a recipe for each kind of live object."""


def _maker(value: Any) -> Any:
    """What a recipe's name stands for: a function that gives the network or the data."""
    is_function = callable(value) and not isinstance(value, nn.Module | Dataset)
    return value if is_function else partial(_itself, value)


def _itself(value: Any) -> Any:
    return value


def start(
    job: Job, workers: int, restarts: int, watcher: Watcher, warn: Progress
) -> RangeTest | None:
    """Start a job's local workers, and again after a lost one as often as `restarts` allows.

    `watcher` hears of the run, `warn` that it starts again. Gives the learning rates that were looked for.

    Raises:
        UserError: as `train`.
    """
    if workers < 1:
        raise ArgumentError("workers", f"is {workers}; expected 1 or more")
    if restarts < 0:
        raise ArgumentError("restarts", f"is {restarts}; expected 0 or more")
    check_world_size(job.recipe, workers)
    watcher.say(f"starting {workers} worker{'s' * (workers > 1)}")
    begin = partial(launch.launch, workers, grace_s=job.grace_s)
    for attempt in itertools.count(1):
        try:
            found = launch.call(begin, work_as_told, asdict(job), relayed(watcher))
            break
        except WorkerLostError as error:
            if attempt > restarts:
                raise
            how_often = f"{attempt} of {restarts}"
            warn(f"{error}; starting again from the newest checkpoint ({how_often})")
        job = replace(job, resume=True)
    return found and from_document(RangeTest, found, "the rates")


def check_if_slower(if_slower: IfSlower, plan: object) -> None:
    """Raise ArgumentError where nothing would predict what it asks for."""
    if if_slower not in get_args(IfSlower):
        raise ArgumentError("if_slower", f"is {if_slower!r}; expected 'fewer', 'warn' or 'stop'")
    if if_slower == "stop" and plan != AUTO:
        raise ArgumentError(
            "if_slower",
            "is 'stop' without plan 'auto'; only a run that plans itself knows beforehand",
        )


def plan_text(plan: Plan | str | PathLike[str] | None) -> str | None:
    """A plan as a job has it."""
    if plan is None or plan == AUTO:
        return plan
    return (plan if isinstance(plan, Plan) else load_plan(str(plan))).to_json()
