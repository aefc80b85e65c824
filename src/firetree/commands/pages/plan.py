"""A plan as a table of ways to synchronise; a forecast as its points, plan and advice."""

from __future__ import annotations

from html import escape

from firetree.commands.pages import table
from firetree.commands.text.plan import POINT_HEADINGS, bound, headline, point_cells, ways_cells
from firetree.planning.forecast import Forecast
from firetree.planning.plan import Plan


def fragment(value: Plan | Forecast) -> str:
    """The tables, and a forecast's advice."""
    if isinstance(value, Plan):
        return table(("way", "step"), ways_cells(value))
    advice = "".join(f"<li>{escape(sentence)}</li>" for sentence in value.advice)
    ways = f"<p>{escape(bound(value))}:</p>{fragment(value.plan)}" if value.plan.candidates else ""
    return (
        f"<p>{escape(headline(value))}</p>{table(POINT_HEADINGS, map(point_cells, value.points))}"
        f"{ways}<ul>{advice}</ul>"
    )
