"""Time and bytes to an accuracy: recipes × ways to synchronise × seeds, trained in the lab.

The comparison that FireCaffe asks for (Iandola et al. 2016, section 6): what counts is when a net is
good enough, not how fast it takes a step.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import tyro

from firetree import tables
from firetree.durable import write_durably
from firetree.errors import RunFailedError, UserError
from firetree.metrics import read_metrics
from firetree.network import Network
from firetree.planning.compressions import parse_compression
from firetree.sync import check_algorithm
from firetree.trace import RankTrace, StepTrace, read_trace
from firetree.training import Recipe, load_recipe, recipe_toml
from firetree.training.apart import FIRETREE, log_of, train_by_options

_TARGET = "--optim.target-accuracy"

PLAN = "plan"
"""Probe, plan, and follow the plan."""


@dataclass(frozen=True)
class AccuracyOptions:
    """Train recipes with several ways to synchronise until they are good enough, in the lab.

    What follows -- are options of firetree train for all runs. Runs that are there already go on, so
    that a comparison can be made in several sittings, perhaps with another target. Needs root, ip and
    tc, as firetree lab does.
    """

    recipes: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE,…")]
    """Recipes with commas between."""
    target: float = 0.9
    """The top-1 accuracy (0 to 1) that ends a run; a run that never has it ends with its recipe."""
    ways: str = "gloo,parameter_server,plan,plan+int8,gloo+local:16"
    """Comma-separated: an algorithm or plan, and perhaps behind a + a compression, local:STEPS or
    diloco:STEPS. The first is what others are compared with."""
    network: str = "4 x 50mbit"
    """A network in one line, or its JSON file."""
    seeds: int = 3
    """Runs of each, with seeds from 0."""
    runs: Path = Path("runs/time-to-accuracy")
    """Where the runs' folders are."""
    json: bool = False
    """Print JSON: a list of runs."""
    html: Path | None = None
    """Write a page with the plot."""


@dataclass(frozen=True, slots=True)
class AccuracyRun:
    """One run up to the evaluation that reached the target, or to its end.

    `seconds` is the time of the steps alone, `sent_bytes` what all hosts together sent in them;
    `curve` has both, in this order, and the accuracy at every evaluation.
    """

    recipe: str
    way: str
    seed: int
    reached: bool
    accuracy: float
    steps: int
    seconds: float
    sent_bytes: int
    curve: tuple[tuple[float, int, float], ...]


def way_options(way: str) -> list[str]:
    """The options of `firetree train` that a way stands for.

    Raises:
        UserError: no such algorithm, compression, or number of local steps.
    """
    first, *more = way.split("+")
    if first == PLAN:
        options = ["--plan", "auto"]
    else:
        check_algorithm(first)
        options = ["--sync.algorithm", first]
    for part in more:
        name, _, number = part.partition(":")
        if name in ("local", "diloco"):
            if not number.isdecimal() or int(number) < 1:
                raise UserError(f"way '{way}'; expected a number of steps, as in {name}:16")
            options += ["--sync.local-steps", number]
            if name == "diloco":
                options += ["--sync.outer-lr", "0.7", "--sync.outer-momentum", "0.9"]
        else:
            parse_compression(part)
            options += ["--sync.compression", part]
    if "+powersgd" in way and "--sync.local-steps" in options:
        raise UserError(f"way '{way}'; expected powersgd or local steps")
    return options


def compare(
    options: AccuracyOptions, network: Network, extra: Sequence[str], tell: Callable[[str], None]
) -> list[AccuracyRun]:
    """Make all runs, in turn, so that what is compared was run within the same minutes.

    Raises:
        UserError: an unknown recipe or way, a target that is no accuracy, no seeds, or a run's folder
            that belongs to another recipe, network or options.
        RunFailedError: a run failed; its log is named. Or one was not measured whole.
    """
    recipes, ways = options.recipes.split(","), options.ways.split(",")
    if not 0 < options.target <= 1:
        raise UserError(f"--target {options.target}; expected above 0 and at most 1")
    if options.seeds < 1:
        raise UserError(f"--seeds {options.seeds}; expected 1 or more")
    for recipe in recipes:
        load_recipe(recipe)
    chosen = {way: way_options(way) for way in ways}
    found = []
    for seed in range(options.seeds):
        for recipe in recipes:
            for way in ways:
                tell(f"{recipe}, {way}, seed {seed} on {network.size} hosts")
                name = f"{Path(recipe).stem}-{way.replace(':', '-')}-{seed}"
                goal = ["--seed", str(seed), _TARGET, str(options.target)]
                folder = options.runs / name
                asked = [options.network, *chosen[way], *goal, *extra]
                _claim(folder, load_recipe(recipe), asked)
                known = (folder, recipe, way, seed, options.target)
                if not _reached(*known):
                    _train(folder, recipe, asked)
                found.append(read_run(*known))
    return found


