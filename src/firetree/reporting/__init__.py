"""Reads a run's trace, and says where the time went and what holds the run back."""

from __future__ import annotations

from firetree.reporting.summary import Summary, report

__all__ = ["Summary", "report"]
