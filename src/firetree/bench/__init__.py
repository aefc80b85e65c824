"""Measure on real ranks: all-reduces side by side, a step beside its prediction, time to an accuracy."""

from __future__ import annotations

from firetree.bench.accuracy import AccuracyRun, time_to_accuracy
from firetree.bench.measure import Measurement, allreduce
from firetree.bench.replay import StepRow, step

__all__ = ["AccuracyRun", "Measurement", "StepRow", "allreduce", "step", "time_to_accuracy"]
