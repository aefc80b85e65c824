"""A report as values: what holds a run back, what that rests on, and what a change would bring.

`commands` draws them as text and pages; `dataclasses.asdict` makes them JSON. Seconds, bytes and samples
are those of one step, and of the stretch that the verdict speaks of, unless a field says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from firetree.metrics import Evaluation
from firetree.shown import Shown

Cause = Literal[
    "compute",
    "network",
    "heavy_layer",
    "slow_upload",
    "slow_download",
    "slow_port",
    "slow_link",
    "thin_uplink",
    "slow_host",
    "starved",
    "data",
    "paused",
    "evaluation",
    "saving",
    "uneven",
    "other",
    "hang",
    "death",
]
"""What holds a run back.

`compute`: the work itself, which is healthy. `network`: all links alike. `slow_port`: one host's, both
ways. `slow_link`: between two hosts, of which either may be at fault. `thin_uplink`: what hosts of one rack
share. `slow_host`: it computes more slowly, though on its CPU. `starved`: others have the CPU. `paused`: a
host stood still for a while. `uneven`: ranks take turns at being last. `other`: what a script does between
steps. `hang` and `death`: the run does not go on.
"""


Unit = Literal["", "bytes/s", "s", "share"]

LearningKind = Literal["steady", "still_learning", "over_fitted", "rate_too_high", "nothing"]
"""How a run learned.

`steady`: until its best evaluation, and was no worse later. `still_learning`: until its last step, and would learn
more. `over_fitted`: by heart, as test loss rose while training loss fell. `rate_too_high`: its loss rose or was not
finite. `nothing`: its answers are those of guessing.
"""


@dataclass(frozen=True, slots=True)
class Culprit:
    """Whose fault it is: these ranks and their hosts, all of them where there are none.

    `link` has the sending and the receiving rank of a slow link. `layer` is a heavy layer's name. `figure`
    is what was measured of the culprit, `usual` the same of the others, both in `unit`: seconds of a step, bytes
    a second, or a share of 1.
    """

    ranks: tuple[int, ...] = ()
    hosts: tuple[str, ...] = ()
    link: tuple[int, int] | None = None
    layer: str = ""
    figure: float | None = None
    usual: float | None = None
    unit: Unit = ""


@dataclass(frozen=True, slots=True)
class Gain:
    """What a change would bring, by simulation or from the trace: `speedup` times the samples a second.

    `machines` is how many machines' work the run would then do, `machines_now` how many it does. `mends` is
    the cause that it takes away, if it is for one.
    """

    change: str
    speedup: float
    step_s: float
    machines_now: float
    machines: float
    mends: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What holds the run back, in a sentence.

    `share` is the part of a step that it costs (0 to 1). `why` has the evidence, a sentence each. `advice` says
    what to do, and `command` what to type for it, empty where there is none. `since_step` is the first
    step that was slower, where it was not always so. `gain` is what it would bring, None where that
    cannot be told.
    """

    kind: Cause
    culprit: Culprit
    sentence: str
    share: float
    why: tuple[str, ...] = ()
    advice: str = ""
    command: str = ""
    gain: Gain | None = None
    since_step: int | None = None


@dataclass(frozen=True, slots=True)
class StepParts:
    """Where the seconds of a step go; they add up to the step.

    `others_wait_s` is what a rank waits after its last gradient for ranks that still compute, and
    `network_wait_s` what it waits from then on: exposed communication.
    """

    data_s: float = 0.0
    forward_s: float = 0.0
    backward_s: float = 0.0
    others_wait_s: float = 0.0
    network_wait_s: float = 0.0
    optimizer_s: float = 0.0
    evaluation_s: float = 0.0
    saving_s: float = 0.0
    other_s: float = 0.0

    @property
    def step_s(self) -> float:
        """Their sum."""
        return float(sum(getattr(self, field.name) for field in fields(self)))

    @property
    def compute_s(self) -> float:
        """Forward and backward pass and optimiser."""
        return self.forward_s + self.backward_s + self.optimizer_s


@dataclass(frozen=True, slots=True)
class RankReport:
    """A rank's mean step. `cpu_share` is CPU time against the clock's: 1 is one core, None where it was not measured.

    `starved_s` is for how long it wanted a CPU and had none. `last_share` is the part of the steps in which
    it was the last to compute its gradients.
    """

    rank: int
    host: str
    address: str
    parts: StepParts
    cpu_share: float | None
    starved_s: float
    last_share: float
    samples: float
    sent_bytes: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps that belong together: one algorithm, one plan, one typical time of a step.

    `steps` counts them, `last_step` is the last one's number. `median_s` and `p95_s` are of a step as its slowest
    rank saw it, `noise` is half the 95 % confidence interval of the median, as a part of it. `began` says what
    set it apart from the one before.
    """

    first_step: int
    last_step: int
    steps: int
    algorithm: str
    median_s: float
    p95_s: float
    noise: float
    parts: StepParts
    began: str = ""
    is_start: bool = False
    """Whether these are the first steps, which are slower in every run."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Time that belongs to no stretch: a pause, a new plan, a resumed run. It came before step `step`."""

    step: int
    at_s: float
    seconds: float
    text: str
    rank: int | None = None
    host: str = ""


