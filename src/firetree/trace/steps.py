"""A step of a rank as data: where its time went, what was summed, and what went over which connection.

Durations are in seconds. Moments are seconds of rank 0's monotonic clock, so ranks can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

from firetree.documents import Count, Expect, Finite, Positive, Printable, Seconds
from firetree.wires.tcp_info import TcpInfo

Moment = Annotated[float, Expect(lambda value: abs(value) < 1e15, "seconds from -1e15 to 1e15")]
"""A point in time; negative before rank 0's host booted."""

Phase = Literal[
    "data", "forward", "backward", "communication", "optimizer", "evaluation", "saving", "other"
]
"""What a rank does, or waits for: `communication` is the end of a backward pass, which waits for sums."""


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """A part of a step that was spent in one phase."""

    phase: Phase
    start_s: Moment
    end_s: Moment


@dataclass(frozen=True, slots=True)
class PassSpan:
    """A backward pass whose gradients are summed, and how long it waited for their sums.

    The last gradient was computed at `ready_s`; all sums were there, and the pass over, at `end_s`.
    """

    ready_s: Moment
    end_s: Moment


@dataclass(frozen=True, slots=True)
class TransferSpan:
    """One transfer of a bucket's sum, as this rank sees it; the other rank's trace has its other end.

    It starts when this rank takes the first bytes from the kernel, or gives it the first. It ends when
    the last are taken, and added for a `recv_reduce`; or when the kernel has the last of what is sent.
    The k-th sent to a rank is the k-th that the rank receives. So one was on its way at most from the
    start on the one side to the end on the other.
    """

    peer: Count
    kind: Literal["send", "recv", "recv_reduce"]
    chunk: Count
    size_bytes: Count
    start_s: Moment
    end_s: Moment


@dataclass(frozen=True, slots=True)
class ChannelSpan:
    """All transfers of a step to one peer, or from it: their number, bytes, first start and last end."""

    peer: Count
    direction: Literal["to", "from"]
    transfers: Count
    size_bytes: Count
    start_s: Moment
    end_s: Moment


@dataclass(frozen=True, slots=True)
class WireSpan:
    """What this rank's kernel says of its connection to a peer at `end_s`; counters begin at `start_s`.

    They count headers too, and what came early for the next step. Where nothing moved, there is none.
    """

    peer: Count
    start_s: Moment
    end_s: Moment
    tcp: TcpInfo


@dataclass(frozen=True, slots=True)
class BucketSpan:
    """One bucket of gradients: when its last gradient was computed, and when its sum began and ended.

    The average of local steps has index -1. `model` counts the models of a script, in the order in which
    they were wrapped. In detailed steps (`is_detailed`) there are `transfers`, and `layers`: the names of
    the layers whose gradients the bucket holds, those with the most bytes first.
    """

    index: Annotated[int, Expect(lambda value: value >= -1, "-1 or more")]
    size_bytes: Count
    ready_s: Moment
    start_s: Moment
    end_s: Moment
    transfers: tuple[TransferSpan, ...] = ()
    layers: tuple[Printable, ...] = ()
    model: Count = 0


@dataclass(frozen=True, slots=True)
class ConnectionSpan:
    """What the kernel says of one TCP connection of this process at `end_s`; counters begin at `start_s`.

    `local` and `remote` are addresses with ports. The rank whose `local` is this one's `remote` is at the
    other end: so the connections of Gloo and NCCL can be told apart too.
    """

    local: Printable
    remote: Printable
    start_s: Moment
    end_s: Moment
    tcp: TcpInfo


@dataclass(frozen=True, slots=True)
class LayerSpan:
    """How long a layer's backward pass took: from the gradient before its own to its last."""

    layer: Printable
    backward_s: Seconds


@dataclass(frozen=True, slots=True)
class Communication:
    """What ranks said to each other for some buckets.

    `channels` are over our own connections alone: there are none where NCCL or Gloo sums, nor for what
    `topk`, `powersgd`, `sparseloco`, `turns`, `demo` and the scales of `int8` take. `wires` are read in detailed
    steps.
    """

    buckets: tuple[BucketSpan, ...]
    channels: tuple[ChannelSpan, ...] = ()
    wires: tuple[WireSpan, ...] = ()


def is_detailed(step: int) -> bool:
    """Whether a step's transfers are in the trace one by one, and what the kernel says of each wire.

    These are the first 16 steps, every 2nd to step 32, every 4th to step 64, and so on. So a run of a
    million steps has 144. Of a step's buckets, the first have their transfers, 2048 in all at most; the
    channels count them all, in every step.
    """
    return step % (1 << max(0, step.bit_length() - 4)) == 0


