"""The runs of `diagnosis.py`: which script on which network, what is wrong there, and what must be said.

Scripts and networks are in two halves. Limits in `firetree.reporting` were first chosen on one half alone; since
the first whole draw, what either half got wrong was mended. A draw with a new seed is new to both.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from firetree.network import Host, Network, Rack
from firetree.reporting import Verdict

SCRIPTS = Path(__file__).with_name("diagnosis")
MBIT = 1e6 / 8

WIDE = {
    "mlp": "2",
    "convnet": "wide",
    "gpt": "blocks.1.grow",
    "lstm": "expand",
    "gan": "2",
    "mixer": "2.up",
    "resnet": "between",
    "encoder": "second.post",
}
"""For each script the layer that `--heavy` makes slow."""
TUNED, HELD_OUT = ("mlp", "convnet", "gpt", "lstm"), ("gan", "mixer", "resnet", "encoder")

STEPS_S = {
    **dict.fromkeys(("mlp", "convnet", "lstm"), 0.06),
    "gpt": 0.16,
    "gan": 0.08,
    "mixer": 0.1,
    "resnet": 0.09,
    "encoder": 0.16,
}
"""What a healthy step takes, so that a run takes about `RUN_S`."""
RUN_S, LEAST_STEPS, MOST_STEPS = 8.0, 30, 150

EXPECTED = {
    "healthy": ("compute",),
    "slow upload": ("slow_upload",),
    "slow download": ("slow_download",),
    "thin uplink": ("thin_uplink",),
    "CPU quota": ("starved", "slow_host"),
    "slow loader": ("data",),
    "slow loaders": ("data",),
    "paused host": ("paused",),
    "heavy layer": ("heavy_layer",),
    "evaluation": ("evaluation",),
    "starved machine": ("starved",),
}
"""For each kind of case the verdicts that are right; see the table in `diagnosis.py`."""
CAUSES = [*EXPECTED][1:]


@dataclass(frozen=True, slots=True)
class Case:
    """One run. `victims` are the ranks that must be named, none where it is all of them.

    `pauses_s` are spans in seconds from the first step on. `neighbours` are busy processes a host.
    """

    number: int
    seed: int
    kind: str
    script: str
    is_held_out: bool
    network: Network
    steps: int
    victims: tuple[frozenset[int], ...] = (frozenset(),)
    options: Mapping[str, float | str] = field(default_factory=dict)
    cores: float | None = None
    pauses_s: tuple[tuple[float, float], ...] = ()
    neighbours: int = 0

    def is_kind_right(self, verdict: Verdict) -> bool:
        return verdict.kind in EXPECTED[self.kind]

    def is_right(self, verdict: Verdict) -> bool:
        """Whether the verdict has the kind and the culprit."""
        if not self.is_kind_right(verdict):
            return False
        if self.kind == "heavy layer":
            return verdict.culprit.layer == WIDE[self.script]
        return self.kind == "healthy" or frozenset(verdict.culprit.ranks) in self.victims

    @property
    def expected(self) -> str:
        """`slow_upload of 2`."""
        named = " or ".join(",".join(map(str, sorted(ranks))) for ranks in self.victims)
        of = WIDE[self.script] if self.kind == "heavy layer" else named or "all"
        return " or ".join(EXPECTED[self.kind]) + ("" if self.kind == "healthy" else f" of {of}")


def draw(number: int, seed: int, causes: int) -> Case:
    """Case `number`: the first `causes` have something wrong, in turn; the others are healthy."""
    dice = random.Random(f"{seed} {number}")
    kind = CAUSES[number % len(CAUSES)] if number < causes else "healthy"
    turn = number // len(CAUSES) if number < causes else number
    is_held_out = turn % 2 == 1
    script = dice.choice(HELD_OUT if is_held_out else TUNED)
    network = _network(kind, is_held_out, dice)
    case = Case(number, seed, kind, script, is_held_out, network, 0)
    case = _with_cause(case, dice.randrange(network.size), dice)
    return replace(case, steps=_steps(case))


def _network(kind: str, is_held_out: bool, dice: random.Random) -> Network:
    """Three or four hosts with links that a healthy run does not notice."""
    rate = dice.choice((1500, 2500) if is_held_out else (1000, 2000)) * MBIT
    in_racks = kind == "thin uplink" or (kind == "healthy" and dice.random() < 0.25)
    hosts = 4 if in_racks else dice.choice((3, 4))
    ports = (Host(rate, rate),) * hosts
    racks = ((0, 2), (1, 3)) if is_held_out else ((0, 1), (2, 3))
    return Network(ports, tuple(Rack(it, 2 * rate, 2 * rate) for it in racks) if in_racks else ())


def _with_cause(case: Case, victim: int, dice: random.Random) -> Case:
    """The case with what is wrong, and who must be named."""
    one = (frozenset({victim}),)
    network, hosts = case.network, [*case.network.hosts]
    match case.kind:
        case "slow upload":
            hosts[victim] = replace(hosts[victim], up_bytes_s=dice.uniform(30, 80) * MBIT)
            return replace(case, network=replace(network, hosts=tuple(hosts)), victims=one)
        case "slow download":
            hosts[victim] = replace(hosts[victim], down_bytes_s=dice.uniform(30, 80) * MBIT)
            return replace(case, network=replace(network, hosts=tuple(hosts)), victims=one)
        case "thin uplink":
            rate = dice.uniform(30, 80) * MBIT
            racks = tuple(Rack(rack.hosts, rate, rate) for rack in network.racks)
            named = tuple(frozenset(rack.hosts) for rack in racks)
            return replace(case, network=replace(network, racks=racks), victims=named)
        case "CPU quota":
            return replace(case, cores=dice.uniform(0.04, 0.08), victims=one)
        case "slow loader":
            slow = {"--slow-rank": victim, "--slow-ms": _slow_ms(case, dice)}
            return replace(case, options=slow, victims=one)
        case "slow loaders":
            return replace(case, options={"--slow-ms": _slow_ms(case, dice)})
        case "paused host":
            starts = sorted(dice.uniform(1.5, 5.0) for _ in range(dice.choice((1, 2))))
            spans = tuple((start, dice.uniform(1.5, 3.0)) for start in starts)
            return replace(case, pauses_s=spans, victims=one)
        case "heavy layer":
            return replace(case, options={"--heavy": dice.uniform(8, 16)})
        case "evaluation":
            return replace(case, options={"--eval-every": dice.choice((1, 2))})
        case "starved machine":
            # Neighbours hardly slow a worker down that mostly waits: it is let in as soon as it wakes.
            return replace(case, neighbours=dice.choice((1, 2)), options={"--on-cpu": ""})
        case _:
            return case


def _slow_ms(case: Case, dice: random.Random) -> float:
    """What reading a batch takes: longer than a step, as workers of a loader read during one."""
    return 1e3 * STEPS_S[case.script] * dice.uniform(2, 4)


_TIMES_SLOWER = {
    "slow upload": 3,
    "slow download": 3,
    "thin uplink": 4,
    "CPU quota": 4,
    "slow loader": 3,
    "slow loaders": 3,
    "heavy layer": 3,
    "evaluation": 2,
    "starved machine": 6,
}


def _steps(case: Case) -> int:
    """As many as take about `RUN_S`; the more where a host stands still for a part of it."""
    step_s = STEPS_S[case.script] * _TIMES_SLOWER.get(case.kind, 1)
    return round(min(max(RUN_S / step_s, LEAST_STEPS), MOST_STEPS))
