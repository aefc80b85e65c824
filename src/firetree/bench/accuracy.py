"""Time and bytes to a target accuracy: recipes × ways to synchronise × seeds, trained in the lab.

FireCaffe's comparison (Iandola et al. 2016, section 6): the time until a net is accurate enough counts,
not the time of a step.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from firetree.durable import write_durably
from firetree.errors import ArgumentError, RunFailedError, UserError
from firetree.lab import Lab, load_description, run_command
from firetree.metrics import read_metrics
from firetree.network import Network
from firetree.planning.compressions import UNCOMPRESSED, parse_compression
from firetree.progress import Progress, log
from firetree.sync import check_algorithm
from firetree.trace import RankTrace, StepTrace, read_trace
from firetree.training import AUTO, Recipe, load_recipe, read_recipe, recipe_toml, with_fields
from firetree.training.apart import job_command, log_of

_TARGET = "optim.target_accuracy"

PLAN = "plan"
"""Probe, plan, and follow the plan."""


WAYS = ("gloo", "parameter_server", "plan", "plan+int8", "gloo+local:16")

_COUNTED = {
    "local": "sync.local_steps",
    "diloco": "sync.local_steps",
    "fragments": "sync.fragments",
}


@dataclass(frozen=True, slots=True)
class AccuracyRun:
    """One run up to the evaluation that reached the target, or to its end.

    `seconds` is the time of the steps only; `sent_bytes` is the total of all hosts in these steps.
    `curve` has (seconds, sent_bytes, accuracy) at every evaluation.
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


def way_fields(way: str) -> tuple[str | None, dict[str, Any]]:
    """The `plan` of a job and the recipe fields that a way means.

    Raises:
        UserError: no such algorithm, compression, or number of local steps.
    """
    first, *more = way.split("+")
    fields: dict[str, Any] = {}
    compression = UNCOMPRESSED
    if first != PLAN:
        check_algorithm(first)
        fields["sync.algorithm"] = first
    for part in more:
        name, _, number = part.partition(":")
        if name in _COUNTED:
            if not number.isdecimal() or int(number) < 1:
                what = "fragments" if name == "fragments" else "steps"
                raise UserError(f"way '{way}'; expected a number of {what}, as in {name}:16")
            fields[_COUNTED[name]] = int(number)
            if name == "diloco":
                fields |= {"sync.outer_lr": 0.7, "sync.outer_momentum": 0.9}
        else:
            compression = parse_compression(part)
            fields["sync.compression"] = part
    if compression.by_layer and "sync.local_steps" in fields:
        raise UserError(f"way '{way}'; expected {compression.name} or local steps")
    if compression.name == "demo":
        fields["optim.momentum"] = 0.0
    return (AUTO if first == PLAN else None), fields


def time_to_accuracy(
    recipes: Sequence[str],
    *,
    target: float = 0.9,
    ways: Sequence[str] = WAYS,
    network: str | Path = "4 x 50mbit",
    seeds: int = 3,
    runs: str | Path = "runs/time-to-accuracy",
    fields: Mapping[str, Any] = MappingProxyType({}),
    progress: Progress = log,
) -> list[AccuracyRun]:
    """Train recipes in the lab, with several ways to synchronise, until they reach a target accuracy.

    Existing runs are continued, so a comparison can be interrupted, or repeated with another target. The
    ways take turns, so that compared runs are close in time. Needs Linux and root.

    Args:
        recipes: names or files.
        target: the top-1 accuracy (0 to 1) that ends a run; without it a run ends after its epochs.
        ways: each an algorithm or `plan`, with optional suffixes: `+COMPRESSION`, `+local:STEPS`,
            `+diloco:STEPS` or `+fragments:COUNT`, as in `plan+int8`. The first is the baseline.
        network: one line, or the path of a network's JSON.
        seeds: runs of each recipe and way, with seeds from 0.
        runs: the folder for the runs.
        fields: recipe fields for all runs, as in `{"optim.lr": 0.1}`.
        progress: called with one line for each run.

    Raises:
        UserError: an unknown recipe or way, a target outside 0 to 1, no seeds, or a run's folder that
            has another recipe, network or options.
        RunFailedError: a run failed, with the path of its log; or its trace is incomplete.
    """
    if not 0 < target <= 1:
        raise ArgumentError("target", f"is {target}; expected above 0 and at most 1")
    if seeds < 1:
        raise ArgumentError("seeds", f"is {seeds}; expected 1 or more")
    hosts = Network.load(network).size
    for recipe in recipes:
        with_fields(load_recipe(recipe), fields)
    chosen = {way: way_fields(way) for way in ways}
    found = []
    for seed in range(seeds):
        for recipe in recipes:
            for way in ways:
                progress(f"{recipe}, {way}, seed {seed} on {hosts} hosts")
                name = f"{Path(recipe).stem}-{way.replace(':', '-')}-{seed}"
                plan, own = chosen[way]
                own = {**own, "seed": seed, _TARGET: target, **fields}
                folder = Path(runs, name)
                asked = _words(network, ({"plan": plan} if plan else {}) | own)
                _claim(folder, load_recipe(recipe), asked)
                known = (folder, recipe, way, seed, target)
                if not _reached(*known):
                    trained = with_fields(load_recipe(recipe), own)
                    _train(folder, asked, trained, plan, network)
                found.append(read_run(*known))
    return found


