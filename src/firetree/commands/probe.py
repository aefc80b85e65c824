"""`firetree probe`: what the network between the hosts carries, and what is wrong with it."""

from __future__ import annotations

import os
import sys

from firetree import launch, output, probing
from firetree.arguments import parse
from firetree.durable import check_writable, write_durably
from firetree.errors import UserError
from firetree.network import to_json


def run(arguments: list[str]) -> None:
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
        from firetree.probing.page import as_html

        write_durably(options.html, as_html(found).encode())
