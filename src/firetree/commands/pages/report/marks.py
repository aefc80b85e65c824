"""Small pieces of HTML: names from outside, tables that become cards on a phone, bars of parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from firetree.network import format_duration
from firetree.output import printable

NONE = "–"
"""A cell that has nothing to tell."""


def text(words: str) -> str:
    """Words from outside, escaped."""
    return escape(printable(words))


def name(words: str) -> str:
    """A name from outside, which cannot turn the text around it the other way."""
    return f"<bdi>{text(words)}</bdi>"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of HTML cells, the first of a row its heading; `headings` are plain text.

    The roles keep it a table for screen readers where a narrow page draws its rows as cards.
    """
    heads = "".join(f'<th role="columnheader" scope="col">{escape(it)}</th>' for it in headings)
    body = "".join(f'<tr role="row">{_cells(headings, row)}</tr>' for row in rows)
    return (
        f'<table role="table" class="cards {kind}"><thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def _cells(headings: Sequence[str], row: Sequence[str]) -> str:
    first, *others = row
    cells = (
        f'<td role="cell" data-label="{escape(heading)}"{" class=none" if cell == NONE else ""}>{cell}</td>'
        for heading, cell in zip(headings[1:], others, strict=True)
    )
    return f'<th role="rowheader" scope="row">{first}</th>{"".join(cells)}'


def bar(parts: Mapping[str, tuple[str, float]], most_s: float) -> str:
    """Seconds by kind as one bar, `most_s` as wide as can be; each part has its name and seconds."""
    told = {kind: (words, value_s) for kind, (words, value_s) in parts.items() if value_s > 0}
    spans = "".join(
        f'<i class="k-{kind}" style="width:{100 * value_s / (most_s or 1.0):.2f}%" '
        f'title="{escape(words)}: {format_duration(value_s)}"></i>'
        for kind, (words, value_s) in told.items()
    )
    words = ", ".join(f"{words} {format_duration(value_s)}" for words, value_s in told.values())
    return f'<span class="bar" role="img" aria-label="{escape(words)}">{spans}</span>'


def legend(kinds: Mapping[str, str]) -> str:
    """What the colours of these kinds mean."""
    items = "".join(
        f'<li><i class="k-{kind}"></i>{escape(words)}</li>' for kind, words in kinds.items()
    )
    return f'<ul class="legend">{items}</ul>'
