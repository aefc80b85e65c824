"""A plan made by the run itself: probe at the start, plan, watch, and plan anew when links change.

All ranks call these together, at the same steps, and get the same plan; rank 0 prices.
"""

from __future__ import annotations

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
from firetree.planning.plan import BUCKETS_BYTES, Plan, Prices, make_plan
from firetree.probing import Probe, probe_ranks
from firetree.torch_private import group_store
from firetree.trace import StepTrace

AUTO: Literal["auto"] = "auto"

PlanOrAuto = Plan | Literal["auto"] | None
"""A plan to follow, `auto` for one that the run makes itself, or none for the recipe's algorithm."""

CHECK_STEPS = 5
"""Steps between two looks at whether links have changed; each costs a tiny broadcast."""

_WINDOW = 5
_CHANGE = 1.5
"""Sums that take so many times what they did, or that part of it, mean that links have changed."""


@dataclass(slots=True)
class Watch:
    """Notices when summing the same gradients takes another time than after the last plan."""

    usual_s: float | None = None
    recent_s: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def add(self, step: StepTrace) -> None:
        """Look at what the sums of a step took; in most local steps there are none."""
        if not step.buckets:
            return
        self.recent_s.append(sum(bucket.end_s - bucket.start_s for bucket in step.buckets))
        if self.usual_s is None and len(self.recent_s) == _WINDOW:
            self.usual_s = median(self.recent_s)
            self.recent_s.clear()

    @property
    def change(self) -> float:
        """How many times as long sums take now; 1 while too little is known."""
        if not self.usual_s or len(self.recent_s) < _WINDOW:
            return 1.0
        return median(self.recent_s) / self.usual_s

    @property
    def has_changed(self) -> bool:
        """Whether it is time to plan anew."""
        return not 1 / _CHANGE < self.change < _CHANGE


class Planner:
    """Makes the plans of one run. `plan` is the one in force."""

    def __init__(self, model: nn.Module, example: Tensor):
        self._model_name = type(model).__name__
        self._profile = _slowest(measure(model, example))
        self._watch = Watch()
        self.plan = self._planned(_probed(), BUCKETS_BYTES)

    def look(self, step: StepTrace) -> str | None:
        """After each step: where links have changed make another plan, and say why.

        The buckets stay as they are, since DDP has cut them.
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
            found = _probed()
        except RunFailedError as error:  # so does a rank learn that it was left out
            failure = str(error)
        failure = _first_of_all(failure)
        if found is None or failure:
            return f"{why}; the plan stays: {failure}"
        before = self.plan.algorithm
        self.plan = self._planned(found, (self.plan.bucket_bytes,))
        return f"{why}; probed and planned anew: {before} → {self.plan.algorithm}"

    def _planned(self, found: Probe, buckets_bytes: tuple[int, ...]) -> Plan:
        made = None
        if dist.get_rank() == 0:
            prices = Prices(found.network)
            made = make_plan(self._model_name, self._profile, prices, buckets_bytes).to_json()
        return Plan.from_json(broadcast_json(made))


def _probed() -> Probe:
    """Of all ranks (RunFailedError where one did not answer)."""
    found = probe_ranks(group_store(), dist.get_rank(), dist.get_world_size(), brief=True)
    if found.unmeasured:
        raise RunFailedError(f"rank {found.unmeasured[0]} did not answer the probe; is it running?")
    return found


def _first_of_all(failure: str | None) -> str | None:
    """The first rank's failure that had one, on all ranks alike."""
    return next(filter(None, gather_json(failure)), None)


def _slowest(mine: Profile) -> Profile:
    """This rank's course of a step, as long as the slowest rank's: all wait for it."""
    compute_s = torch.tensor([mine.compute_s], dtype=torch.float64)
    dist.all_reduce(compute_s, dist.ReduceOp.MAX)
    return mine.scaled(compute_s.item())
