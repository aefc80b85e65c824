"""`firetree run`: one's own training script, watched, and in the end why it is slow."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from firetree import collectives, launch, output, runs
from firetree.commands.arguments import options_end, parse
from firetree.durable import wait_until_unlocked
from firetree.errors import ArgumentError, UserError, WorkerLostError, nearest
from firetree.observing.running import (
    Script,
    end_watched,
    failure_of,
    once_imported,
    prepare_children,
    run_script,
    script_traceback,
)
from firetree.observing.script_folder import check_holds_no_run
from firetree.planning.candidates import GLOO
from firetree.planning.compressions import parse_compression
from firetree.planning.plan import Plan, load_plan
from firetree.trace import files

_AUTO, _OBSERVE = "auto", "observe"
_GRACE_S = 25.0
"""Seconds that the script's workers have to end after a signal, and five more."""
_HEARING_S = 3.0
"""How long ranks have after another one's death: to notice, and to tell the trace where they were."""
_WRITTEN_S = 3.0
"""How long the trace may take to be written, as where workers were killed."""

NOTHING_WRAPPED = (
    "firetree: no model was wrapped in DistributedDataParallel, so there is nothing to report; wrap one, or "
    "call firetree.attach in the process that trains"
)


@dataclass(frozen=True)
class RunOptions:
    """Run a training script that uses DistributedDataParallel, unchanged, and say why it is slow.

    Options come before the script; all that follows it is the script's own. Starts `--workers` local
    processes, or runs the script in the processes that torchrun, srun or mpirun started: `torchrun
    --nproc-per-node 2 --no-python firetree run train.py`. Rank 0 writes a run's folder.
    """

    script: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SCRIPT [ARG …]")] = ""
    """The script and its arguments, as after `python`."""
    module: Annotated[str | None, tyro.conf.arg(aliases=("-m",), metavar="MODULE [ARG …]")] = None
    """In place of a script: a module and its arguments, as after `python -m`."""
    workers: int | None = None
    """Local processes to start, with torchrun's variables; by default the script runs in this one."""
    sync: str = _AUTO
    """What sums the gradients. auto: measure the network for some seconds where ranks are on several
    hosts, take the cheapest way, and another one where links change. observe: leave DDP's own all-reduce,
    and only measure. Or an algorithm's name, as ring; or a plan's file, from `firetree plan -o`."""
    compression: str = "none"
    """Send fewer bytes: none, fp16, bf16, int8, topk:SHARE, powersgd:RANK, sparseloco:SHARE:DECAY,
    turns:TURNS or demo:COMPONENTS:DECAY. Not with observe."""
    run_dir: Path | None = None
    """The run's folder, on rank 0's host; by default runs/SCRIPT-TIME."""
    secret: Path | None = None
    """A file of `firetree secret new`, with which ranks speak to each other in private."""


def script_at(arguments: list[str]) -> int:
    """Where the script is among the arguments, or the arguments of its module."""
    return options_end(RunOptions, arguments, ("-m", "--module"))


def run(arguments: list[str]) -> Callable[[], None] | None:
    """Start the workers; or give what this process goes on as: the script, watched."""
    at = script_at(arguments)
    options = parse(RunOptions, "firetree run", arguments[:at])
    script = _script(options, arguments[at:])
    rank_info = launch.find_rank_info(os.environ)
    _check(options, rank_info)
    run_dir = (options.run_dir or runs.new_run_dir(_stem(script))).absolute()
    watch = _Watch(_chosen(options.sync), _of_this_attempt(run_dir), options.compression)
    is_first = rank_info is None or rank_info.rank == 0
    if is_first:
        check_holds_no_run(watch.run_dir)  # early: the script may read its data for long
    if options.workers and rank_info is None:
        _start(options.workers, ["run", *_named(options, run_dir), *arguments], run_dir)
        return None
    if rank_info:
        _tell_as_torchrun(rank_info)
    return partial(_run_watched, script, watch, is_first and not launch.started_here())


def _script(options: RunOptions, rest: list[str]) -> Script:
    if options.module is not None:
        return Script(options.module, tuple(rest), is_module=True)
    if not rest:
        raise UserError(
            "no script; expected its file, as in firetree run train.py, or -m and a module"
        )
    return Script(rest[0], tuple(rest[1:]))


def _stem(script: Script) -> str:
    return script.name if script.is_module else Path(script.name).stem


