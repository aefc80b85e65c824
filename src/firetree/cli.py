"""The command `firetree`: its sub-commands are thin, and every failure is one clear line."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree import (
    __version__,
    bench,
    collectives,
    lab,
    launch,
    memory,
    model_commands,
    output,
    plan,
    report,
    sweep,
)
from firetree import probe as probing
from firetree.arguments import parse, split_at
from firetree.bench import accuracy
from firetree.durable import check_writable, make_folder, write_durably
from firetree.errors import RunFailedError, UserError, lack, nearest
from firetree.network import load_network, to_json
from firetree.train_command import train_command

USAGE = """\
usage: firetree COMMAND …

  train RECIPE   train on one or several workers, along a reduction tree
  report RUN …   where the time of a run went, or several runs side by side
  plan           what more machines would bring, and the best way to synchronise them
  bench          all-reduces side by side, a step replayed in the lab, or time to accuracy
  lab            run a command on every host of an emulated cluster
  probe          what the network between the hosts carries, and what is wrong with it
  sweep RECIPE   a recipe trained with every combination of some fields' values
  inspect MODEL  what a network's layers weigh and compute, or take in a .fire
  predict        which classes pictures belong to, or what words and lines become
  compress       a model into a small file that predicts; decompress gives the weights back
  scan           how much each layer can be pruned
  export         a model as ONNX

`firetree COMMAND --help` tells more. `--debug` shows the traceback of a failure."""

COMMANDS = (
    *("train", "report", "plan", "bench", "lab", "probe", "sweep"),
    *model_commands.COMMANDS,
)

_LONG_S = 1800.0
"""How long ranks that take no part wait for those that measure."""


@dataclass(frozen=True)
class ReportOptions:
    """Say where the time of a run went; with several runs, a table of them."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Folders of runs."""
    json: bool = False
    """Print JSON: an object, or a list for several runs."""
    html: Path | None = None
    """Write a page too; there, nets with fast weights show what they hold, and what they read back."""
    input: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A sequence for the page instead of the first ones to test on, as c9k8j3f1??c; repeat it for
    more."""


def main() -> None:
    """Run this process's command line; ends the process."""
    output.accept_all_letters()
    ours, dashes, theirs = split_at(sys.argv[1:], "--")
    code = 0
    try:
        _run([*(argument for argument in ours if argument != "--debug"), *dashes, *theirs])
        with output.to_standard_output():
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        code = 128 + signal.SIGPIPE
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in ours:
            sys.stderr.write(output.printable(traceback.format_exc(), keep="\n"))
        code = _explain(error)
    # Winding down, a rank that failed could wait for peers that wait for it, and threads of the
    # backend abort now and then when the interpreter goes before they do.
    os._exit(code)


def _explain(error: BaseException) -> int:
    """Say in one line why the command ends; gives its exit code."""
    if isinstance(error, UserError):
        message, code = str(error), error.exit_code
    elif isinstance(error, KeyboardInterrupt):
        message = str(error) or "interrupted"
        code = error.exit_code if isinstance(error, launch.Interrupted) else 130
    else:
        message = f"unexpected {type(error).__name__}: {error}; --debug shows where"
        code = 1
    message = output.printable(lack(error) or message)
    if not launch.tell_launcher(error, message):
        notes = map(output.printable, getattr(error, "__notes__", ()))
        output.tell(f"firetree: {'; '.join([message, *notes])}")
    return code


def _run(arguments: list[str]) -> None:
    match arguments:
        case ["--version"]:
            output.show(f"firetree {__version__}")
        case ["-h" | "--help"]:
            output.show(USAGE)
        case []:
            raise UserError(f"no command; expected one of {', '.join(COMMANDS)}")
        case ["train", *rest]:
            train_command(rest)
        case ["report", *rest]:
            _report(rest)
        case ["bench", "allreduce", *rest]:
            _bench_allreduce(rest)
        case ["bench", "step", *rest]:
            _bench_step(rest)
        case ["bench", "time-to-accuracy", *rest]:
            _bench_accuracy(rest)
        case ["bench", "replay", part, result]:
            _bench_replay(Path(part), Path(result))
        case ["bench", *_]:
            raise UserError(
                "expected what to measure: firetree bench allreduce, step or time-to-accuracy"
            )
        case ["plan", *rest]:
            _plan(rest)
        case ["lab", *rest]:
            _lab(rest)
        case ["probe", *rest]:
            _probe(rest)
        case ["sweep", *rest]:
            sweep.sweep_command(rest, output.tell_start)
        case [command, *rest] if command in model_commands.COMMANDS:
            model_commands.run(command, rest)
        case [unknown, *_]:
            raise UserError(f"no command '{unknown}'{nearest(unknown, COMMANDS)}")


def _report(arguments: list[str]) -> None:
    options = parse(ReportOptions, "firetree report", arguments)
    if not options.runs:
        raise UserError("no run named; expected the folders of one or more runs")
    if options.input and options.html is None:
        raise UserError(f"--input {options.input[0]} without a page to show it on; add --html PAGE")
    check_writable(options.html)
    summaries = [report.summarise(run) for run in options.runs]
    output.show(report.render(summaries, as_json=options.json))
    if options.html:
        texts = [report.render([summary], as_json=False) for summary in summaries]
        readings = [memory.readings(run, options.input) for run in options.runs]
        page = memory.as_html(list(zip(texts, readings, strict=True)))
        write_durably(options.html, page.encode())


