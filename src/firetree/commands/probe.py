"""`firetree probe`: measure the network between the hosts, and warn of what is wrong with it."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import firetree
from firetree import launch, output
from firetree.commands import pages
from firetree.commands.arguments import parse
from firetree.commands.text.probe import as_text
from firetree.durable import check_writable, write_durably
from firetree.network import to_json


@dataclass(frozen=True)
class ProbeOptions:
    """Measure the network between all hosts: rates, latencies and shared links, with warnings.

    Start it on every host with torchrun, srun, mpirun or `firetree lab`, or locally with --workers.
    """

    workers: int | None = None
    """Local processes to start, without torchrun, srun, mpirun or `firetree lab`."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the network as JSON to this file."""
    json: bool = False
    """Print JSON: the network, intervals and warnings."""
    html: Path | None = None
    """Write an HTML page with a heat map of all pairs."""
    brief: bool = False
    """Measure for a few seconds only, with wider intervals."""
    seed: int = 0
    """Seed of the order in which pairs are measured."""


def run(arguments: list[str]) -> None:
    """Run `firetree probe` with these arguments."""
    launch.follow_launcher()
    options = parse(ProbeOptions, "firetree probe", arguments)
    rank_info = launch.find_rank_info(os.environ)
    if rank_info is not None:
        launch.share_cores(rank_info)
    first = rank_info is None or rank_info.rank == 0
    if first:
        check_writable(options.output)
        pages.check(options.html)
    found = firetree.probe(
        options.workers, brief=options.brief, seed=options.seed, progress=output.tell_start
    )
    if not first:
        return
    output.show(found.to_json() if options.json else f"{as_text(found)}\n{_next(options.output)}")
    if options.output:
        write_durably(options.output, to_json(found.network).encode())
    if options.html:
        pages.write(options.html, "Network probe", [found._repr_html_()])


def _next(network: Path | None) -> str:
    """The command that says what training gains on this network."""
    file = shlex.quote(str(network or "network.json"))
    measured = "" if network else f"firetree probe -o {file}, then "
    return f"next: {measured}firetree plan --network {file} --model MODEL"
