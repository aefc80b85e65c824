"""`firetree bench`: all-reduces side by side, a step replayed in the lab, or time to accuracy."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from firetree import bench, collectives, launch, output
from firetree.commands import pages
from firetree.commands.arguments import choose, parse, split_at
from firetree.commands.pages import explain as explain_page
from firetree.commands.text import explain
from firetree.commands.text.bench import accuracy_text, allreduce_text, steps_text
from firetree.commands.workloads import WorkloadOptions
from firetree.durable import make_folder, write_durably
from firetree.errors import ArgumentError, UserError
from firetree.network import parse_rate
from firetree.network.units import parse_bytes

VERBS = {
    "allreduce": "measure all-reduces side by side, and check their results; --explain draws one",
    "step": "replay a model's training step in the lab, and compare it with the prediction",
    "time-to-accuracy": "train recipes in the lab, with several ways to synchronise, to a target accuracy",
}


@dataclass(frozen=True)
class AllreduceOptions:
    """Measure all-reduces side by side and check their results, or explain one.

    Starts local processes on loopback, or joins the processes that torchrun, srun, mpirun or `firetree
    lab` started.
    """

    algorithms: str = ",".join(bench.measure.ALGORITHMS)
    """Comma-separated names, or `all`. `forest` is found for the network after a probe. The backend's own
    all-reduce, `gloo`, is always measured too."""
    sizes: str = "1kB,64kB,1MB,5MB"
    """Comma-separated sizes of the buffer, as in 64kB or 5MB."""
    world_size: str | None = None
    """Comma-separated numbers of ranks; by default all started processes, or 2 and 4 local ones."""
    repeats: int = 7
    """Timings of each algorithm, taken in turn."""
    rate: str | None = None
    """Rate of every host's link, for the optimum, as in 1gbit; by default measured."""
    predict: bool = False
    """Probe the network first, and print predicted times beside the measured ones."""
    device: Literal["cpu", "cuda"] = "cpu"
    """The buffer's device; with `cuda`, `gloo` is NCCL's own all-reduce."""
    timeout_s: float = 60.0
    """How long to wait for another rank, in seconds."""
    json: bool = False
    """Print JSON: a list of rows."""
    html: Path | None = None
    """Write an HTML page with the plot, or with the animated explanation."""
    explain: str | None = None
    """Draw this algorithm's schedule instead: which rank sends which chunk to which at each step."""
    chunks: int | None = None
    """With --explain: the number of chunks that the buffer is cut into."""


@dataclass(frozen=True)
class StepOptions(WorkloadOptions):
    """Replay a model's training step on an emulated cluster, and compare it with its prediction.

    Gradients of the real sizes become ready when a real backward pass would have them. All of them are
    sent; nothing is computed. Needs root, ip and tc, like `firetree lab`.
    """

    network: str = "4 x 200mbit"
    """A network in one line, or its JSON file."""
    world_size: str | None = None
    """Comma-separated numbers of hosts; by default all hosts of the network."""
    ways: str = "plan,gloo"
    """Comma-separated: `plan` for the best algorithm for each bucket, or one algorithm for all."""
    repeats: int = 3
    """Replays of each, taken in turn."""
    json: bool = False
    """Print JSON: a list of rows."""


@dataclass(frozen=True)
class AccuracyOptions:
    """Train recipes in the lab, with several ways to synchronise, until they reach a target accuracy.

    Options after `--` set recipe fields of all runs, as in `-- --optim.lr 0.1`. Existing runs are
    continued, so a comparison can be interrupted, or repeated with another target. Needs root, ip and tc,
    like `firetree lab`.
    """

    recipes: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE,…")]
    """Comma-separated recipes."""
    target: float = 0.9
    """The top-1 accuracy (0 to 1) that ends a run; without it a run ends after its recipe's epochs."""
    ways: str = ",".join(bench.accuracy.WAYS)
    """Comma-separated: an algorithm or `plan`, with optional suffixes: +COMPRESSION, +local:STEPS or
    +diloco:STEPS. The first is the baseline."""
    network: str = "4 x 50mbit"
    """A network in one line, or its JSON file."""
    seeds: int = 3
    """Runs of each recipe and way, with seeds from 0."""
    runs: Path = Path("runs/time-to-accuracy")
    """The folder for the runs."""
    json: bool = False
    """Print JSON: a list of runs."""
    html: Path | None = None
    """Write an HTML page with the plot."""


def run(arguments: list[str]) -> None:
    """Run `firetree bench` with these arguments."""
    measures = {"allreduce": _allreduce, "step": _step, "time-to-accuracy": _accuracy}
    choose(VERBS, "firetree bench", arguments, lambda verb, rest: measures[verb](rest))


