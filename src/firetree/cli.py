"""The command `firetree`: its sub-commands are thin, and every failure is one clear line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from firetree import __version__, bench, collectives, data, lab, launch, models, plan, report, train
from firetree.arguments import parse, split_at
from firetree.durable import write_durably
from firetree.errors import RunFailedError, UserError, nearest
from firetree.network import load_network
from firetree.sync import algorithm_names

USAGE = """\
usage: firetree COMMAND …

  train RECIPE   train on one or several workers, along a reduction tree
  report RUN …   where the time of a run went, or several runs side by side
  plan           what more machines would bring, and the best way to synchronise them
  bench          all-reduces side by side, or a step replayed in the lab
  lab            run a command on every host of an emulated cluster
  probe          what the network between the hosts carries, and what is wrong with it

`firetree COMMAND --help` tells more. `--debug` shows the traceback of a failure."""

COMMANDS = ("train", "report", "plan", "bench", "lab")

_LONG_S = 1800.0
"""How long ranks that take no part wait for those that measure."""


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
    run_dir: Path | None = None
    """The run's folder; by default runs/RECIPE-TIME."""
    resume: bool = False
    """Go on from the newest complete checkpoint in --run-dir."""
    recipe: Annotated[train.Recipe, tyro.conf.arg(name="")] = field(default_factory=train.Recipe)


@dataclass(frozen=True)
class ReportOptions:
    """Say where the time of a run went; with several runs, a table of them."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Folders of runs."""
    json: bool = False
    """Print JSON: an object, or a list for several runs."""


@dataclass(frozen=True)
class ProbeOptions:
    """Measure the network between all hosts: rates, latencies, shared links, and what to look at.

    Start it once on every host with torchrun, srun, mpirun or `firetree lab`, or here with --workers.
    """

    workers: int | None = None
    """Local processes to start, where nobody else started any."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the network as JSON to this file."""
    json: bool = False
    """Print JSON: the network, intervals and warnings."""
    html: Path | None = None
    """Write a page with a heat map of all pairs to this file."""
    brief: bool = False
    """Measure for a few seconds only, with less confidence."""
    seed: int = 0
    """Of the order in which pairs are measured."""


def main() -> None:
    """Run this process's command line; ends the process."""
    ours, dashes, theirs = split_at(sys.argv[1:], "--")
    code = 0
    try:
        _run([*(argument for argument in ours if argument != "--debug"), *dashes, *theirs])
    except BrokenPipeError:  # whoever read our output has seen enough
        code = 128 + signal.SIGPIPE
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in ours:
            traceback.print_exc()
        code = _explain(error)
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    # Winding down, a rank that failed could wait for peers that wait for it, and threads of the
    # backend abort now and then when the interpreter goes before they do.
    os._exit(code)


def _explain(error: BaseException) -> int:
    """Say in one line why the command ends; gives its exit code."""
    if isinstance(error, UserError):
        message, code = str(error), error.exit_code
    elif isinstance(error, KeyboardInterrupt):
        message = "interrupted"
        if sys.argv[1:2] == ["train"]:
            message += "; to go on, repeat the command with --resume and the run's --run-dir"
        code = error.exit_code if isinstance(error, launch.Interrupted) else 130
    else:
        message = f"unexpected {type(error).__name__}: {error}; --debug shows where"
        code = 1
    if not launch.tell_launcher(error, message):
        print(f"firetree: {message}", file=sys.stderr, flush=True)
    return code


def _run(arguments: list[str]) -> None:
    match arguments:
        case ["--version"]:
            print(f"firetree {__version__}")
        case ["-h" | "--help"]:
            print(USAGE)
        case []:
            raise UserError(f"no command; expected one of {', '.join(COMMANDS)}")
        case ["train", *rest]:
            _train(rest)
        case ["report", *rest]:
            _report(rest)
        case ["bench", "allreduce", *rest]:
            _bench_allreduce(rest)
        case ["bench", "step", *rest]:
            _bench_step(rest)
        case ["bench", *_]:
            raise UserError("expected what to measure: firetree bench allreduce, or bench step")
        case ["plan", *rest]:
            _plan(rest)
        case ["lab", *rest]:
            _lab(rest)
        case ["probe", *rest]:
            _probe(rest)
        case [unknown, *_]:
            raise UserError(f"no command '{unknown}'{nearest(unknown, COMMANDS)}")


def _train(arguments: list[str]) -> None:
    place = launch.find_place(os.environ)
    launch.follow_launcher()
    options = _train_options(arguments)
    train.check_recipe(options.recipe)
    if options.workers is not None and options.workers < 1:
        raise UserError(f"--workers {options.workers}; expected 1 or more")
    if options.resume and options.run_dir is None:
        raise UserError("--resume needs the folder of the run to go on with; add --run-dir DIR")
    run_dir = options.run_dir or _new_run_dir(options.name)
    if place is None and options.workers is not None and options.workers > 1:
        train.check_world_size(options.recipe, options.workers)
        chosen = [] if options.run_dir else ["--run-dir", str(run_dir)]
        print(f"starting {options.workers} workers", flush=True)
        launch.launch(options.workers, [*sys.argv[1:], *chosen])
        return
    place = place or launch.ALONE
    if options.workers not in (None, place.world_size):
        raise UserError(
            f"--workers {options.workers} among {place.world_size} started workers; leave it out"
        )
    train.train(options.recipe, place, run_dir, options.resume)


