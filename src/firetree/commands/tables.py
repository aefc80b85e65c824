"""Tables for a terminal, as text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from firetree.output import printable

_BETWEEN = 2
"""Blanks from one column to the next, which rich's `padding` is by default."""


def as_text(
    headings: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = ()
) -> str:
    """Lines without trailing spaces, as long as the cells, which stay as they are if printable.

    The columns headed `left` begin at the left, others end right.
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