def _bench_allreduce(arguments: list[str]) -> None:
    place = launch.find_place(os.environ)
    launch.follow_launcher()
    options = parse(bench.AllreduceOptions, "firetree bench allreduce", arguments)
    if options.explain is not None:
        _explain_allreduce(options, options.explain)
        return
    settings = bench.settings_of(options, place.world_size if place else None)
    if place is None and max(settings.world_sizes) > 1:
        sizes = ",".join(map(str, settings.world_sizes))
        chosen = [] if options.world_size else ["--world-size", sizes]
        launch.launch(max(settings.world_sizes), [*sys.argv[1:], *chosen])
        return
    place = place or launch.ALONE
    with launch.joined(place, timeout_s=_LONG_S):
        if place.rank == 0:
            check_writable(options.html)
        launch.find_device(options.device, place)
        rows = bench.measure(settings)
        if place.rank == 0:
            output.show(bench.as_json(rows) if options.json else bench.as_text(rows))
            if options.html:
                from firetree.bench.plot import as_html

                write_durably(options.html, as_html(rows).encode())


def _explain_allreduce(options: bench.AllreduceOptions, name: str) -> None:
    world_size = bench.parse_world_size(options.world_size or "8")
    schedule = collectives.build(name, world_size, options.chunks)
    output.show(bench.explain_text(name, schedule))
    page = options.html or Path(f"{name.replace(':', '-')}-{world_size}.html")
    write_durably(page, bench.explain_html(name, schedule).encode())
    output.show(f"\nThe same as an animated page: {page}")


def _bench_step(arguments: list[str]) -> None:
    options = parse(bench.StepOptions, "firetree bench step", arguments)
    bench.check_repeats(options.repeats)
    network = load_network(options.network)
    workload = plan.load_workload(options.model, options.batch, options.size, options.compute)
    sizes = bench.items(options.world_size or str(network.size))
    rows = bench.replay_in_lab(
        workload,
        network,
        [bench.parse_world_size(size) for size in sizes],
        bench.items(options.ways),
        options.repeats,
        output.tell_start,
    )
    output.show(bench.steps_as_json(rows) if options.json else bench.steps_as_text(rows))


def _bench_accuracy(arguments: list[str]) -> None:
    ours, _, extra = split_at(arguments, "--")
    options = parse(accuracy.AccuracyOptions, "firetree bench time-to-accuracy", ours)
    if options.html:
        make_folder(options.runs)  # where the page may go
        check_writable(options.html)
    runs = accuracy.compare(options, load_network(options.network), extra, output.tell_start)
    output.show(accuracy.as_json(runs) if options.json else accuracy.as_text(runs))
    if options.html:
        from firetree.bench.accuracy_plot import as_html

        write_durably(options.html, as_html(runs).encode())


def _bench_replay(part: Path, result: Path) -> None:
    """What firetree bench step starts on every host."""
    place = launch.find_place(os.environ) or launch.ALONE
    with launch.joined(place, timeout_s=_LONG_S):
        rows = bench.replay(part)
        if place.rank == 0:
            result.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")


def _plan(arguments: list[str]) -> None:
    options = parse(plan.PlanOptions, "firetree plan", arguments)
    check_writable(options.output)
    network = load_network(options.network)
    workload = plan.load_workload(options.model, options.batch, options.size, options.compute)
    found = plan.answer(workload, network, output.tell_start)
    if options.output:
        write_durably(options.output, found.plan.to_json().encode())
    output.show(plan.as_json(found) if options.json else plan.as_text(found))


def _lab(arguments: list[str]) -> None:
    ours, _, command = split_at(arguments, "--")
    options = parse(lab.LabOptions, "firetree lab", ours)
    if options.clean:
        removed = lab.clean()
        output.show("\n".join(f"removed {name}" for name in removed) or "nothing was left behind")
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
            output.show(lab.render(checks))
            if any(check.within is False for check in checks):
                raise RunFailedError("a link's rate is off by over 3 %; is the machine busy?")
        else:
            lab.run_command(cluster, command, faults)


def _probe(arguments: list[str]) -> None:
    place = launch.find_place(os.environ)
    launch.follow_launcher()
    options = parse(probing.ProbeOptions, "firetree probe", arguments)
    if place is None:
        if options.workers is None or options.workers < 2:
            raise UserError(
                "one host alone; start it on every host with torchrun, srun or mpirun, "
                "or with --workers 2 or more"
            )
        launch.launch(options.workers, sys.argv[1:])
        return
    launch.share_cores(place)
    store, size = launch.open_store(place, probing.JOIN_S), place.world_size
    show = output.tell_start if place.rank == 0 else None
    if show:
        check_writable(options.output, options.html)
        show(probing.announce(size, options.brief))
    found = probing.probe(
        store, place.rank, size, brief=options.brief, seed=options.seed, show=show
    )
    if place.rank == 0:
        _present(found, options)


def _present(found: probing.Probe, options: probing.ProbeOptions) -> None:
    output.show(found.to_json() if options.json else probing.as_text(found))
    if options.output:
        write_durably(options.output, to_json(found.network).encode())
    if options.html:
        from firetree.probe.page import as_html

        write_durably(options.html, as_html(found).encode())
