"""Self-contained HTML pages from one template, and the HTML of values in a notebook."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from hashlib import sha256
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firetree.durable import check_writable, write_durably
from firetree.extras import extra

if TYPE_CHECKING:
    from jinja2 import Template

_HOMES = {
    **dict.fromkeys(("FireFile", "Inspection", "Model"), "layers"),
    **dict.fromkeys(("Forecast", "Plan"), "plan"),
    "Diagnosis": "report",
    "Network": "network",
    "Probe": "probe",
    "Scan": "scan",
    "Schedule": "explain",
    "Reading": "memory",
    "Run": "run",
    "Sweep": "sweep",
}
"""The module here that makes a value's HTML, by the name of the value's class."""


def require() -> None:
    """Check before long work that the `pages` extra is installed (UserError if not)."""
    with extra("pages", "make pages"):
        for package in ("plotly", "jinja2", "PIL"):
            import_module(package)


def check(path: Path | None) -> None:
    """Check before long work that a page can be made and written to `path`; None is skipped."""
    if path is not None:
        require()
        check_writable(path)


def write(path: Path, title: str, fragments: Sequence[str], *, scripts: bool = False) -> None:
    """Write a `page`."""
    write_durably(path, page(title, fragments, scripts=scripts).encode())


def fragment(value: Any) -> str:
    """A value's HTML, as a notebook shows it: without a head."""
    with extra("pages", "make pages"):
        home = import_module(f"{__name__}.{_HOMES[type(value).__name__]}")
    make: Callable[[Any], str] = home.fragment
    return make(value)


def page(title: str, fragments: Sequence[str], *, scripts: bool = False, script: str = "") -> str:
    """A page of fragments.

    Args:
        title: plain text.
        fragments: HTML, with names from outside already escaped.
        scripts: whether fragments contain scripts, as plots do; by default the page forbids them.
        script: the page's own script, beside which no other may run.
    """
    digest = base64.b64encode(sha256(script.encode()).digest()).decode() if script else ""
    return _skeleton().render(
        title=title, fragments=fragments, scripts=scripts, script=script, digest=digest
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text."""
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{_cells('th', headings)}</tr>{body}</table>"


def _cells(tag: str, row: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)


@cache
def _skeleton() -> Template:
    require()
    from jinja2 import Environment, PackageLoader

    return Environment(loader=PackageLoader(__name__, ""), autoescape=True).get_template(
        "page.html"
    )