def _check(options: RunOptions, rank_info: launch.RankInfo | None) -> None:
    if options.workers is not None and options.workers < 1:
        raise UserError(f"--workers {options.workers}; expected 1 or more")
    if rank_info and options.workers not in (None, rank_info.world_size):
        raise UserError(
            f"--workers {options.workers}, but a launcher started {rank_info.world_size}; leave it out"
        )
    sent_as = parse_compression(options.compression)
    if options.sync == _OBSERVE and sent_as.name != "none":
        raise ArgumentError("compression", f"{options.compression} with observe; name an algorithm")


def _chosen(sync: str) -> str | Plan:
    """What `attach` takes (UserError where it is neither an algorithm nor a plan's file)."""
    if Path(sync).is_file():
        return load_plan(sync)
    known = (_AUTO, _OBSERVE, *collectives.names(), GLOO)
    if sync.partition(":")[0] not in known:
        raise ArgumentError(
            "sync", f"{sync} is neither an algorithm nor a plan's file{nearest(sync, known)}"
        )
    if sync not in (_AUTO, _OBSERVE, GLOO):
        collectives.find(sync)
    return sync


def _of_this_attempt(run_dir: Path) -> Path:
    """A folder of its own for each time that torchrun starts the job again."""
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return run_dir if restarts == "0" else run_dir.with_name(f"{run_dir.name}-restart-{restarts}")


def _named(options: RunOptions, run_dir: Path) -> list[str]:
    return [] if options.run_dir else ["--run-dir", str(run_dir)]


def _start(workers: int, arguments: list[str], run_dir: Path) -> None:
    """Run the script in local processes; the first to fail gives the exit code."""
    failure: str | None = None
    try:
        launch.launch(workers, arguments, grace_s=_GRACE_S, holds_port=False, hearing_s=_HEARING_S)
    except BaseException as error:
        failure = str(error)
        if isinstance(error, WorkerLostError):
            error.exit_code = error.code or error.exit_code
        raise
    finally:
        _tell_verdict(run_dir, failure)


def _tell_as_torchrun(rank_info: launch.RankInfo) -> None:
    """Give the script what it would have under torchrun, if another launcher has started it."""
    for name, value in rank_info.variables().items():
        os.environ.setdefault(name, value)
    if launch.started_here():
        share = len(os.sched_getaffinity(0)) // rank_info.local_world_size
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))


class _Lines(logging.Handler):
    """Says on standard error what the library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage().removeprefix("firetree.attach: ")
        output.tell(f"firetree: {said}")


@dataclass(frozen=True, slots=True)
class _Watch:
    """Attaches the models that a process wraps from now on; goes to the processes that it starts, too."""

    algorithm: str | Plan
    run_dir: Path
    compression: str

    def __call__(self) -> None:
        logger = logging.getLogger("firetree")
        logger.addHandler(_Lines())
        logger.setLevel(logging.INFO)
        logger.propagate = False  # or a script that shows its own log would show ours twice
        once_imported("torch", self._begin)

    def _begin(self) -> None:
        from firetree.sync.wrapping import attach_when_wrapped

        attach_when_wrapped(self.algorithm, self.run_dir, compression=self.compression)


def _run_watched(script: Script, watch: _Watch, tells: bool) -> None:
    """Run the script; an error of its own is shown as python shows it, before the verdict."""
    watch()
    prepare_children(watch)
    failure: str | None = None
    try:
        run_script(script)
    except BaseException as error:
        failure = failure_of(error)
        if not isinstance(error, SystemExit | UserError):
            shown = error.with_traceback(script_traceback(error))
            sys.excepthook(type(shown), shown, shown.__traceback__)
            sys.excepthook = lambda *_: None  # python ends the process, and would show it again
        raise
    finally:
        end_watched(failure)
        if tells:
            _tell_verdict(watch.run_dir, failure)


def _tell_verdict(run_dir: Path, failure: str | None) -> None:
    """Say on standard error what holds the run back; its standard output is the script's."""
    with suppress(OSError, ValueError):  # the script may have closed it
        sys.stdout.flush()
    if files(run_dir):
        from firetree import reporting
        from firetree.commands.text.report import in_short

        wait_until_unlocked(run_dir, _WRITTEN_S)
        try:
            found = in_short(reporting.report(run_dir))
        except UserError as error:
            found = f"firetree: {error}"
        output.tell(f"\n{found}\n      $ firetree report {_near(run_dir)}", keep="\n")
    elif failure is None:
        output.tell(NOTHING_WRAPPED)


def _near(path: Path) -> Path:
    """The path as a user would write it here."""
    with suppress(ValueError, OSError):
        return path.relative_to(Path.cwd())
    return path
