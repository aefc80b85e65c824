"""`firetree train`: starts local workers, or trains as one of those that were started."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from firetree import launch, output, tasks, training
from firetree.arguments import parse
from firetree.errors import UserError
from firetree.planning.plan import load_plan
from firetree.sync import algorithm_names


@dataclass(frozen=True)
class TrainOptions:
    """Train a recipe; every field of it is an option.

    Starts `--workers` local processes, or takes its place among those that torchrun, srun or mpirun
    started.
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE")]
    """A ready recipe's name, or a TOML file."""
    workers: int | None = None
    """Local processes to start; 1 by default."""
    restarts: int = 0
    """How often all workers are started again, from the newest checkpoint, after one was lost."""
    run_dir: Path | None = None
    """The run's folder; by default runs/RECIPE-TIME."""
    resume: bool = False
    """Go on from the newest whole checkpoint in --run-dir."""
    grace: float = 10.0
    """Seconds after SIGTERM, SIGINT (Ctrl-C), SIGUSR1 or SIGHUP in which the run may write one more
    checkpoint before it ends."""
    plan: str | None = None
    """A plan's file, as firetree plan -o writes it, or auto: probe, plan, and plan anew when links
    change. Replaces --sync.algorithm and --sync.bucket-bytes."""
    find_lr: bool = False
    """Instead of training, find out at which learning rates the loss falls, with a plot."""
    recipe: Annotated[training.Recipe, tyro.conf.arg(name="")] = field(
        default_factory=training.Recipe
    )


def run(arguments: list[str]) -> None:
    """Start the workers, or train as one of them."""
    place = launch.find_place(os.environ)
    launch.follow_launcher()
    try:
        options = _options(arguments)
        _check(options, place)
    except UserError as error:
        if place is None or place.world_size == 1:
            raise
        training.refuse(place, error)
    run_dir = options.run_dir or _new_run_dir(options.name)
    workers = options.workers or 1
    if place is None and (workers > 1 or options.restarts):
        training.check_world_size(options.recipe, workers)
        if options.plan not in (None, training.AUTO):
            load_plan(options.plan)
        chosen = [] if options.run_dir else ["--run-dir", str(run_dir)]
        output.show(f"starting {workers} worker{'s' * (workers > 1)}")
        arguments = [*sys.argv[1:], *chosen]
        with training.saying_how_to_go_on(run_dir):
            launch.launch_again(options.restarts, workers, arguments, options.grace, output.tell)
        return
    if place is None and options.workers is None:
        launch.refuse_idle_tasks(os.environ)
    place = place or launch.ALONE
    launch.keep_freed_memory()
    if options.find_lr:
        training.find_rate(options.recipe, place, run_dir, output.show)
        return
    with training.saying_how_to_go_on(run_dir):
        training.train(options.recipe, place, run_dir, options.resume, options.plan, options.grace)


def _check(options: TrainOptions, place: launch.Place | None) -> None:
    training.check_recipe(options.recipe)
    if options.workers is not None and options.workers < 1:
        raise UserError(f"--workers {options.workers}; expected 1 or more")
    if place is not None and options.workers not in (None, place.world_size):
        raise UserError(
            f"--workers {options.workers} among {place.world_size} started workers; leave it out"
        )
    if options.restarts < 0 or (options.restarts and place and not launch.started_here()):
        raise UserError(
            f"--restarts {options.restarts}; expected 0 or more, and 0 for workers that others start: "
            "torchrun has --max-restarts, SLURM --requeue"
        )
    if not 0 <= options.grace < 1e6:
        raise UserError(f"--grace {options.grace:g}; expected seconds, 0 or more")
    if options.resume and options.run_dir is None:
        raise UserError("--resume needs the folder of the run to go on with; add --run-dir DIR")


def _options(arguments: list[str]) -> TrainOptions:
    """Read the options twice: the recipe that is named gives the defaults of the second reading."""
    named = None
    given = [argument for argument in arguments if argument not in ("-h", "--help")]
    if given:
        name = parse(TrainOptions, "firetree train", given).name
        named = TrainOptions(name, recipe=training.load_recipe(name))
    return parse(TrainOptions, "firetree train", arguments, named, _names())


def _names() -> str:
    kinds = " ".join(
        f"For {kind.what}: data {', '.join(kind.data)}; networks {', '.join(kind.networks)}."
        for kind in tasks.KINDS
    )
    recipes, algorithms = ", ".join(training.known_recipes()), ", ".join(algorithm_names())
    return f"Recipes: {recipes}. {kinds} Algorithms: {algorithms}."


def _new_run_dir(recipe_name: str) -> Path:
    return Path("runs", f"{Path(recipe_name).stem}-{time.strftime('%Y%m%d-%H%M%S')}")
