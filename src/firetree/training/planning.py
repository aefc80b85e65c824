"""A plan that the run makes itself: it probes at the start, plans, and replans when links change.

All ranks call these functions together, at the same steps. Rank 0 predicts the times; all get its plan.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from firetree.errors import RunFailedError
from firetree.models.profile import Profile
from firetree.models.timing import measure
from firetree.peers import broadcast_json, gather_json
from firetree.planning.candidates import GLOO
from firetree.planning.plan import BUCKETS_BYTES, Plan, Prices, make_plan
from firetree.probing import Probe, probe_ranks
from firetree.torch_private import group_store
from firetree.trace import StepTrace
from firetree.wires.secret import VARIABLE

AUTO: Literal["auto"] = "auto"

PlanOrAuto = Plan | Literal["auto"] | None
"""A plan to follow, `auto` for one that the run makes itself, or none for the recipe's algorithm."""

CHECK_STEPS = 5
"""Steps between two checks for changed links; a check costs one tiny broadcast."""

_WINDOW = 5
_CHANGE = 1.5
"""Replan when all-reduce time grows above 1.5 times the baseline, or falls below 1/1.5 of it."""


@dataclass(slots=True)
class Watch:
    """Compares a step's all-reduce time with the baseline: the first steps after a plan."""

    baseline_s: float | None = None
    recent_s: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def add(self, step: StepTrace) -> None:
        """Add the all-reduce time of a step; most local steps have none."""
        if not step.buckets:
            return
        self.recent_s.append(sum(bucket.end_s - bucket.start_s for bucket in step.buckets))
        if self.baseline_s is None and len(self.recent_s) == _WINDOW:
            self.baseline_s = median(self.recent_s)
            self.recent_s.clear()

    @property
    def change(self) -> float:
        """All-reduce time relative to the baseline; 1 while too little is known."""
        if not self.baseline_s or len(self.recent_s) < _WINDOW:
            return 1.0
        return median(self.recent_s) / self.baseline_s

    @property
    def has_changed(self) -> bool:
        """Whether it is time to replan."""
        return not 1 / _CHANGE < self.change < _CHANGE


class Planner:
    """Makes the plans of one run. `plan` is the one in force."""

    def __init__(self, model: nn.Module, example: Tensor):
        self._model_name = type(model).__name__
        self._profile = _scale_to_slowest(measure(model, example))
        self._watch = Watch()
        self.plan = self._make_plan(_probe(), BUCKETS_BYTES)

    def look(self, step: StepTrace) -> str | None:
        """Call it after each step: where links have changed, it replans and returns a line that says so.

        The buckets stay as DDP has cut them.
        """
        self._watch.add(step)
        if (step.step + 1) % CHECK_STEPS:
            return None
        changed = torch.tensor([self._watch.change if self._watch.has_changed else 1.0])
        dist.broadcast(changed, src=0)
        if changed.item() == 1.0:
            return None
        self._watch = Watch()
        why = f"step {step.step + 1}: sums take {changed.item():.2g} times as long"
        found, failure = None, None
        try:
            found = _probe()
        except RunFailedError as error:  # raised on a rank that was left out, too
            failure = str(error)
        failure = _first_failure(failure)
        if found is None or failure:
            return f"{why}; the plan stays: {failure}"
        before = self.plan.algorithm
        self.plan = self._make_plan(found, (self.plan.bucket_bytes,))
        return f"{why}; probed and planned anew: {before} → {self.plan.algorithm}"

    def _make_plan(self, found: Probe, buckets_bytes: tuple[int, ...]) -> Plan:
        made = None
        if dist.get_rank() == 0:
            prices = Prices(found.network)
            if os.environ.get(VARIABLE):
                prices.names.remove(GLOO)
            made = make_plan(self._model_name, self._profile, prices, buckets_bytes).to_json()
        return Plan.from_json(broadcast_json(made))


def _probe() -> Probe:
    """Probe all ranks (RunFailedError where one did not answer)."""
    found = probe_ranks(group_store(), dist.get_rank(), dist.get_world_size(), brief=True)
    if found.unmeasured:
        raise RunFailedError(f"rank {found.unmeasured[0]} did not answer the probe; is it running?")
    return found


def _first_failure(failure: str | None) -> str | None:
    """The lowest failed rank's failure, on all ranks alike."""
    return next(filter(None, gather_json(failure)), None)


def _scale_to_slowest(mine: Profile) -> Profile:
    """This rank's profile, scaled to the slowest rank's compute time: all wait for that rank."""
    compute_s = torch.tensor([mine.compute_s], dtype=torch.float64)
    dist.all_reduce(compute_s, dist.ReduceOp.MAX)
    return mine.scaled(compute_s.item())