def _allreduce(arguments: list[str]) -> None:
    launch.follow_launcher()
    options = parse(AllreduceOptions, "firetree bench allreduce", arguments)
    if options.explain is not None:
        _explain(options, options.explain)
        return
    if options.chunks is not None:
        raise UserError("--chunks without --explain; measurements use each algorithm's own chunks")
    asked = allreduce_arguments(options)
    rank_info = launch.find_rank_info(os.environ)
    first = rank_info is None or rank_info.rank == 0
    if first:
        pages.check(options.html)
    rows = bench.allreduce(**asked)
    if first:
        output.show(_rows_json(rows) if options.json else allreduce_text(rows))
        _write_plot(options.html, "All-reduces", "allreduce", rows)


def allreduce_arguments(options: AllreduceOptions) -> dict[str, Any]:
    """The arguments of `bench.allreduce` (UserError if an option cannot be read)."""
    named = (
        collectives.names() if name == "all" else (name,) for name in items(options.algorithms)
    )
    return {
        "algorithms": [name for some in named for name in some],
        "sizes_bytes": [parse_size(text) for text in items(options.sizes)],
        "world_size": parse_world_sizes(options.world_size),
        "repeats": options.repeats,
        "rate_bytes_s": None if options.rate is None else parse_rate(options.rate),
        "predict": options.predict,
        "device": options.device,
        "timeout_s": options.timeout_s,
    }


def _explain(options: AllreduceOptions, name: str) -> None:
    [world_size] = parse_world_sizes(options.world_size or "8") or [8]
    schedule = collectives.build(name, world_size, options.chunks)
    output.show(explain.as_text(name, schedule))
    path = options.html or Path(f"{name.replace(':', '-')}-{world_size}.html")
    write_durably(path, explain_page.as_page(name, schedule).encode())
    output.show(f"\nAnimated page: {path}")


def _step(arguments: list[str]) -> None:
    options = parse(StepOptions, "firetree bench step", arguments)
    rows = bench.step(
        options.model,
        options.network,
        items(options.ways),
        world_size=parse_world_sizes(options.world_size),
        batch=options.batch,
        size=options.size,
        compute_s=options.compute_s,
        repeats=options.repeats,
        progress=output.tell_start,
    )
    output.show(_steps_json(rows) if options.json else steps_text(rows))


def _accuracy(arguments: list[str]) -> None:
    ours, _, extra = split_at(arguments, "--")
    options = parse(AccuracyOptions, "firetree bench time-to-accuracy", ours)
    if options.html:
        make_folder(options.runs)  # the page may be in it
        pages.check(options.html)
    runs = bench.time_to_accuracy(
        items(options.recipes),
        target=options.target,
        ways=items(options.ways),
        network=options.network,
        seeds=options.seeds,
        runs=options.runs,
        fields=recipe_fields(extra),
        progress=output.tell_start,
    )
    output.show(_rows_json(runs) if options.json else accuracy_text(runs))
    _write_plot(options.html, "Time and bytes to an accuracy", "accuracy", runs)


def _write_plot(path: Path | None, title: str, home: str, rows: Sequence[Any]) -> None:
    if path is not None:
        plot = import_module(f"firetree.commands.pages.{home}").fragment(rows)
        pages.write(path, title, [plot], scripts=True)


def _rows_json(rows: Sequence[Any]) -> str:
    return json.dumps([asdict(row) for row in rows], indent=1)


def _steps_json(rows: Sequence[bench.StepRow]) -> str:
    return json.dumps(
        [
            asdict(row) | {"speedup": row.speedup, "predicted_speedup": row.predicted_speedup}
            for row in rows
        ],
        indent=1,
    )


def recipe_fields(options: Sequence[str]) -> dict[str, Any]:
    """Fields of a recipe, from options such as `--optim.lr 0.1`, `--optim.lr=0.1` and `--no-bias`."""
    fields: dict[str, Any] = {}
    words = [*options]
    while words:
        option, given, value = words.pop(0).partition("=")
        if not option.startswith("--"):
            raise UserError(
                f"'{option}'; expected a recipe's field and value, as in --optim.lr 0.1"
            )
        name = option[2:].replace("-", "_")
        if not given and words and not words[0].startswith("--"):
            fields[name] = words.pop(0)
        elif given:
            fields[name] = value
        else:
            *table, last = name.split(".")
            fields[".".join([*table, last.removeprefix("no_")])] = not last.startswith("no_")
    return fields


def items(text: str) -> list[str]:
    """The items of a comma-separated list."""
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise UserError(f"'{text}'; expected comma-separated names or numbers")
    return items


def parse_world_sizes(text: str | None) -> list[int] | None:
    """Comma-separated numbers of ranks, each at least 1."""
    if text is None:
        return None
    for item in items(text):
        if not re.fullmatch(r"0*[1-9]\d{0,5}", item):
            raise ArgumentError(
                "world_size", f"is {item}; expected a number of ranks, as in 4 or 2,4,8"
            )
    return [int(item) for item in items(text)]


def parse_size(text: str) -> int:
    """Bytes of a size such as `64kB` or `1MiB`, rounded down to whole float32 elements.

    Raises:
        UserError: not a size, or below the 4 bytes of one element.
    """
    elements = parse_bytes(text) // 4
    if elements < 1:
        raise UserError(f"size '{text}'; expected at least 4B, one element")
    return 4 * elements
