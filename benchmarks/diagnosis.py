"""Is the verdict right? Causes injected into plain DDP scripts in the lab, and healthy runs.

Scripts of `diagnosis/` run unchanged by `firetree run --sync observe` on three or four hosts. What is right:

| injected | verdict's kind | its culprit |
|---|---|---|
| slow upload: one host sends at 30 to 80 Mbit/s | slow_upload | that rank |
| slow download: one host receives at 30 to 80 Mbit/s | slow_download | that rank |
| thin uplink: two racks are joined by 30 to 80 Mbit/s | thin_uplink | the ranks of one of the racks |
| CPU quota: one host has 4 to 8 % of a core | starved or slow_host | that rank |
| slow loader: reading a batch takes 2 to 4 healthy steps on one rank | data | that rank |
| slow loaders: it does so on all | data | all ranks |
| paused host: SIGSTOP for 1.5 to 3 s, once or twice | paused | that rank |
| heavy layer: one layer takes 8 to 16 times as long | heavy_layer | that layer |
| evaluation: after every step, or every second | evaluation | all ranks |
| starved machine: 1 or 2 busy neighbours on each host, of workers whose layers run on the CPU | starved | all ranks |
| healthy: none of these | compute | not judged |

Half of the scripts and of the networks were kept out of tuning until the first whole draw (seed 0), after which
what either half got wrong was mended. What each run came to stands in
`diagnosis.csv`; it goes on where it was left.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import points
from diagnosis_cases import EXPECTED, Case, draw
from diagnosis_runs import CaseError, verdict_of
from firetree.errors import UserError
from results import tell, write_section

RESULTS = Path(__file__).with_name("diagnosis.csv")
TITLE = "What holds a script back, and who"
CAUSED, HEALTHY = 120, 30


@dataclass(frozen=True)
class Row:
    """What a run came to, as it stands in the file."""

    seed: int
    number: int
    injected: str
    half: str
    script: str
    hosts: int
    expected: str
    said: str
    culprit: str
    kind_right: int
    right: int
    seconds: float
    sentence: str


def judge(case: Case) -> Row:
    """Run a case; a run without a verdict is wrong, and says why."""
    start_s = time.monotonic()
    said, culprit, right, kind_right = "none", "", False, False
    try:
        verdict = verdict_of(case)
        said, sentence = verdict.kind, verdict.sentence
        culprit = verdict.culprit.layer or ",".join(map(str, verdict.culprit.ranks)) or "all"
        kind_right, right = case.is_kind_right(verdict), case.is_right(verdict)
    except (CaseError, UserError) as error:
        sentence = str(error)
    return Row(
        case.seed,
        case.number,
        case.kind,
        "held out" if case.is_held_out else "tuned",
        case.script,
        case.network.size,
        case.expected,
        said,
        culprit,
        int(kind_right),
        int(right),
        round(time.monotonic() - start_s, 1),
        sentence,
    )


def confusion(rows: Sequence[Row]) -> list[list[str]]:
    """A row for each injected kind: how many runs of it had which verdict, and how many were right."""
    kinds = [*dict.fromkeys(kind for expected in EXPECTED.values() for kind in expected)]
    kinds += sorted({row.said for row in rows} - {*kinds})
    table = [["injected", *kinds, "runs", "kind right", "and culprit"]]
    for injected in EXPECTED:
        of_kind = [row for row in rows if row.injected == injected]
        if of_kind:
            said = Counter(row.said for row in of_kind)
            counts = [
                len(of_kind),
                sum(r.kind_right for r in of_kind),
                sum(r.right for r in of_kind),
            ]
            cells = [str(said[kind] or "") for kind in kinds]
            table.append([injected, *cells, *map(str, counts)])
    return table


def summary(rows: Sequence[Row]) -> str:
    """How many are right, of those tuned on and of those kept out."""

    def of(chosen: Sequence[Row]) -> str:
        caused = [row for row in chosen if row.injected != "healthy"]
        healthy = [row for row in chosen if row.injected == "healthy"]
        return (
            f"{sum(row.kind_right for row in caused)} kinds and {sum(row.right for row in caused)} kinds "
            f"with culprits right of {len(caused)}, {sum(not row.right for row in healthy)} false alarms "
            f"in {len(healthy)} healthy runs"
        )

    halves = [
        f"{half}: {of([r for r in rows if r.half == half])}" for half in ("tuned", "held out")
    ]
    return ". ".join([f"All: {of(rows)}", *halves]) + "."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=EXPECTED, help="repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, help="runs of each kind, of the first ones")
    parser.add_argument("--again", action="store_true", help="also what is in the file already")
    options = parser.parse_args()
    cases = [draw(number, options.seed, CAUSED) for number in range(CAUSED + HEALTHY)]
    known = (
        {}
        if options.again
        else {r.number: r for r in points.read(RESULTS, Row) if r.seed == options.seed}
    )
    rows = []
    for kind in options.only or EXPECTED:
        for case in [case for case in cases if case.kind == kind][: options.count]:
            row = known.get(case.number)
            if row is None:
                tell(f"{case.number}: {case.kind}, {case.script}, {case.network.size} hosts")
                row = judge(case)
                points.add(RESULTS, [row])
            print(
                f"{'right' if row.right else 'WRONG'}: {row.injected}, expected {row.expected}; {row.sentence}",
                flush=True,
            )
            rows.append(row)
    table = confusion(rows)
    print(*("\t".join(line) for line in table), summary(rows), sep="\n")
    if len(rows) == CAUSED + HEALTHY:
        text = f"{summary(rows)} Rows are what was injected, columns what the verdict said."
        write_section(TITLE, f"python benchmarks/diagnosis.py --seed {options.seed}", text, table)


if __name__ == "__main__":
    main()
