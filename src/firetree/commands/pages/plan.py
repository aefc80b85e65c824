"""A plan as a table of ways to synchronise; a forecast as its points, plan, advice and changes."""

from __future__ import annotations

from html import escape

from firetree.commands.pages import table
from firetree.commands.text.plan import (
    CHANGE_HEADINGS,
    CHANGES,
    POINT_HEADINGS,
    bound,
    change_cells,
    headline,
    point_cells,
    ways_cells,
)
from firetree.planning.forecast import Forecast
from firetree.planning.plan import Plan


def fragment(value: Plan | Forecast) -> str:
    """The tables, and a forecast's advice."""
    if isinstance(value, Plan):
        return table(("way", "step"), ways_cells(value))
    points = table(POINT_HEADINGS, [point_cells(value.network, it) for it in value.points])
    advice = "".join(f"<li>{escape(sentence)}</li>" for sentence in value.advice)
    changes = [change_cells(value.network, it) for it in value.changes]
    ways = f"<p>{escape(bound(value))}:</p>{fragment(value.plan)}" if value.plan.candidates else ""
    ahead = f"<p>{escape(CHANGES)}:</p>{table(CHANGE_HEADINGS, changes)}" if changes else ""
    return f"<p>{escape(headline(value))}</p>{points}{ways}<ul>{advice}</ul>{ahead}"
