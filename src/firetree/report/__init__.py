"""From the trace of a run to an answer: where the time went, and what holds the run back."""

from __future__ import annotations

from firetree.report.summary import Summary, summarise
from firetree.report.text import render

__all__ = ["Summary", "render", "summarise"]
