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

from firetree import __version__, data, launch, models, report, train
from firetree.errors import UserError, nearest
from firetree.sync import algorithm_names

USAGE = """\
usage: firetree COMMAND …

  train RECIPE   train on one or several workers, along a reduction tree
  report RUN …   where the time of a run went, or several runs side by side

`firetree COMMAND --help` tells more. `--debug` shows the traceback of a failure."""

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


def main() -> None:
    """Run this process's command line; ends the process."""
    arguments = sys.argv[1:]
    code = 0
    try:
        _run([argument for argument in arguments if argument != "--debug"])
    except BrokenPipeError:  # whoever read our output has seen enough
        code = 128 + signal.SIGPIPE
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in arguments:
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
        message = "interrupted; to go on, repeat the command with --resume and the run's --run-dir"
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
            raise UserError("no command; expected train or report, see firetree --help")
        case ["train", *rest]:
            _train(rest)
        case ["report", *rest]:
            _report(rest)
        case [unknown, *_]:
            raise UserError(f"no command '{unknown}'{nearest(unknown, ('train', 'report'))}")


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
