"""`firetree sweep`: train a recipe with every combination of some fields' values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree import output, sweeps
from firetree.commands import pages
from firetree.commands.arguments import parse
from firetree.commands.text.sweep import as_text
from firetree.durable import make_folder
from firetree.errors import UserError


@dataclass(frozen=True)
class SweepOptions:
    """Train a recipe with every combination of some fields' values; print accuracy, size and step time.

    A repeated command continues where the last one stopped.
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE")]
    """A ready recipe's name, or a TOML file."""
    vary: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A field and its values, as in model.squeeze_ratio=0.125,0.5. Repeatable. A single value applies to
    all runs."""
    seeds: int = 1
    """Runs of each combination, with seeds from 0."""
    jobs: int = 1
    """Runs that train at the same time."""
    network: str = "8 x 1gbit"
    """The network for predicted step times: one line, or a JSON file."""
    runs: Path = Path("runs/sweep")
    """The folder for recipes, runs and results."""
    trust: bool = False
    """Run code that RECIPE names, wherever it is; without, code in a file beside RECIPE alone."""
    json: bool = False
    """Print JSON: a list of combinations."""
    html: Path | None = None
    """Write an HTML page with the plot: accuracy against parameters and against step time."""


def run(arguments: list[str]) -> None:
    """Run `firetree sweep` with these arguments."""
    options = parse(SweepOptions, "firetree sweep", arguments)
    if options.html:
        make_folder(options.runs)  # the page may be in it
        pages.check(options.html)
    found = sweeps.sweep(
        options.name,
        parse_vary(options.vary),
        seeds=options.seeds,
        jobs=options.jobs,
        network=options.network,
        runs=options.runs,
        trust=options.trust,
        progress=output.tell_start,
    )
    output.show(
        json.dumps([asdict(row) for row in found.rows], indent=1)
        if options.json
        else as_text(found.rows)
    )
    if options.html:
        from firetree.commands.pages.sweep import fragment, plot

        fragments = [plot(found.rows), fragment(found)]
        pages.write(options.html, "firetree: sweep", fragments, scripts=True)


def parse_vary(texts: Sequence[str]) -> dict[str, list[str]]:
    """Fields and their values, from texts such as `model.squeeze_ratio=0.125,0.25`.

    Raises:
        UserError: a text without a field or without values, or a field given twice.
    """
    fields: dict[str, list[str]] = {}
    for text in texts:
        field, _, values = text.partition("=")
        if not field or not all(values.split(",")):
            raise UserError(f"--vary {text}; expected a field and values, as in optim.lr=0.05,0.1")
        if field in fields:
            raise UserError(f"--vary {field} twice; give all its values at once")
        fields[field] = values.split(",")
    return fields