SHARDED = "fsdp"
"""The algorithm of steps in which FSDP's own collectives sum, which are only measured."""

MOST_TRANSFERS = 2048
"""Transfers of a rank in a detailed step's buckets."""


@dataclass(frozen=True, slots=True)
class StepTrace:
    """One step of one rank; or several, of which one is told.

    The seconds of each phase, `cpu_s`, `starved_s`, `samples` and `sent_bytes` are means over `count`
    steps, of which this is the last; everything else is of this step. `step_s` is the sum of the phases.

    Attributes:
        backward_s: includes `communication_s`.
        samples: of this rank's share of the batch: one for an image or game, one or several for a
            sequence; in a script the length of the model's first input, 0 where it has none, and of the
            longest where several models compute one loss or have an optimiser each.
        sent_bytes: of gradients, to all peers.
        algorithm: what summed the largest bucket; a new plan changes it.
        cpu_s: CPU time of the process, over all its threads.
        starved_s: of the time in which it computed, how long its main thread waited for a CPU.
        passes: the backward passes whose gradients were summed.
        phases, connections, layer_times: in detailed steps, see `is_detailed`.
    """

    step: Count
    start_s: Moment
    data_wait_s: Seconds
    forward_s: Seconds
    backward_s: Seconds
    optimizer_s: Seconds
    samples: Count
    sent_bytes: Count
    buckets: tuple[BucketSpan, ...]
    algorithm: Printable = ""
    channels: tuple[ChannelSpan, ...] = ()
    wires: tuple[WireSpan, ...] = ()
    communication_s: Seconds = 0.0
    evaluation_s: Seconds = 0.0
    saving_s: Seconds = 0.0
    other_s: Seconds = 0.0
    cpu_s: Seconds = 0.0
    starved_s: Seconds = 0.0
    count: Positive = 1
    passes: tuple[PassSpan, ...] = ()
    phases: tuple[PhaseSpan, ...] = ()
    connections: tuple[ConnectionSpan, ...] = ()
    layer_times: tuple[LayerSpan, ...] = ()

    @property
    def step_s(self) -> float:
        named_s = self.data_wait_s + self.forward_s + self.backward_s + self.optimizer_s
        return named_s + self.evaluation_s + self.saving_s + self.other_s

    @property
    def training_s(self) -> float:
        """The step without what was done between it and the last one."""
        return self.step_s - self.evaluation_s - self.saving_s - self.other_s

    @property
    def compute_s(self) -> float:
        """Forward and backward pass and optimiser, without the wait for sums."""
        return self.forward_s + self.backward_s - self.communication_s + self.optimizer_s


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """A layer's name, and the bytes of its gradients."""

    name: Printable
    size_bytes: Count


@dataclass(frozen=True, slots=True)
class TraceHeader:
    """What all steps of a rank's trace have in common.

    `gradient_bytes` is |W|, which is summed over the ranks in a step. `formula_bytes` is what the busiest
    rank sends in a step by the algorithm's closed form, None where it has none. `bytes_counted_by` is
    `executor` or `kernel`, whichever measured `sent_bytes`. `layers` are the largest, largest first;
    `script` is its name where the run is one's own script's.
    """

    rank: Count
    world_size: Positive
    algorithm: str
    bytes_counted_by: str
    gradient_bytes: Count
    formula_bytes: Finite | None
    host: Printable = ""
    address: Printable = ""
    layers: tuple[LayerBytes, ...] = ()
    script: Printable = ""

    @property
    def name(self) -> str:
        """`rank 3 on gpu-box`, or `rank 3` where the host's name is not known."""
        return f"rank {self.rank} on {self.host}" if self.host else f"rank {self.rank}"


MOST_LAYERS = 32
"""Layers in a header."""

MOMENTS = ("start_s", "end_s", "ready_s", "at_s", "since_s")
"""The names of all fields that hold points in time."""

Value = TypeVar("Value")


def shift(value: Value, offset_s: float) -> Value:
    """A step, or any other value of this package, with its moments moved to another clock."""
    return replace(value, **_shifted(value, offset_s))  # type: ignore[type-var]


def _shifted(value: Any, offset_s: float) -> Mapping[str, Any]:
    moved: dict[str, Any] = {}
    for field in fields(value):
        inner = getattr(value, field.name)
        if field.name in MOMENTS and inner is not None:
            moved[field.name] = inner + offset_s
        elif isinstance(inner, tuple) and inner and is_dataclass(inner[0]):
            moved[field.name] = tuple(shift(it, offset_s) for it in inner)
    return moved
