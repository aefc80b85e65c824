"""Measure collectives side by side with the libraries' own, and show how they work."""

from __future__ import annotations

from firetree.bench.allreduce import Row, Settings, measure
from firetree.bench.options import (
    AllreduceOptions,
    check_repeats,
    items,
    parse_world_size,
    settings_of,
)
from firetree.bench.step import StepRow, replay, replay_in_lab, steps_as_json
from firetree.bench.table import as_json, as_text, steps_as_text

__all__ = [
    "AllreduceOptions",
    "Row",
    "Settings",
    "StepRow",
    "as_json",
    "as_text",
    "check_repeats",
    "items",
    "measure",
    "parse_world_size",
    "replay",
    "replay_in_lab",
    "settings_of",
    "steps_as_json",
    "steps_as_text",
]
