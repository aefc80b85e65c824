"""Tables for a terminal, as text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

_WIDTH = 200


def as_text(
    headings: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = ()
) -> str:
    """Lines without trailing spaces; the columns headed `left` begin at the left, others end right."""
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right")
    for row in rows:
        table.add_row(*row)
    page = io.StringIO()
    Console(file=page, width=_WIDTH, highlight=False, markup=False).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())
