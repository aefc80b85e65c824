"""A cluster emulated on this machine: one network namespace for each host, joined by shaped links.

Linux only, as root. Real commands run here; `planning` predicts times instead.
"""

from __future__ import annotations

from firetree.lab.check import LinkCheck, check
from firetree.lab.description import describe, load_description, needs_relay, parse_cpu_limits
from firetree.lab.faults import Fault, parse_fault
from firetree.lab.lab import CONGESTION_CONTROL, Lab, clean
from firetree.lab.quotas import how as cpu_limits_by
from firetree.lab.workload import require_command, run_command

__all__ = [
    "CONGESTION_CONTROL",
    "Fault",
    "Lab",
    "LinkCheck",
    "check",
    "clean",
    "cpu_limits_by",
    "describe",
    "load_description",
    "needs_relay",
    "parse_cpu_limits",
    "parse_fault",
    "require_command",
    "run_command",
]