def _claim(folder: Path, recipe: Recipe, asked: Sequence[str]) -> None:
    """Note beside a run's folder what it is of (UserError where it is of something else).

    Another target makes no other run: the same one is read to there, or goes on.
    """
    kept, begun, ended = (_beside(folder, kind) for kind in ("toml", "asked", "ended"))
    if not folder.exists():
        ended.unlink(missing_ok=True)
    elif not (_fits(kept, recipe) and _was_asked(begun if begun.exists() else ended, asked)):
        raise UserError(
            f"{folder} has a run of another recipe, network or options; "
            "give another folder with --runs, or the recipe another name"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_durably(kept, recipe_toml(recipe).encode())
    write_durably(begun, shlex.join(asked).encode())


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f"{folder.name}.{kind}")


def _fits(kept: Path, recipe: Recipe) -> bool:
    # As data, since a file of an earlier version lacks later fields; the earliest kept none.
    return not kept.exists() or load_recipe(str(kept)) == recipe


def _was_asked(begun: Path, asked: Sequence[str]) -> bool:
    if not begun.exists():
        return False
    before = shlex.split(begun.read_text(encoding="utf-8"))
    return _without_target(before) == _without_target(asked)


def _without_target(asked: Sequence[str]) -> list[str]:
    at = asked.index(_TARGET)
    return [*asked[:at], *asked[at + 2 :]]


def _reached(folder: Path, recipe: str, way: str, seed: int, target: float) -> bool:
    try:
        return read_run(folder, recipe, way, seed, target).reached
    except RunFailedError:  # which going on would not mend
        raise
    except UserError:  # not begun, or broken off before its first evaluation
        return False


def _train(folder: Path, recipe: str, asked: Sequence[str]) -> None:
    """Train to the end, unless that was done to the same target."""
    ended, (network, *options) = _beside(folder, "ended"), asked
    if ended.is_file() and ended.read_text(encoding="utf-8") == shlex.join(asked):
        return
    in_lab = [*FIRETREE, "lab", "--network", network, "--"]
    if train_by_options(recipe, folder, options, within=in_lab):
        raise RunFailedError(f"a run failed; its last words are in {log_of(folder)}")
    write_durably(ended, shlex.join(asked).encode())


def read_run(folder: Path, recipe: str, way: str, seed: int, target: float) -> AccuracyRun:
    """What a run's folder says about its way to the target.

    Raises:
        UserError: it has no evaluation.
        RunFailedError: its trace lacks steps, which were skipped or of a run that went on otherwise.
    """
    traces = read_trace(folder).ranks
    curve = []
    for metrics in read_metrics(folder):
        steps, accuracy = metrics.step, metrics.accuracy
        measured = [_before(steps, trace, folder) for trace in traces]
        seconds = sum(step.step_s for step in measured[0])
        sent_bytes = sum(step.sent_bytes for some in measured for step in some)
        curve.append((seconds, sent_bytes, accuracy))
        if accuracy >= target:
            break
    if not curve:
        raise UserError(f"{folder} has no evaluation; was the run ended?")
    taken = curve[-1][:2]
    reached = accuracy >= target
    return AccuracyRun(recipe, way, seed, reached, accuracy, steps, *taken, tuple(curve))


def _before(steps: int, trace: RankTrace, folder: Path) -> list[StepTrace]:
    """A rank's first `steps` steps."""
    some = [step for step in trace.steps if step.step < steps]
    if len(some) < steps:
        raise RunFailedError(
            f"the trace in {folder} has {len(some)} of the first {steps} steps of rank "
            f"{trace.header.rank}; remove that folder to train the run anew"
        )
    return some


def as_json(runs: Sequence[AccuracyRun]) -> str:
    """A list of objects with the fields of `AccuracyRun`."""
    return json.dumps([asdict(run) for run in runs], indent=1)


def as_text(runs: Sequence[AccuracyRun]) -> str:
    """A table with the median over the seeds for every recipe and way."""
    return tables.as_text(HEADINGS, rows(runs), left=("recipe", "way"))


HEADINGS = (
    "recipe",
    "way",
    "reached",
    "accuracy",
    "steps",
    "seconds",
    "least to most",
    "times as soon",
    "MB sent",
    "× fewer bytes",
)


def rows(runs: Sequence[AccuracyRun]) -> Iterator[tuple[str, ...]]:
    """The table's rows; ratios are to the first way's medians, for runs that reached the target."""
    for recipe in dict.fromkeys(run.recipe for run in runs):
        first: tuple[float, float] | None = None
        for way in dict.fromkeys(run.way for run in runs):
            mine = [run for run in runs if (run.recipe, run.way) == (recipe, way)]
            reached = [run for run in mine if run.reached]
            seconds = sorted(run.seconds for run in reached or mine)
            taken = median(seconds), median(run.sent_bytes for run in reached or mine)
            first = first or taken
            yield (
                recipe,
                way,
                f"{len(reached)} of {len(mine)}",
                f"{median(run.accuracy for run in mine):.2%}",
                f"{median(run.steps for run in reached or mine):.0f}",
                f"{taken[0]:.1f}",
                f"{seconds[0]:.1f} to {seconds[-1]:.1f}",
                f"{first[0] / taken[0]:.2f}" if reached else "",
                f"{taken[1] / 1e6:.1f}",
                f"{first[1] / taken[1]:.1f}" if reached else "",
            )
