"""`firetree report`: show where the time of a run went, or compare several runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree import output, reporting
from firetree.commands import pages
from firetree.commands.arguments import parse
from firetree.commands.text.report import as_text
from firetree.errors import UserError
from firetree.reporting import Diagnosis


@dataclass(frozen=True)
class ReportOptions:
    """Show where the time of a run went; several runs give a table."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Folders of runs."""
    json: bool = False
    """Print JSON: an object, or a list for several runs."""
    html: Path | None = None
    """Write an HTML page too; for nets with fast weights it shows what they store and read."""
    input: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A sequence for the page, as in c9k8j3f1??c, instead of the first test sequences. Repeatable."""


def run(arguments: list[str]) -> None:
    options = parse(ReportOptions, "firetree report", arguments)
    if not options.runs:
        raise UserError("no run; expected the folders of one or more runs")
    if options.input and options.html is None:
        raise UserError(f"--input {options.input[0]} without --html; add --html PAGE")
    pages.check(options.html)
    found = reporting.report(options.runs)
    output.show(_as_json(found) if options.json else as_text(found))
    if options.html:
        _write_page(options.html, found, options.input)


def _as_json(found: Sequence[Diagnosis]) -> str:
    """An object, or a list for several runs."""
    documents = [asdict(one) for one in found]
    return json.dumps(documents[0] if len(documents) == 1 else documents, indent=1)


def _write_page(path: Path, found: Sequence[Diagnosis], texts: Sequence[str]) -> None:
    """Each run's report, and the contents of its net's fast weights."""
    from firetree import memory  # here, as it imports torch, which the report alone does not need

    values = [(one, *memory.readings(one.run, texts)) for one in found]
    pages.write(path, "firetree: report", [pages.fragment(it) for each in values for it in each])
