"""`firetree sweep`: a recipe trained with every combination of some fields' values."""

from __future__ import annotations

import json
from dataclasses import asdict

from firetree import output, sweeps
from firetree.arguments import parse
from firetree.durable import check_writable, make_folder, write_durably


def run(arguments: list[str]) -> None:
    """Run `firetree sweep` with these arguments."""
    options = parse(sweeps.SweepOptions, "firetree sweep", arguments)
    if options.html:
        make_folder(options.runs)  # where the page may go
        check_writable(options.html)
    rows = sweeps.sweep(options, output.tell_start)
    output.show(
        json.dumps([asdict(row) for row in rows], indent=1)
        if options.json
        else sweeps.as_text(rows)
    )
    if options.html:
        from firetree.sweeps.plot import as_html

        write_durably(options.html, as_html(rows).encode())
