"""What can happen in `faults.py`, drawn at random, and what can go wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from firetree import collectives

COMPRESSIONS = ("fp16", "int8", "topk:0.1", "powersgd:2")
WAYS = (
    *((name, "none") for name in collectives.names()),
    *(("gloo", "none"),) * 3,
    *(("binomial_tree", compression) for compression in COMPRESSIONS),
    ("plan", "none"),
)
MISMATCHES = ("--optim.lr=0.01", "--optim.weight-decay=0.2", "--seed=3", "--optim.batch-size=32")

IN_SCRIPTS = ("killed", "stopped", "slow")
IN_RUNS = (*IN_SCRIPTS, "full disk", "read error", "mismatch", "SIGTERM")
FAULTS = (*IN_RUNS, "cut off")


@dataclass(frozen=True)
class Trial:
    """One fault: what meets which rank of how many, in what job, how long after it began."""

    fault: str
    job: str
    lab: bool
    way: tuple[str, str]
    ranks: int
    victim: int
    after_s: float
    mismatch: str


@dataclass
class Outcome:
    """What went wrong in a trial; `unnamed` are ranks that did not name the one that failed."""

    hang: bool = False
    wrong: bool = False
    lost: bool = False
    unnamed: list[str] = field(default_factory=list)

    def faults(self) -> str:
        found = [name for name in ("hang", "wrong", "lost") if getattr(self, name)]
        return "; ".join([*found, *(f"not named: {said}" for said in self.unnamed)])


def draw(dice: random.Random) -> Trial:
    lab, job = dice.random() < 0.6, dice.choice(("attach", "attach", "train"))
    faults = IN_SCRIPTS if job == "attach" else IN_RUNS
    ranks = dice.randint(2, 4)
    return Trial(
        fault=dice.choice((*faults, "cut off", "cut off") if lab else faults),
        job=job,
        lab=lab,
        way=dice.choice([way for way in WAYS if job == "attach" or way[0] != "plan"]),
        ranks=ranks,
        victim=dice.randrange(ranks),
        after_s=dice.uniform(0.0, 1.0),
        mismatch=dice.choice(MISMATCHES),
    )
