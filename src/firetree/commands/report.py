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
from firetree.errors import RunFailedError, UserError
from firetree.reporting import Diagnosis
from firetree.reporting.gate import breaches, parse_limit


@dataclass(frozen=True)
class ReportOptions:
    """Show where the time of a run went; several runs give a table."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Folders of runs."""
    json: bool = False
    """Print JSON: an object, or a list for several runs."""
    fail_if: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Of two runs: end with code 1 where the second is worse by more, as in step_s+5% or
    samples_per_s-5%. Repeatable."""
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
    limits = [parse_limit(text) for text in options.fail_if]
    if limits and len(options.runs) != 2:
        raise UserError(
            f"--fail-if with {len(options.runs)} run{'s' * (len(options.runs) > 1)}; expected two, the one to compare with first"
        )
    pages.check(options.html)
    found = reporting.report(options.runs)
    output.show(_as_json(found) if options.json else as_text(found))
    if options.html:
        _write_page(options.html, found, options.input)
    if limits and (worse := breaches(limits, *found)):
        raise RunFailedError("; ".join(worse))


def _as_json(found: Sequence[Diagnosis]) -> str:
    """An object, or a list for several runs."""
    documents = [asdict(one) for one in found]
    return json.dumps(documents[0] if len(documents) == 1 else documents, indent=1)


def _write_page(path: Path, found: Sequence[Diagnosis], texts: Sequence[str]) -> None:
    """Each run's report, and the contents of its net's fast weights."""
    from firetree import memory  # here, as it imports torch, which the report alone does not need

    values = [(one, *memory.readings(one.run, texts)) for one in found]
    pages.write(path, "firetree: report", [pages.fragment(it) for each in values for it in each])
