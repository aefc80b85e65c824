"""Reads a run's trace, and says where the time went, what holds the run back, and what would help."""

from __future__ import annotations

from firetree.reporting.diagnose import diagnose, report, trace_of
from firetree.reporting.values import (
    BucketReport,
    Cause,
    ClassReport,
    Culprit,
    Diagnosis,
    Gain,
    Gap,
    Learning,
    LinkReport,
    Missing,
    NetworkReport,
    PortReport,
    RankReport,
    Standstill,
    StepParts,
    Stretch,
    UplinkReport,
    Verdict,
)

__all__ = [
    "BucketReport",
    "Cause",
    "ClassReport",
    "Culprit",
    "Diagnosis",
    "Gain",
    "Gap",
    "Learning",
    "LinkReport",
    "Missing",
    "NetworkReport",
    "PortReport",
    "RankReport",
    "Standstill",
    "StepParts",
    "Stretch",
    "UplinkReport",
    "Verdict",
    "diagnose",
    "report",
    "trace_of",
]
