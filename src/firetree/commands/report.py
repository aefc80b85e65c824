"""`firetree report`: show where the time of a run went, or compare several runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from firetree import output, reporting
from firetree.commands import pages
from firetree.commands.arguments import parse
from firetree.commands.following import follow
from firetree.commands.text.report import as_text
from firetree.durable import check_writable, write_durably
from firetree.errors import RunFailedError, UserError
from firetree.reporting import Diagnosis
from firetree.reporting.gate import breaches, parse_limit
from firetree.reporting.perfetto import to_chrome_json
from firetree.trace import Trace

if TYPE_CHECKING:
    from firetree.memory import Reading


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
    """Write an HTML page too: steps by rank, links, tables; what nets with fast weights store and read."""
    perfetto: Path | None = None
    """Write the run's trace too, for https://ui.perfetto.dev or chrome://tracing."""
    follow: bool = False
    """Show a running job until it ends."""
    input: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A sequence for the page, as in c9k8j3f1??c, instead of the first test sequences. Repeatable."""


def run(arguments: list[str]) -> None:
    options = parse(ReportOptions, "firetree report", arguments)
    limits = [parse_limit(text) for text in options.fail_if]
    _check(options)
    if options.follow:
        follow(options.runs[0])
        return
    pages.check(options.html)
    check_writable(options.perfetto)
    traces = [reporting.trace_of(run) for run in options.runs]
    found = [*map(reporting.diagnose, options.runs, traces)]
    output.show(_as_json(found) if options.json else as_text(found))
    if options.html:
        _write_page(options.html, found, traces, options.input)
    if options.perfetto:
        write_durably(options.perfetto, to_chrome_json(traces[0]).encode())
    if limits and (worse := breaches(limits, *found)):
        raise RunFailedError("; ".join(worse))


def _check(options: ReportOptions) -> None:
    """Refuse what does not go together (UserError)."""
    count = len(options.runs)
    if not count:
        raise UserError("no run; expected the folders of one or more runs")
    if options.input and options.html is None:
        raise UserError(f"--input {options.input[0]} without --html; add --html PAGE")
    if options.fail_if and count != 2:
        runs = f"{count} run{'s' * (count > 1)}"
        raise UserError(f"--fail-if with {runs}; expected two, the one to compare with first")
    if options.follow and (options.json or options.html or options.perfetto):
        raise UserError("--follow with --json, --html or --perfetto; expected --follow alone")
    for flag, is_asked in (("follow", options.follow), ("perfetto", options.perfetto)):
        if is_asked and count > 1:
            raise UserError(f"--{flag} of {count} runs; expected one")


def _as_json(found: Sequence[Diagnosis]) -> str:
    """An object, or a list for several runs."""
    documents = [asdict(one) for one in found]
    return json.dumps(documents[0] if len(documents) == 1 else documents, indent=1)


def _write_page(
    path: Path, found: Sequence[Diagnosis], traces: Sequence[Trace], texts: Sequence[str]
) -> None:
    """Each run's report, then what nets with fast weights store and read."""
    from firetree.commands.pages.report import as_page

    read = [pages.fragment(it) for one in found for it in _readings(one.run, texts)]
    write_durably(path, as_page([*zip(found, traces, strict=True)], read).encode())


def _readings(run: str, texts: Sequence[str]) -> Sequence[Reading]:
    """None of a script, which has no recipe."""
    if not texts and not Path(run, "recipe.toml").exists():
        return ()
    from firetree import memory  # here, as it imports torch, which the report alone does not need

    return memory.readings(run, texts)