def _claim(folder: Path, recipe: Recipe, asked: Sequence[str]) -> None:
    """Record a run's recipe and options beside its folder (UserError if it has others).

    The target may change: the same run is read up to there, or continued.
    """
    kept, begun, ended = (_beside(folder, kind) for kind in ("toml", "asked", "ended"))
    if not folder.exists():
        ended.unlink(missing_ok=True)
    elif not (_fits(kept, recipe) and _was_asked(begun if begun.exists() else ended, asked)):
        raise UserError(
            f"{folder} has a run of another recipe, network or options; give another folder for runs, "
            "or the recipe another name"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_durably(kept, recipe_toml(recipe).encode())
    write_durably(begun, shlex.join(asked).encode())


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f"{folder.name}.{kind}")


def _fits(kept: Path, recipe: Recipe) -> bool:
    # Compared as data, as files of earlier versions lack newer fields; the earliest kept no file.
    return not kept.exists() or read_recipe(kept) == recipe


def _was_asked(begun: Path, asked: Sequence[str]) -> bool:
    if not begun.exists():
        return False
    network, *before = shlex.split(begun.read_text(encoding="utf-8"))
    before[::2] = [name.lstrip("-").replace("-", "_") for name in before[::2]]  # once options
    return _without_target([network, *before]) == _without_target(asked)


def _words(network: str | Path, values: Mapping[str, Any]) -> list[str]:
    """The network and each name with its value, as in the file beside a run."""
    return [str(network), *(str(word) for pair in values.items() for word in pair)]


def _without_target(asked: Sequence[str]) -> list[str]:
    at = asked.index(_TARGET)
    return [*asked[:at], *asked[at + 2 :]]


def _reached(folder: Path, recipe: str, way: str, seed: int, target: float) -> bool:
    try:
        return read_run(folder, recipe, way, seed, target).reached
    except RunFailedError:  # continuing would not help
        raise
    except UserError:  # not started, or interrupted before its first evaluation
        return False


def _train(
    folder: Path, asked: Sequence[str], recipe: Recipe, plan: str | None, network: str | Path
) -> None:
    """Train to the end, unless the run has already ended with the same target."""
    ended = _beside(folder, "ended")
    if ended.is_file() and ended.read_text(encoding="utf-8") == shlex.join(asked):
        return
    with log_of(folder).open("wb") as log, Lab(load_description(str(network))) as lab:
        try:
            run_command(lab, job_command(recipe, folder, plan), out=log, err=log)
        except UserError as error:
            failed = f"a run failed; see the end of {log_of(folder)}"
            raise RunFailedError(failed) from error
    write_durably(ended, shlex.join(asked).encode())


def read_run(folder: Path, recipe: str, way: str, seed: int, target: float) -> AccuracyRun:
    """Read a run's progress to the target from its folder.

    Raises:
        UserError: it has no evaluation, or no accuracy.
        RunFailedError: its trace lacks steps.
    """
    traces = read_trace(folder).ranks
    curve, accuracy = list[tuple[float, int, float]](), 0.0
    for metrics in read_metrics(folder):
        if metrics.accuracy is None:
            raise UserError(
                f"{folder} has no accuracy; expected a recipe whose answers are right or wrong"
            )
        steps, accuracy = metrics.step, metrics.accuracy
        measured = [_before(steps, trace, folder) for trace in traces]
        seconds = sum(step.step_s for step in measured[0])
        sent_bytes = sum(step.sent_bytes for some in measured for step in some)
        curve.append((seconds, sent_bytes, accuracy))
        if accuracy >= target:
            break
    if not curve:
        raise UserError(f"{folder} has no evaluation; was the run interrupted?")
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
