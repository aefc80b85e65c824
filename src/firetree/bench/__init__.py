"""Measure collectives side by side with the libraries' own, and show how they work."""

from __future__ import annotations

from firetree.bench.allreduce import Row, Settings, measure
from firetree.bench.explain import explain_html, explain_text
from firetree.bench.options import AllreduceOptions, parse_world_size, settings_of
from firetree.bench.table import as_json, as_text

__all__ = [
    "AllreduceOptions",
    "Row",
    "Settings",
    "as_json",
    "as_text",
    "explain_html",
    "explain_text",
    "measure",
    "parse_world_size",
    "settings_of",
]
