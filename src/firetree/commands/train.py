"""`firetree train`: start local workers, or train as one of the workers that torchrun and others start."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from firetree import launch, output, runs, tasks, training
from firetree.commands import pages
from firetree.commands.arguments import parse, placed_and_named
from firetree.commands.display import Display
from firetree.errors import RunFailedError, UserError
from firetree.sync import algorithm_names
from firetree.training.job import Job, work


@dataclass(frozen=True)
class TrainOptions:
    """Train a recipe. Each of its fields is an option; other data and networks have other options.

    Starts `--workers` local processes, or joins the processes that torchrun, srun or mpirun started.
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE")]
    """A ready recipe's name, or a TOML file."""
    workers: int | None = None
    """Local processes to start; 1 by default."""
    restarts: int = 0
    """How often all workers are restarted from the newest checkpoint after one of them is lost."""
    run_dir: Path | None = None
    """The run's folder; by default runs/RECIPE-TIME."""
    resume: bool = False
    """Continue from the newest complete checkpoint in --run-dir."""
    grace: float = 10.0
    """Seconds to write a last checkpoint after SIGTERM, SIGINT (Ctrl-C), SIGUSR1 or SIGHUP."""
    plan: str | None = None
    """A plan's file, from `firetree plan -o`, or auto: probe, plan, and plan again when links change.
    Replaces --sync.algorithm and --sync.bucket-bytes."""
    if_slower: training.IfSlower = "fewer"
    """With --plan auto, where fewer workers would be faster: train with these, or with all, or stop."""
    find_lr: bool = False
    """Run a learning-rate range test instead of training, and plot it."""
    trust: bool = False
    """Run code that RECIPE names, wherever it is; without, code in a file beside RECIPE alone."""
    recipe: Annotated[tyro.conf.AvoidSubcommands[training.Recipe], tyro.conf.arg(name="")] = field(
        default_factory=training.Recipe
    )


def run(arguments: list[str]) -> None:
    """Start the workers, or train as one of them."""
    rank_info = launch.find_rank_info(os.environ)
    launch.follow_launcher()
    try:
        options = _options(arguments)
        _check(options, rank_info)
        job = _job(options)
    except UserError as error:
        if rank_info is None or rank_info.world_size == 1:
            raise
        training.refuse(rank_info, error)
    workers = options.workers or 1
    with _saying_how_to_go_on(Path(job.run_dir)), Display() as display:
        if rank_info is None and (workers > 1 or options.restarts):
            found = runs.start(job, workers, options.restarts, display, output.tell)
        else:
            if rank_info is None and options.workers is None:
                _refuse_idle_tasks()
            found = work(job, rank_info or launch.ALONE, display)
        if found:
            display.say(_write_rates(found, Path(job.run_dir, "find-lr.html")))


def _check(options: TrainOptions, rank_info: launch.RankInfo | None) -> None:
    training.check_recipe(options.recipe)
    if options.find_lr and (rank_info is None or rank_info.rank == 0):
        pages.require()
    if options.workers is not None and options.workers < 1:
        raise UserError(f"--workers {options.workers}; expected 1 or more")
    if rank_info is not None and options.workers not in (None, rank_info.world_size):
        raise UserError(
            f"--workers {options.workers}, but a launcher started {rank_info.world_size}; leave it out"
        )
    if options.restarts < 0 or (options.restarts and rank_info):
        raise UserError(
            f"--restarts {options.restarts}; expected 0 or more, and 0 under a launcher: torchrun has "
            "--max-restarts, SLURM --requeue"
        )
    if not 0 <= options.grace < 1e6:
        raise UserError(f"--grace {options.grace:g}; expected seconds, 0 or more")
    runs.check_if_slower(options.if_slower, options.plan)
    if options.resume and options.run_dir is None:
        raise UserError("--resume without the run's folder; add --run-dir DIR")


def _write_rates(found: training.RangeTest, path: Path) -> str:
    """Plot the range test, and name the rates with the steepest and the least loss."""
    from firetree.commands.pages import range_test

    pages.write(path, "find-lr", [range_test.fragment(found)], scripts=True)
    return (
        f"the loss falls fastest at a learning rate of {found.steepest:.2g} and is lowest at "
        f"{found.least:.2g}; plot: {path}"
    )


def _refuse_idle_tasks() -> None:
    if (tasks := launch.idle_tasks(os.environ)) > 1:
        raise UserError(
            f"SLURM gave this job {tasks} tasks, and nothing starts them; put srun before firetree, or "
            "add --workers 1 to train with one"
        )


def _job(options: TrainOptions) -> Job:
    return Job(
        options.recipe,
        str(options.run_dir or runs.new_run_dir(Path(options.name).stem)),
        resume=options.resume,
        plan=runs.plan_text(options.plan),
        grace_s=options.grace,
        find_lr=options.find_lr,
        if_slower=options.if_slower,
    )


def _options(arguments: list[str]) -> TrainOptions:
    """Parse the options of the named data and network, with the recipe's values as defaults."""
    given = [argument for argument in arguments if argument not in ("-h", "--help")]
    placed, named = placed_and_named(TrainOptions, given)
    default = None
    if placed:
        trust = named.get("trust") == "true"
        recipe = _of_named_kinds(training.load_recipe(placed[0], trust), named)
        default = TrainOptions(placed[0], recipe=recipe)
    return parse(TrainOptions, "firetree train", arguments, default, _names())


def _of_named_kinds(recipe: training.Recipe, named: Mapping[str, str]) -> training.Recipe:
    """The recipe with the data and the network that the options name; they decide which options exist.

    Raises:
        UserError: they do not go together, or lack a field that is given.
    """
    data, model = (named.get(f"{part}.name") for part in ("data", "model"))
    if data or model:
        training.check_kind(data or recipe.data.name, model or recipe.model.name)
    given = {}
    for path, text in named.items():
        part, _, field = path.partition(".")
        is_part = part in ("data", "model")
        if field == "arguments" or (
            is_part and (data or model or not hasattr(getattr(recipe, part), field))
        ):
            given[path] = text
    return training.with_fields(recipe, given)


def _names() -> str:
    kinds = " ".join(
        f"For {kind.what}: data {', '.join(kind.data)}; networks {', '.join(kind.networks)}."
        for kind in tasks.KINDS
    )
    recipes, algorithms = ", ".join(training.known_recipes()), ", ".join(algorithm_names())
    return f"Recipes: {recipes}. {kinds} Algorithms: {algorithms}."


@contextmanager
def _saying_how_to_go_on(run_dir: Path) -> Iterator[None]:
    """Add the command that resumes the run to an error that ends it."""
    try:
        yield
    except (RunFailedError, KeyboardInterrupt) as error:
        if (run_dir / "recipe.toml").exists():
            error.add_note(f"to resume: {resume_command(sys.argv[1:], run_dir)}")
        raise


def resume_command(arguments: list[str], run_dir: Path) -> str:
    """The command that resumes a run started with these arguments."""
    kept, rest = [], iter(arguments)
    for argument in rest:
        if argument in ("--run-dir", "--run_dir"):
            next(rest, None)
        elif argument != "--resume" and not argument.startswith(("--run-dir=", "--run_dir=")):
            kept.append(argument)
    return shlex.join(["firetree", *kept, "--resume", "--run-dir", str(run_dir)])
