"""A model's layers."""

from __future__ import annotations

from html import escape

from firetree.commands.pages import table
from firetree.commands.text.layers import layer_table
from firetree.modelfiles import Model
from firetree.modelfiles.fire.file import FireFile
from firetree.modelfiles.inspection import Inspection


def fragment(found: Model | Inspection | FireFile) -> str:
    """The table, and the totals below it."""
    headings, rows, total = layer_table(found)
    return f"{table(headings, rows)}<p>{escape(total)}</p>"
