"""Finds the steps of a script, and their phases, in what its models, optimisers and loaders do.

Hooks (in `marks`) tell this recorder what the main thread begins and ends. A step ends with the step of
an optimiser; it may hold several optimisers' (a GAN), each once. So a step is over, and told, when an
optimiser begins its next one. A script without optimisers of torch's steps at the end of each pass.

    mark ─► span (phase, start, end) ─► part (up to an optimiser's step) ─► step ─► StepTrace
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from weakref import ref

from firetree.observing.phases import Activity, Span, durations, phases
from firetree.observing.run_queue import RunQueue
from firetree.trace import (
    Communication,
    ConnectionSpan,
    LayerSpan,
    OpenBucket,
    OpenStep,
    PassSpan,
    Phase,
    StepTrace,
    is_detailed,
)

_COMPUTES = ("forward", "backward", "optimizer")
_MOST_SPANS = 4096
"""Of one step; later ones go into its last."""


class SumRecord(Protocol):
    """What was summed."""

    def take(self, detailed: bool = False) -> Communication:
        """The newest buckets since the last call."""


class Sums(Protocol):
    """What sums a model's gradients."""

    @property
    def algorithm(self) -> str:
        """What sums the largest bucket."""

    @property
    def bytes_counted_by(self) -> str:
        """Who measures `sent_bytes`."""

    @property
    def record(self) -> SumRecord:
        """What was summed."""

    def sent_bytes(self) -> int:
        """Bytes of gradients sent to all peers so far."""


class Connections(Protocol):
    """The TCP connections of this process."""

    def take(self) -> Sequence[ConnectionSpan]:
        """What the kernel says of each since the last call."""


@dataclass(slots=True)
class _Part:
    """What was done up to an optimiser's step."""

    spans: list[Span] = field(default_factory=list)
    passes: list[PassSpan] = field(default_factory=list)
    said: list[Communication] = field(default_factory=list)
    layer_times: list[LayerSpan] = field(default_factory=list)
    connections: Sequence[ConnectionSpan] = ()
    samples: int = 0
    starved_s: float = 0.0
    cpu_s: float = 0.0
    sent_bytes: int = 0
    algorithm: str = ""


