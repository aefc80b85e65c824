"""A run's report as a page: the verdict first, then pictures of its steps and links, then tables.

Words and tables are HTML from here. Pictures are drawn by `timeline.js`, `curve.js` and `learning.js` in the
page's width, from data beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from firetree.commands.pages import page
from firetree.commands.pages.report import learned, sections
from firetree.commands.pages.report.classes import classes
from firetree.commands.pages.report.curve import PARTS, curve
from firetree.commands.pages.report.links import links
from firetree.commands.pages.report.marks import legend, text
from firetree.commands.pages.report.moments import PHASES, Moments, moments
from firetree.confusion import read_confusions
from firetree.errors import UserError
from firetree.metrics import read_metrics
from firetree.reporting import Diagnosis
from firetree.reporting.probed import read_probe
from firetree.reporting.rounds import rounds_of
from firetree.trace import Trace, read_trace


def fragment(found: Diagnosis) -> str:
    """The page in an iframe, as its script and styles would affect the whole notebook."""
    try:
        trace = read_trace(found.run)
    except UserError:  # the folder is gone; the value is whole without its pictures
        trace = None
    whole = escape(as_page([(found, trace)]))
    style = "width:100%;height:48em;border:0"
    return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{whole}"></iframe>'


def as_page(runs: Sequence[tuple[Diagnosis, Trace | None]], fragments: Sequence[str] = ()) -> str:
    """One page of runs, and `fragments` after them; only the page's own script may run."""
    articles = [_article(found, trace) for found, trace in runs]
    names = ", ".join(found.run for found, _ in runs)
    style = f"<style>{_file('report.css')}</style>"
    return page(f"firetree: {names}", [style, *articles, *fragments], script=_script())


@cache
def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


_SCRIPTS = (
    "draw.js",
    "timeline.js",
    "curve.js",
    "learning.js",
    "confusion.js",
    "report.js",
)


@cache
def _script() -> str:
    parts = map(_file, _SCRIPTS)
    return f'"use strict";\n(() => {{\n{"".join(parts)}}})();'


def _article(found: Diagnosis, trace: Trace | None) -> str:
    rounds = rounds_of(trace.ranks) if trace else None
    events = sections.happenings(found, trace.events if trace else ())
    parts = [sections.verdict(found), *_learned(found)]
    if found.gains:
        parts.append(_section("What a change would bring", sections.gains(found)))
    if trace:
        told = moments(found, trace, rounds)
        parts.append(_section("One step, rank by rank", _timeline(told) if told["steps"] else ""))
    if rounds:
        told = curve(found, rounds)
        told["events"] = [[step, mood] for step, _, mood, _ in events]
        picture = _picture("curve", "Step time over the run", told, legend(_curve_kinds(told)))
        listed = sections.event_list(events) + sections.stretches(found)
        parts.append(_section("Steps over time", picture + listed))
    parts += [
        _section("Ranks", sections.ranks(found) if found.ranks else ""),
        _section("Links", links(found, read_probe(Path(found.run), found.world_size))),
        _section("Slowest buckets", sections.buckets(found) if found.buckets else ""),
    ]
    notes = "".join(f"<li>{text(note)}</li>" for note in found.notes)
    footer = f"<footer><h2>Notes</h2><ul>{notes}</ul></footer>" if notes else ""
    return f'<article class="report is-{sections.tone(found)}">{"".join(parts)}{footer}</article>'


def _learned(found: Diagnosis) -> Iterator[str]:
    """How it learned and what became of each class, from its folder while that is there."""
    evaluated, confusions = read_metrics(Path(found.run)), read_confusions(Path(found.run))
    told = learned.verdict(found.learning) if found.learning else ""
    if len(evaluated) > 1:
        course = learned.course(evaluated, found.learning)
        kinds = {name: it for name, it in learned.LINES.items() if any(course[name])}
        told += _picture("learning", "Losses and accuracy by epoch", course, legend(kinds))
    yield _section("How it learned", told)
    yield _section("Classes", classes(confusions) if confusions else "")


def _curve_kinds(told: Mapping[str, Any]) -> dict[str, str]:
    kinds = {name: words for name, words in PARTS.items() if any(told["parts"][name])}
    if told["first"] != told["last"]:
        kinds["extreme"] = "fastest and slowest step of a column, which is the median"
    return kinds


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def _timeline(told: Moments) -> str:
    seen = {kind for step in told["steps"] for row in step["rows"] for kind, *_ in row["phases"]}
    kinds = {kind: words for kind, words in PHASES.items() if kind in seen}
    if any(row["buckets"] for step in told["steps"] for row in step["rows"]):
        kinds["sum"] = "sum of a bucket"
    if any(row["flows"] for step in told["steps"] for row in step["rows"]):
        kinds |= {"to": "sending", "from": "receiving"}
    return _picture("timeline", "A step of each rank in time", told, legend(kinds))


def _picture(kind: str, label: str, told: Mapping[str, Any], key: str) -> str:
    """Without `<`, the data cannot close its script element or open a comment."""
    data = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'{key}<div class="picture {kind}" data-label="{escape(label)}">'
        f'<script type="application/json">{data}</script>'
        "<noscript>This picture needs JavaScript; the tables below do not.</noscript></div>"
    )
