"""`attach(model, "auto")`: measures the network, takes the cheapest way for each size, and watches it.

All ranks of the model call everything here together, with the same outcome. Watching is done in the
synchroniser's thread, before a pass, where no rank is in the middle of a sum.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import deque
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Literal

import torch.distributed as dist
from torch.distributed import Store

from firetree.observing import tell_run
from firetree.peers import CommonClock, gather_json
from firetree.planning.candidates import GLOO
from firetree.planning.ladder import Ladder, ladder_on_one_host, priced_ladder
from firetree.planning.plan import Prices
from firetree.planning.watch import WINDOW, Watch
from firetree.probing import Probe
from firetree.sync.algorithms import FixedAlgorithm
from firetree.sync.measuring import (
    known_network,
    measure_network,
    on_one_host,
    write_network,
)
from firetree.trace import Event, EventKind
from firetree.wires.secret import VARIABLE

AUTO: Literal["auto"] = "auto"

_CHECK_S = 0.5
"""A check takes some round trips: one in half a second of training is nothing."""

_PRICING_S = 300.0

BucketTime = tuple[int, float, float]
"""A bucket's bytes, and when its sum began and ended, on this rank's clock."""


class Chooser:
    """Chooses how one model's buckets are summed.

    Args:
        group: the model's ranks, over wires; used by nobody else meanwhile.
        store: reaches these ranks, and is this chooser's alone.
        gradient_bytes: of the model.
        compressed: whether less is sent than prices know of.

    Attributes:
        chosen: the way in force.
        probe: what was measured last; None where nothing was.
        events: what was measured, chosen and found so far, on the group's first rank; steps are passes.
    """

    def __init__(
        self, group: dist.ProcessGroup, store: Store, gradient_bytes: int, compressed: bool
    ):
        self._group, self._store = group, store
        self._gradient_bytes, self._compressed = gradient_bytes, compressed
        self._gather = partial(gather_json, group=group)
        self._private = bool(os.environ.get(VARIABLE))
        self._ranks = tuple(dist.get_process_group_ranks(group))
        self.probe: Probe | None = None
        self.events: list[Event] = []
        self._run_dir: Path | None = None
        self._watch: Watch | None = None
        self._clock = CommonClock(group)
        self._begun, self._priced = 0, 0
        self._begun_s = deque[float](maxlen=WINDOW + 1)
        self._sums: list[BucketTime] = []
        self._passes = deque[list[BucketTime]](maxlen=WINDOW)
        self._until_check = WINDOW
        self.chosen = self._choose()

    def tell_run_in(self, run_dir: Path) -> None:
        """Add what was and will be measured and chosen to the run that this process writes there."""
        self._run_dir = run_dir
        for event in self.events:
            tell_run(event.kind, event.text)
        self._write_probe()

    def _write_probe(self) -> None:
        if self._run_dir and self.probe and self._group.rank() == 0:
            write_network(self.probe, self._run_dir)

    def add(self, one: BucketTime) -> None:
        """Note a sum of this pass."""
        if self._watch is not None:
            self._sums.append(one)

    def before_pass(self) -> Ladder | FixedAlgorithm:
        """The way to take from here on; now and then ranks compare what sums take with their prices."""
        if self._watch is not None:
            self._begun += 1
            self._begun_s.append(time.monotonic())
            if self._sums:
                self._passes.append(self._sums)
                self._sums = []
                self._until_check -= 1
            if self._until_check <= 0:
                self._check(self._watch)
        return self.chosen

    def _choose(self) -> Ladder | FixedAlgorithm:
        size = self._group.size()
        if on_one_host(self._gather):
            kept = ladder_on_one_host(size, self._gradient_bytes, self._private)
            if size > 1:
                where = f"{size} ranks on one host, no network to measure"
                self._say("planned", f"{where}; {kept}", logging.INFO)
            return kept
        found = known_network(self._ranks, self._gather) or self._measure()
        if isinstance(found, str):
            return self._unmeasured(found)
        self.probe = found
        chosen, _ = self._price(found, [])
        self._watch = Watch(None if self._compressed else 1.0, found.unsure)
        self._say("probed", found.summary)
        self._say("planned", f"{chosen}")
        return chosen

    def _unmeasured(self, why: str) -> FixedAlgorithm:
        """The backend's own sums, as DDP's would be; our ring where they are to be private."""
        kept = FixedAlgorithm("ring" if self._private else GLOO, self._group.size())
        self._say("planned", f"{why}; {kept.algorithm} sums all gradients")
        return kept

    def _check(self, watch: Watch) -> None:
        """Compare the last passes with their prices; all ranks see the same numbers."""
        passes, self._passes = self._passes, deque(maxlen=WINDOW)
        spans = [(start_s, end_s) for sums in passes for _, start_s, end_s in sums]
        pass_s = median(after - before for before, after in pairwise(self._begun_s))
        lasted_s, pass_s = self._clock.durations_s(spans, pass_s)
        each_s = iter(lasted_s)
        for sums in passes:
            watch.add(sum(next(each_s) for _ in sums), self._planned_s(sums), pass_s)
        self._until_check = max(WINDOW, math.ceil(_CHECK_S / pass_s))
        if watch.has_changed:
            self._choose_again(watch, passes[-1])

    def _choose_again(self, watch: Watch, sums: list[BucketTime]) -> None:
        why = f"after {self._begun - 1} passes {watch.news}"
        found = self._measure()
        if isinstance(found, str):
            watch.rest()
            self._say("slower", f"{why}; the ways stay: {found}")
            return
        before_s = self._planned_s(sums)
        chosen, now_s = self._price(found, sums)
        if watch.explain(before_s, now_s):
            self.chosen, watch.unsure = chosen, found.unsure
            self._say("slower", f"{why}; {found.summary}")
            self._say("planned", f"{chosen}")
        else:
            self._say("slower", f"{why}, while links are as before; this is usual from here on")

    def _planned_s(self, sums: list[BucketTime]) -> float:
        assert isinstance(self.chosen, Ladder)
        return sum(self.chosen.seconds(size) or 0.0 for size, *_ in sums)

    def _measure(self) -> Probe | str:
        """Measure the network between the ranks; on all ranks alike why it could not be."""
        found = measure_network(self._store, self._group.rank(), self._ranks, self._gather)
        if isinstance(found, Probe):
            self.probe = found
            self._write_probe()
        return found

    def _price(self, found: Probe, sums: list[BucketTime]) -> tuple[Ladder, float]:
        """The cheapest ways on a network, and what these sums take there in the way of now.

        The first rank prices, which may take longer than ranks wait for each other's sums.
        """
        self._priced += 1
        key = f"priced-{self._priced}"
        if self._group.rank() == 0:
            prices = Prices(found.network)
            if self._private:
                prices.names.remove(GLOO)
            ladder = priced_ladder(prices, self._gradient_bytes)
            ways = [(self.chosen.choice_for(size), size) for size, *_ in sums]
            now_s = sum(choice.price(found.network, size).time_s for choice, size in ways)
            self._store.set(key, json.dumps([ladder.to_json(), now_s]))
        self._store.wait([key], timedelta(seconds=_PRICING_S))
        text, now_s = json.loads(self._store.get(key))
        return Ladder.from_json(text), now_s

    def _say(self, kind: EventKind, text: str, level: int = logging.WARNING) -> None:
        if self._group.rank() == 0:
            self.events.append(Event(kind, time.monotonic(), self._begun, text))
            if self._run_dir:
                tell_run(kind, text)
            logging.getLogger("firetree").log(level, "firetree.attach: auto: %s", text)
