"""Runs as values: trained from Python or by the command, reported, resumed, and opened as a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firetree.lazy import lazily
from firetree.runs.run import Run, new_run_dir

if TYPE_CHECKING:
    from firetree.runs.starting import check_if_slower, plan_text, start, train

__all__ = ["Run", "check_if_slower", "new_run_dir", "plan_text", "start", "train"]

__getattr__ = lazily(
    __name__,
    dict.fromkeys(("check_if_slower", "plan_text", "start", "train"), "starting"),
)
