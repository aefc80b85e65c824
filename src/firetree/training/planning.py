"""A plan that the run makes itself: it probes at the start, plans, and plans anew when links change.

All ranks call these functions together, at the same steps. Rank 0 predicts the times; all get its plan.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import nn

from firetree.documents import from_document
from firetree.errors import RunFailedError
from firetree.models.inputs import Inputs
from firetree.models.profile import Profile
from firetree.models.timing import measure
from firetree.peers import CommonClock, broadcast_json, gather_json
from firetree.peers.reach import own_network
from firetree.planning.candidates import GLOO
from firetree.planning.compressions import UNCOMPRESSED
from firetree.planning.outlook import Outlook, outlook
from firetree.planning.plan import BUCKETS_BYTES, Plan, Prices, make_plan
from firetree.planning.watch import Watch
from firetree.probing import Probe, probe_ranks
from firetree.torch_private import group_store
from firetree.trace import EventKind, StepTrace
from firetree.wires.secret import VARIABLE

AUTO: Literal["auto"] = "auto"

PlanOrAuto = Plan | Literal["auto"] | None
"""A plan to follow, `auto` for one that the run makes itself, or none for the recipe's algorithm."""

IfSlower = Literal["fewer", "warn", "stop"]
"""What to do where fewer ranks than there are would be faster: train with these, with all, or not at all."""

CHECK_STEPS = 5
"""Steps between two checks for changed links; a check costs one tiny all-reduce."""


@dataclass(frozen=True, slots=True)
class News:
    """What a planner has found: a line for the user, events for the trace, and what it has measured."""

    text: str
    events: tuple[tuple[EventKind, str], ...]
    probe: Probe | None


class Planner:
    """Makes the plans of one run.

    Args:
        model: the network.
        example: one rank's share of a batch, without its labels.
        compressed: whether less is sent than a plan knows of.
        compressions: of which the fastest is taken, if it is clearly faster than none.

    Attributes:
        plan: the one in force.
        probe: what it was made from.
        outlook: what rank 0 expects of the first plan, and what gradients are to be sent as.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Inputs,
        compressed: bool = False,
        compressions: Sequence[str] = (),
    ):
        self._model_name = type(model).__name__
        self._profile = _scale_to_slowest(measure(model, example))
        self.probe = _probe()
        self.plan = self._make_plan(self.probe, BUCKETS_BYTES)
        self.outlook = self._look_ahead(compressions)
        compressed |= self.outlook.compression != UNCOMPRESSED.name
        self._watch = Watch(None if compressed else 1.0, self.probe.unsure)
        self._clock = CommonClock()
        self._spans_hosts = len(set(gather_json(own_network()))) > 1
        self._unseen: list[StepTrace] = []
        self._planned_s: dict[int, float] = {}

    def look(self, step: StepTrace) -> News | None:
        """Call it after each step: where links have changed, it plans anew and says so.

        One host has no links that change. Sums are compared with what the plan says they take. The buckets stay as DDP has cut them.
        """
        if step.buckets and self._spans_hosts:  # most local steps have none
            self._unseen.append(step)
        if (step.step + 1) % CHECK_STEPS or not self._unseen:
            return None
        unseen, self._unseen = self._unseen, []
        self._compare(unseen)
        if not self._watch.has_changed:
            return None
        return self._plan_anew(step.step + 1, _sizes(unseen[-1]))

    def _compare(self, steps: list[StepTrace]) -> None:
        spans = [(b.start_s, b.end_s) for step in steps for b in step.buckets]
        longest_s = max(step.training_s for step in steps)
        lasted_s, longest_s = self._clock.durations_s(spans, longest_s)
        each_s = iter(lasted_s)
        for step in steps:
            took_s = sum(next(each_s) for _ in step.buckets)
            self._watch.add(took_s, self._priced_s(_sizes(step)), longest_s)

    def _priced_s(self, sizes: list[int]) -> float:
        """What sums of these sizes take by the plan."""
        unknown = sorted({*sizes} - self._planned_s.keys())
        if unknown:
            priced = [self._price_s(size, self.probe) for size in unknown]
            self._planned_s |= zip(unknown, broadcast_json(priced), strict=True)
        return sum(self._planned_s[size] for size in sizes)

    def _price_s(self, size_bytes: int, found: Probe) -> float:
        """What a sum takes by the plan on a network; rank 0 says."""
        if dist.get_rank():
            return 0.0
        return self.plan.choice_for(size_bytes).price(found.network, size_bytes).time_s

    def _plan_anew(self, step: int, sizes: list[int]) -> News:
        why = self._watch.news
        found, failure = None, None
        try:
            found = _probe()
        except RunFailedError as error:  # raised on a rank that was left out, too
            failure = str(error)
        failure = _first_failure(failure)
        if found is None or failure:
            self._watch.rest()
            text = f"{why}; the plan stays: {failure}"
            return News(f"step {step}: {text}", (("slower", text),), None)
        before, before_s = self.plan.algorithm, self._priced_s(sizes)
        now_s = broadcast_json(sum(self._price_s(size, found) for size in sizes))
        events: list[tuple[EventKind, str]] = [("slower", why), ("probed", found.summary)]
        if not self._watch.explain(before_s, now_s):
            text = f"{why}, while links are as probed before; this is usual from here on"
            return News(f"step {step}: {text}", (("slower", text), events[1]), found)
        self.probe, self._planned_s, self._watch.unsure = found, {}, found.unsure
        self.plan = self._make_plan(found, (self.plan.bucket_bytes,))
        now = self.plan.algorithm
        change = f"{before} → {now}" if now != before else f"{now} stays"
        events.append(("planned", f"{self.plan!r}"))
        text = f"step {step}: {why}; probed and planned anew: {change}"
        return News(text, tuple(events), found)

    def _look_ahead(self, compressions: Sequence[str]) -> Outlook:
        made = None
        if dist.get_rank() == 0:
            made = asdict(outlook(self.plan, self._profile, self.probe.network, compressions))
        return from_document(Outlook, broadcast_json(made), "the outlook")

    def _make_plan(self, found: Probe, buckets_bytes: tuple[int, ...]) -> Plan:
        made = None
        if dist.get_rank() == 0:
            prices = Prices(found.network)
            if os.environ.get(VARIABLE):
                prices.names.remove(GLOO)
            made = make_plan(self._model_name, self._profile, prices, buckets_bytes).to_json()
        return Plan.from_json(broadcast_json(made))


def _sizes(step: StepTrace) -> list[int]:
    return [bucket.size_bytes for bucket in step.buckets]


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
