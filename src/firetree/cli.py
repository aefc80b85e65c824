"""The command `firetree`: its sub-commands are thin, and every failure is one clear line."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import tyro

from firetree import __version__, bench, collectives, data, lab, launch, models, report, train
from firetree.durable import write_durably
from firetree.errors import RunFailedError, UserError, nearest
from firetree.network import Network
from firetree.sync import algorithm_names

USAGE = """\
usage: firetree COMMAND …

  train RECIPE   train on one or several workers, along a reduction tree
  report RUN …   where the time of a run went, or several runs side by side
  bench          all-reduces side by side, on this machine, a cluster or the lab
  lab            run a command on every host of an emulated cluster

`firetree COMMAND --help` tells more. `--debug` shows the traceback of a failure."""

COMMANDS = ("train", "report", "bench", "lab")

_LONG_S = 1800.0
"""How long ranks that take no part wait for those that measure."""

Options = TypeVar("Options")


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
class LabOptions:
    """Run a command once a host on an emulated cluster: `firetree lab --hosts 4 -- COMMAND`.

    Hosts are network namespaces of this Linux machine, joined by links of the rates you name; root,
    `ip` and `tc` are needed. Each host's command gets torchrun's environment variables.
    """

    hosts: int = 4
    """Number of hosts."""
    rate: str = "200mbit"
    """Rate of every host's link, each direction, of payload."""
    slow: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A host with another rate, as in 3=50mbit, or 3=50mbit:200mbit for one up and one down; can be
    given several times."""
    rack: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """The hosts of a rack, as in 0-3 or 0,2,4,6; once a rack."""
    uplink: str | None = None
    """Rate of each rack's uplink."""
    network: str | None = None
    """All of these at once: '3 x 200mbit + 1 x 50mbit:200mbit', '4 x 1gbit | 4 x 1gbit / 1gbit' for
    two racks and their uplinks, perhaps a latency behind a comma, or a network's JSON file."""
    latency_ms: float = 0.0
    """Delay of every packet, where the kernel has netem."""
    tcp: str = lab.CONGESTION_CONTROL
    """The hosts' congestion control; reno holds a shaped link's rate most steadily."""
    fault: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """What happens after how many seconds, as in '2 link down 3', '5 rate 3 50mbit' or '9 kill 0';
    also link up, pause and resume. Can be given several times."""
    check: bool = False
    """Measure every link's rate with plain sockets; fails where one is off by over 3 %."""
    clean: bool = False
    """Take down what labs that were killed have left behind."""


def main() -> None:
    """Run this process's command line; ends the process."""
    ours, dashes, theirs = _split_at(sys.argv[1:], "--")
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
        case ["bench", *_]:
            raise UserError("expected what to measure: firetree bench allreduce")
        case ["lab", *rest]:
            _lab(rest)
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
        name = _parse(TrainOptions, "firetree train", given).name
        named = TrainOptions(name, recipe=train.load_recipe(name))
    return _parse(TrainOptions, "firetree train", arguments, named)


def _names() -> str:
    return (
        f"Recipes: {', '.join(train.known_recipes())}. Networks: {', '.join(models.names())}. "
        f"Data: {', '.join(data.names())}. Algorithms: {', '.join(algorithm_names())}."
    )


def _new_run_dir(recipe_name: str) -> Path:
    return Path("runs", f"{Path(recipe_name).stem}-{time.strftime('%Y%m%d-%H%M%S')}")


def _report(arguments: list[str]) -> None:
    options = _parse(ReportOptions, "firetree report", arguments)
    if not options.runs:
        raise UserError("no run named; expected the folders of one or more runs")
    print(report.render([report.summarise(run) for run in options.runs], as_json=options.json))


def _bench_allreduce(arguments: list[str]) -> None:
    place = launch.find_place(os.environ)
    launch.follow_launcher()
    options = _parse(bench.AllreduceOptions, "firetree bench allreduce", arguments)
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


def _lab(arguments: list[str]) -> None:
    ours, _, command = _split_at(arguments, "--")
    options = _parse(LabOptions, "firetree lab", ours)
    if options.clean:
        removed = lab.clean()
        print("\n".join(f"removed {name}" for name in removed) or "nothing was left behind")
        return
    network, latency_s = _lab_network(options)
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


def _lab_network(options: LabOptions) -> tuple[Network, float]:
    """The network to emulate and its latency in seconds, from one text or from an option for each."""
    latency_s = options.latency_ms / 1e3
    if options.network is None:
        described = options.hosts, options.rate, options.slow, options.rack, options.uplink
        return lab.describe(*described), latency_s
    for name in ("hosts", "rate", "slow", "rack", "uplink"):
        if getattr(options, name) != getattr(LabOptions, name):
            raise UserError(f"--network and --{name}; expected one of them")
    network, own_latency_s = lab.load_description(options.network)
    if own_latency_s and latency_s:
        raise UserError("--network with a latency and --latency-ms; expected one of them")
    return network, own_latency_s or latency_s


def _split_at(arguments: list[str], mark: str) -> tuple[list[str], list[str], list[str]]:
    """What stands before the first mark, the mark if there is one, and what stands behind it."""
    place = arguments.index(mark) if mark in arguments else len(arguments)
    return arguments[:place], arguments[place : place + 1], arguments[place + 1 :]


def _parse(
    kind: type[Options], program: str, arguments: list[str], default: Options | None = None
) -> Options:
    """Read options through tyro, whose framed page about a wrong one becomes one line."""
    known = _flags(kind)
    for flag in (argument.partition("=")[0] for argument in arguments):
        if flag.startswith("--") and flag.replace("_", "-") not in known:
            raise UserError(f"no option '{flag}'{nearest(flag, known)}")
    description = f"{inspect.getdoc(kind)} {_names() if kind is TrainOptions else ''}"
    page = io.StringIO()
    try:
        with contextlib.redirect_stderr(page):
            options, unknown = tyro.cli(
                kind,
                prog=program,
                description=description,
                args=arguments,
                default=default,
                return_unknown_args=True,
            )
    except SystemExit as end:
        if end.code == 0:
            raise
        raise UserError(_first_paragraph(page.getvalue())) from end
    if unknown:
        raise UserError(f"unexpected '{unknown[0]}'; see {program} --help")
    return cast(Options, options)


def _first_paragraph(page: str) -> str:
    """The text of a framed page from below its title to the first empty row or rule."""
    rows = [row.strip("│ ") for row in page.splitlines()[1:]]
    end = next((k for k, row in enumerate(rows) if not row or row[0] in "─╰"), len(rows))
    return " ".join(rows[:end])


def _flags(kind: type[Any], prefix: str = "--") -> list[str]:
    """Every option of a dataclass, as tyro spells it."""
    flags = ["--help"]
    hints = get_type_hints(kind)
    for entry in fields(kind):
        if entry.name == "recipe":
            flags += _flags(hints[entry.name], prefix)
        elif is_dataclass(hints[entry.name]):
            flags += _flags(hints[entry.name], f"{prefix}{entry.name}.")
        else:
            name = entry.name.replace("_", "-")
            flags += (
                [prefix + name, f"{prefix}no-{name}"]
                if hints[entry.name] is bool
                else [prefix + name]
            )
    return flags
