"""Measure all-reduces, replayed training steps, and the time to a target accuracy on real processes."""

from __future__ import annotations

from firetree.bench.accuracy import AccuracyRun, time_to_accuracy
from firetree.bench.measure import Measurement, allreduce
from firetree.bench.replay import StepRow, step

__all__ = ["AccuracyRun", "Measurement", "StepRow", "allreduce", "step", "time_to_accuracy"]
