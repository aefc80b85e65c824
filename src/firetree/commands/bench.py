"""`firetree bench`: all-reduces side by side, a step replayed in the lab, or time to accuracy."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from firetree import bench, collectives, launch, output
from firetree.arguments import parse, split_at
from firetree.bench import accuracy
from firetree.commands.pages import explain as explain_page
from firetree.commands.text import explain
from firetree.commands.workloads import WorkloadOptions
from firetree.durable import check_writable, make_folder, write_durably
from firetree.errors import UserError
from firetree.models.workload import load_workload
from firetree.network import Network

_LONG_S = 1800.0
"""How long ranks that take no part wait for those that measure."""


@dataclass(frozen=True)
class StepOptions(WorkloadOptions):
    """Replay a model's training step on an emulated cluster, and compare it with its prediction.

    Gradients of the real sizes become ready when a real backward pass has them; nothing is computed,
    everything is sent. Needs root, ip and tc, as firetree lab does.
    """

    network: str = "4 x 200mbit"
    """A network in one line, or its JSON file."""
    world_size: str | None = None
    """Comma-separated numbers of hosts; by default all of the network's."""
    ways: str = "plan,gloo"
    """Comma-separated: plan for the best way for each bucket, or an algorithm for all."""
    repeats: int = 3
    """Replays of each way, taken in turn."""
    json: bool = False
    """Print JSON: a list of rows."""


def run(arguments: list[str]) -> None:
    """Run `firetree bench` with these arguments."""
    match arguments:
        case ["allreduce", *rest]:
            _bench_allreduce(rest)
        case ["step", *rest]:
            _bench_step(rest)
        case ["time-to-accuracy", *rest]:
            _bench_accuracy(rest)
        case ["replay", part, result]:
            _bench_replay(Path(part), Path(result))
        case _:
            raise UserError(
                "expected what to measure: firetree bench allreduce, step or time-to-accuracy"
            )


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
    output.show(explain.as_text(name, schedule))
    page = options.html or Path(f"{name.replace(':', '-')}-{world_size}.html")
    write_durably(page, explain_page.as_page(name, schedule).encode())
    output.show(f"\nThe same as an animated page: {page}")


def _bench_step(arguments: list[str]) -> None:
    options = parse(StepOptions, "firetree bench step", arguments)
    bench.check_repeats(options.repeats)
    network = Network.load(options.network)
    workload = load_workload(
        options.model, batch=options.batch, size=options.size, compute_s=options.compute_s
    )
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
    runs = accuracy.compare(options, Network.load(options.network), extra, output.tell_start)
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
