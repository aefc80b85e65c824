"""From the trace of a run to an answer: where the time went, and what holds the run back."""

from __future__ import annotations

from firetree.reporting.summary import Summary, summarise
from firetree.reporting.text import render

__all__ = ["Summary", "render", "summarise"]