def _train_options(arguments: list[str]) -> TrainOptions:
    """Read the options twice: the recipe that is named gives the defaults of the second reading."""
    named = None
    given = [argument for argument in arguments if argument not in ("-h", "--help")]
    if given:
        name = parse(TrainOptions, "firetree train", given).name
        named = TrainOptions(name, recipe=train.load_recipe(name))
    return parse(TrainOptions, "firetree train", arguments, named, _names())


def _names() -> str:
    return (
        f"Recipes: {', '.join(train.known_recipes())}. Networks: {', '.join(models.names())}. "
        f"Data: {', '.join(data.names())}. Algorithms: {', '.join(algorithm_names())}."
    )


def _new_run_dir(recipe_name: str) -> Path:
    return Path("runs", f"{Path(recipe_name).stem}-{time.strftime('%Y%m%d-%H%M%S')}")


def _report(arguments: list[str]) -> None:
    options = parse(ReportOptions, "firetree report", arguments)
    if not options.runs:
        raise UserError("no run named; expected the folders of one or more runs")
    print(report.render([report.summarise(run) for run in options.runs], as_json=options.json))


def _bench_allreduce(arguments: list[str]) -> None:
    place = launch.find_place(os.environ)
    launch.follow_launcher()
    options = parse(bench.AllreduceOptions, "firetree bench allreduce", arguments)
    if options.explain is not None:
        _explain_allreduce(options, options.explain)
        return
    settings = bench.settings_of(options, place.world_size if place else None)
    if place is None and max(settings.world_sizes) > 1:
        launch.launch(max(settings.world_sizes), sys.argv[1:])
        return
    with launch.joined(place or launch.ALONE, timeout_s=_LONG_S):
        rows = bench.measure(settings)
        if place is None or place.rank == 0:
            print(bench.as_json(rows) if options.json else bench.as_text(rows))
            if options.html:
                from firetree.bench.plot import as_html

                write_durably(options.html, as_html(rows).encode())


def _explain_allreduce(options: bench.AllreduceOptions, name: str) -> None:
    world_size = bench.parse_world_size(options.world_size or "8")
    schedule = collectives.build(name, world_size, options.chunks)
    print(bench.explain_text(name, schedule))
    page = options.html or Path(f"{name.replace(':', '-')}-{world_size}.html")
    write_durably(page, bench.explain_html(name, schedule).encode())
    print(f"\nThe same as an animated page: {page}")


def _bench_step(arguments: list[str]) -> None:
    options = parse(bench.StepOptions, "firetree bench step", arguments)
    if options.part and options.result:
        place = launch.find_place(os.environ) or launch.ALONE
        with launch.joined(place, timeout_s=_LONG_S):
            seconds = bench.replay(options.part)
            if place.rank == 0:
                write_durably(options.result, json.dumps(seconds).encode())
        return
    network = load_network(options.network)
    workload = plan.load_workload(options.model, options.batch, options.size, options.compute)
    sizes = bench.items(options.world_size or str(network.size))
    rows = bench.replay_in_lab(
        workload,
        network,
        [bench.parse_world_size(size) for size in sizes],
        bench.items(options.ways),
        options.repeats,
        _tell,
    )
    print(bench.steps_as_json(rows) if options.json else bench.steps_as_text(rows))


def _plan(arguments: list[str]) -> None:
    options = parse(plan.PlanOptions, "firetree plan", arguments)
    network = load_network(options.network)
    workload = plan.load_workload(options.model, options.batch, options.size, options.compute)
    found = plan.answer(workload, network, _tell)
    if options.output:
        write_durably(options.output, found.plan.to_json().encode())
    print(plan.as_json(found) if options.json else plan.as_text(found))


def _tell(what: str) -> None:
    """Say on standard error what takes its time."""
    print(f"{what} …", file=sys.stderr, flush=True)


def _lab(arguments: list[str]) -> None:
    ours, _, command = split_at(arguments, "--")
    options = parse(lab.LabOptions, "firetree lab", ours)
    if options.clean:
        removed = lab.clean()
        print("\n".join(f"removed {name}" for name in removed) or "nothing was left behind")
        return
    network, latency_s = lab.network_of(options)
    faults = [lab.parse_fault(text, network.size) for text in options.fault]
    if not options.check:
        lab.require_command(command)
    elif command:
        raise UserError("--check and a command; expected one of them")
    with lab.Lab(network, latency_s, options.tcp) as cluster:
        if options.check:
            checks = lab.check(cluster)
            print(lab.render(checks))
            if any(check.within is False for check in checks):
                raise RunFailedError("a link's rate is off by over 3 %; is the machine busy?")
        else:
            lab.run_command(cluster, command, faults)