class Recorder:
    """The steps of one process. Marks come from the thread that makes it; `now` may be called by another.

    Args:
        tell: gets each step once it is over.
        connections: what the kernel says, asked in detailed steps.

    Attributes:
        detailed: whether the part under way may be told in detail.
    """

    def __init__(self, tell: Callable[[StepTrace], object], connections: Connections):
        self._tell, self._connections, self._run_queue = tell, connections, RunQueue()
        self._sums: list[ref[Sums]] = []
        self._step, self.detailed = 0, True
        self._parts: list[_Part] = []
        self._stepped: set[Hashable] = set()
        self._has_optimizers = False
        self._open_buckets: dict[tuple[int, int], OpenBucket] = {}
        self._layers: dict[tuple[int, int], tuple[str, ...]] = {}
        self._activity: Activity = "other"
        self._base: Activity = "other"
        self._begin_part(time.monotonic())
        self._cpu_s = time.process_time()
        self._sent_bytes = self._inputs = 0

    def add_sums(self, sums: Sums) -> int:
        """Ask these sums at the end of each part; gives the number of their model."""
        self._sums.append(ref(sums))  # a script may drop the model
        return len(self._sums) - 1

    @property
    def _alive(self) -> dict[int, Sums]:
        """The sums of the models that are still there, by number."""
        found = ((number, sums()) for number, sums in enumerate(self._sums))
        return {number: sums for number, sums in found if sums is not None}

    @property
    def step(self) -> int:
        """The number of the step under way; one that is over but not told yet counts as well."""
        return self._step + bool(self._parts)

    @property
    def since_s(self) -> float:
        """When the activity under way began."""
        return self._since_s

    def begin_backward(self) -> bool:
        """A backward pass begins; whether none was under way already."""
        if self._activity in ("backward", "communication"):
            return False
        self._count_inputs()
        self.enter("backward")
        return True

    def rest(self) -> None:
        """What was begun last is over."""
        self.enter(self._base)

    def enter(self, activity: Activity) -> Activity:
        """Begin another activity; gives the one that ends."""
        now_s, before = time.monotonic(), self._activity
        self._add_span(before, now_s)
        self._activity, self._since_s = activity, now_s
        return before

    def begin_forward(self, samples: int, activity: Activity) -> None:
        """A training model begins a forward pass on this many samples, or evaluates."""
        self.enter(activity)
        if activity != "evaluation":
            self._inputs = max(self._inputs, samples)

    def _count_inputs(self) -> None:
        """Several models may compute one loss (a GAN): the longest of their inputs counts."""
        self._part.samples += self._inputs
        self._inputs = 0

    def waited(self, ready_s: float, end_s: float) -> None:
        """All ranks met from `ready_s`, where this one came, to `end_s`."""
        self._part.passes.append(PassSpan(ready_s, end_s))

    def hand_over(self, bucket: OpenBucket) -> None:
        """A bucket's last gradient was computed; `summed` ends it."""
        self._open_buckets[bucket.model, bucket.index] = bucket
        self._layers[bucket.model, bucket.index] = bucket.layers

    def summed(self, model: int, index: int) -> None:
        """The bucket's sum is there; called by any thread."""
        if bucket := self._open_buckets.get((model, index)):
            self._open_buckets[model, index] = OpenBucket(
                index, bucket.ready_s, time.monotonic(), bucket.layers, model
            )

    def end_backward(self) -> None:
        """A backward pass ends, with the sums of its buckets, if there are any."""
        handed, self._open_buckets = self._open_buckets, {}
        if handed:
            ready_s = max(bucket.ready_s for bucket in handed.values())
            self._split(ready_s)
            self.waited(ready_s, time.monotonic())
        self.rest()
        if handed and not self._has_optimizers:
            self._end_part("backward", self._since_s)

    def add_layer_times(self, times: Sequence[LayerSpan]) -> None:
        """How long each layer's backward pass took, in a detailed step."""
        self._part.layer_times += times

    def begin_optimizer(self) -> None:
        """An optimiser's step begins; passes within it are told as what they are."""
        self._base = "optimizer"
        self.rest()

    def end_optimizer(self, optimizer: Hashable) -> None:
        """An optimiser's step is over."""
        self._has_optimizers, self._base = True, "other"
        self.rest()
        self._end_part(optimizer, self._since_s)

    def end(self) -> None:
        """Tell the last step; the script is over."""
        if self._parts:
            self._tell_step()

    def now(self) -> OpenStep:
        """Where the main thread is."""
        phase: Phase = "evaluation" if self._activity == "trial" else self._activity
        buckets = tuple(self._open_buckets.values())
        return OpenStep(self.step, time.monotonic(), phase, self._since_s, buckets)

    def _begin_part(self, now_s: float) -> None:
        self._part = _Part()
        self._since_s = now_s
        self._waited_s = self._run_queue.waited_s()

    def _add_span(self, activity: Activity, end_s: float) -> None:
        """What the main thread did from `_since_s` on."""
        spans, start_s, waited_s = self._part.spans, self._since_s, self._run_queue.waited_s()
        if activity in _COMPUTES:
            self._part.starved_s += waited_s - self._waited_s
        self._waited_s = waited_s
        if len(spans) >= _MOST_SPANS:
            activity, start_s = spans[-1].activity, spans.pop().start_s
        if end_s > start_s:
            spans.append(Span(activity, start_s, end_s))

    def _split(self, ready_s: float) -> None:
        """From the last gradient on, the backward pass waits for sums, which takes no CPU time."""
        ready_s = max(ready_s, self._since_s)
        self._activity, before = "communication", self._activity
        self._add_span(before, ready_s)
        self._since_s = ready_s

    def _end_part(self, stepper: Hashable, now_s: float) -> None:
        """Close the part; where its optimiser has stepped in this step already, the step was over."""
        if stepper in self._stepped:
            self._tell_step()
        self._stepped.add(stepper)
        self._count_inputs()
        part, detailed = self._part, is_detailed(self._step)
        alive = self._alive
        part.said = [self._say(model, sums, detailed) for model, sums in alive.items()]
        part.algorithm = next((sums.algorithm for sums in alive.values()), "")
        part.cpu_s = time.process_time()
        part.sent_bytes = sum(sums.sent_bytes() for sums in alive.values())
        if detailed:
            part.connections = self._connections.take()
        self._parts.append(part)
        self.detailed = is_detailed(self._step) or is_detailed(self.step)
        self._begin_part(now_s)

    def _say(self, model: int, sums: Sums, detailed: bool) -> Communication:
        """What a model's sums say, with the layers of each bucket in detail."""
        said = sums.record.take(detailed)
        if not (model or detailed):
            return said
        layers = self._layers if detailed else {}
        buckets = (
            replace(it, model=model, layers=layers.get((model, it.index), ()))
            for it in said.buckets
        )
        return replace(said, buckets=tuple(buckets))

    def _tell_step(self) -> None:
        parts, self._parts, self._stepped = self._parts, [], set()
        last, number, detailed = parts[-1], self._step, is_detailed(self._step)
        spans = phases([span for part in parts for span in part.spans])
        if not number and spans[0].phase == "other":
            spans = spans[1:]  # what a script does before its first step
        said = [it for part in parts for it in part.said]
        step = StepTrace(
            step=number,
            start_s=spans[0].start_s if spans else self._since_s,
            **durations(spans),
            samples=max(part.samples for part in parts),
            sent_bytes=max(0, last.sent_bytes - self._sent_bytes),
            buckets=tuple(bucket for it in said for bucket in it.buckets),
            algorithm=last.algorithm,
            channels=tuple(channel for it in said for channel in it.channels),
            wires=tuple(wire for it in said for wire in it.wires),
            cpu_s=max(0.0, last.cpu_s - self._cpu_s),
            starved_s=sum(part.starved_s for part in parts),
            passes=tuple(it for part in parts for it in part.passes),
            phases=spans if detailed else (),
            connections=tuple(it for part in parts for it in part.connections),
            layer_times=tuple(it for part in parts for it in part.layer_times if detailed),
        )
        self._cpu_s, self._sent_bytes = last.cpu_s, last.sent_bytes
        self._step += 1
        self._tell(step)
