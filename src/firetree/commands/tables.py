"""Tables for a terminal, as text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from firetree.output import printable

_BETWEEN = 2
"""Spaces between columns, rich's default `padding`."""


def as_text(
    headings: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = ()
) -> str:
    """A table that is never wrapped, without trailing spaces; control characters are escaped.

    The columns headed `left` are left-aligned, all others right-aligned.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right")
    for row in rows:
        table.add_row(*row)
    page = io.StringIO()
    width = sum(cell_len(cell) + _BETWEEN for row in (headings, *rows) for cell in row)
    Console(file=page, width=width, highlight=False, markup=False, emoji=False).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())