@dataclass(frozen=True, slots=True)
class BucketReport:
    """A bucket of gradients: how long its sum takes, and for how much of that workers wait.

    `ready_s` is after the backward pass's start; all are medians over the steps and ranks.
    """

    index: int
    model: int
    size_bytes: int
    layers: tuple[str, ...]
    ready_s: float
    sum_s: float
    exposed_s: float


@dataclass(frozen=True, slots=True)
class LinkReport:
    """What went from one rank's host to another's, and how fast while it went.

    `rate_bytes_s` is a lower bound where `at_least`: the link was never full. `earlier_bytes_s` is what it
    carried before `since_step`, where it changed. `source` is who measured it.
    """

    sender: int
    receiver: int
    rate_bytes_s: float
    at_least: bool
    source: Literal["probe", "kernel", "sums"]
    busy_share: float | None = None
    rtt_s: float | None = None
    retransmitted: float | None = None
    earlier_bytes_s: float | None = None
    since_step: int | None = None


@dataclass(frozen=True, slots=True)
class PortReport:
    """What a host's port carries, by the probe. `rank` is the host's first."""

    rank: int
    host: str
    up_bytes_s: float
    down_bytes_s: float


@dataclass(frozen=True, slots=True)
class UplinkReport:
    """What the hosts of a rack share, by the probe; they are named by their first ranks."""

    ranks: tuple[int, ...]
    out_bytes_s: float
    in_bytes_s: float


@dataclass(frozen=True, slots=True)
class NetworkReport:
    """The network as measured; `ports` and `uplinks` are empty without a probe."""

    links: tuple[LinkReport, ...] = ()
    ports: tuple[PortReport, ...] = ()
    uplinks: tuple[UplinkReport, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """A rank that others waited for when the run stood still, or ended.

    `doing` is the phase it was in, since `since_s` before the end; `step` the one it was in; `bucket` and
    `layers` say for which sum it had not come, None where it is not known.
    """

    rank: int
    host: str
    step: int
    doing: str
    since_s: float
    bucket: int | None = None
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standstill:
    """Why a run does not go on: who had not arrived, and which ranks waited for them."""

    missing: tuple[Missing, ...]
    waiting: tuple[int, ...]
    step: int
    failed: str = ""
    """What failed, in the words of the rank that it failed on; empty where nothing did."""
    error: str = ""
    """What the rank raised that had not arrived; empty where it ended without a word."""


@dataclass(frozen=True, slots=True)
class Learning:
    """How the run learned, in a sentence, and what to do.

    `since_epoch` is the first epoch of which it is so. `best_epoch` and `best_step` are of the evaluation with the
    highest accuracy, or the least loss where there is none; None before the first evaluation.
    """

    kind: LearningKind
    sentence: str
    advice: str = ""
    command: str = ""
    since_epoch: int | None = None
    best_epoch: int | None = None
    best_step: int | None = None


@dataclass(frozen=True, slots=True)
class ClassReport:
    """A class of the newest evaluation: of `total` test images `right` were recognised.

    It is taken for the class `taken_for` most often, `taken` times; empty where that is not known.
    """

    name: str
    right: int
    total: int
    taken_for: str = ""
    taken: int = 0

    @property
    def recall(self) -> float | None:
        """The share that was recognised (0 to 1); None without test images."""
        return self.right / self.total if self.total else None


@dataclass(frozen=True, slots=True, repr=False)
class Diagnosis(Shown):
    """A run, and what holds it back. All but `stretches` and `gaps` is of the stretch that was judged.

    `judged` is that stretch's index: the last one that is long enough. `samples_per_s` counts the samples of all
    ranks. `evaluation` is the last one on the test set, None before the first. `formula_bytes` is
    what the busiest rank sends by the algorithm's closed form, None where it has none. `learning` is None where
    nothing can be told of it. `classes` are in the data's order, empty where there are none; `macro_recall` is the
    mean of their recalls. `notes` say what was left out or could not be told.
    """

    run: str
    script: str
    world_size: int
    algorithm: str
    steps: int
    evaluation: Evaluation | None
    samples_per_s: float
    step_s: float
    parts: StepParts
    busiest_rank: int
    busiest_rank_sent_bytes: float
    bytes_counted_by: str
    gradient_bytes: int
    formula_bytes: float | None
    verdict: Verdict
    learning: Learning | None
    classes: tuple[ClassReport, ...]
    macro_recall: float | None
    judged: int
    stretches: tuple[Stretch, ...]
    gaps: tuple[Gap, ...]
    ranks: tuple[RankReport, ...]
    network: NetworkReport
    buckets: tuple[BucketReport, ...]
    gains: tuple[Gain, ...]
    standstill: Standstill | None
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return (
            f"<Diagnosis of {self.run}: {self.world_size} workers, {self.algorithm}, {self.steps} steps "
            f"of {self.step_s * 1e3:.3g} ms, {self.verdict.kind}>"
        )

    @property
    def accuracy(self) -> float | None:
        """Top-1 on the test set (0 to 1); None where there is none."""
        return self.evaluation.accuracy if self.evaluation else None

    @property
    def bottleneck(self) -> str:
        """The verdict in a sentence."""
        return self.verdict.sentence
