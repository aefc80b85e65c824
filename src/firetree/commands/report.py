"""`firetree report`: where the time of a run went, or several runs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree import memory, output, reporting
from firetree.arguments import parse
from firetree.durable import check_writable, write_durably
from firetree.errors import UserError


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


def run(arguments: list[str]) -> None:
    options = parse(ReportOptions, "firetree report", arguments)
    if not options.runs:
        raise UserError("no run named; expected the folders of one or more runs")
    if options.input and options.html is None:
        raise UserError(f"--input {options.input[0]} without a page to show it on; add --html PAGE")
    check_writable(options.html)
    summaries = [reporting.summarise(folder) for folder in options.runs]
    output.show(reporting.render(summaries, as_json=options.json))
    if options.html:
        texts = [reporting.render([summary], as_json=False) for summary in summaries]
        readings = [memory.readings(folder, options.input) for folder in options.runs]
        page = memory.as_html(list(zip(texts, readings, strict=True)))
        write_durably(options.html, page.encode())
