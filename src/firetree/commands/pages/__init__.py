"""Pages that need no connection, all from one skeleton, and what a notebook shows of a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from html import escape
from importlib import import_module
from typing import Any

from firetree.extras import extra

with extra("pages", "make pages"):
    import plotly  # noqa: F401  # the pages beside this file draw with it
    from jinja2 import Environment, PackageLoader, Template

_HOMES = {
    **dict.fromkeys(("FireFile", "Inspection", "Model"), "layers"),
    **dict.fromkeys(("Forecast", "Plan"), "plan"),
    "Network": "network",
    "Probe": "probe",
    "Scan": "scan",
    "Schedule": "explain",
    "Reading": "memory",
    "Run": "run",
    "Summary": "report",
    "Sweep": "sweep",
}
"""The module here that makes the fragment of a value, by the name of the value's class."""


def fragment(value: Any) -> str:
    """What a notebook shows of a value: HTML without a head."""
    make: Callable[[Any], str] = import_module(
        f"{__name__}.{_HOMES[type(value).__name__]}"
    ).fragment
    return make(value)


def page(title: str, fragments: Sequence[str], *, scripts: bool = False) -> str:
    """A page of fragments.

    Args:
        title: as plain text.
        fragments: HTML, with what comes from others escaped.
        scripts: whether fragments bring scripts of their own, as plots do; by default none may run.
    """
    return _skeleton().render(title=title, fragments=fragments, scripts=scripts)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text."""
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{_cells('th', headings)}</tr>{body}</table>"


def _cells(tag: str, row: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)


@cache
def _skeleton() -> Template:
    return Environment(loader=PackageLoader(__name__, ""), autoescape=True).get_template(
        "page.html"
    )
