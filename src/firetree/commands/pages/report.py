"""A run's report as HTML."""

from __future__ import annotations

from html import escape

from firetree.commands.text.report import as_text
from firetree.reporting import Diagnosis


def fragment(found: Diagnosis) -> str:
    """The report's lines."""
    return f"<pre>{escape(as_text([found]))}</pre>"
