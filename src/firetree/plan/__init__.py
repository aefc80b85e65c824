"""`firetree plan`: is a further machine worth it, and what would change the answer?

Joins a model's costs to the prices of `firetree.network`; nothing is sent anywhere.
"""

from __future__ import annotations

from firetree.plan.answer import Answer, PlanOptions, answer, as_json, as_text
from firetree.plan.workload import Workload, load_workload

__all__ = [
    "Answer",
    "PlanOptions",
    "Workload",
    "answer",
    "as_json",
    "as_text",
    "load_workload",
]
