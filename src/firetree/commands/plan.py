"""`firetree plan`: predict the speed-up of more machines, say which to use, and plan how to synchronise them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

import firetree
from firetree import output
from firetree.commands.arguments import parse
from firetree.commands.text.plan import as_text
from firetree.commands.workloads import WorkloadOptions
from firetree.durable import check_writable, write_durably
from firetree.network import to_json
from firetree.planning.forecast import Forecast


@dataclass(frozen=True)
class PlanOptions(WorkloadOptions):
    """Predict the speed-up of 1, 2 … machines for a model on a network, which to use, and what to change.

    Each machine keeps its batch. The speed-up compares samples a second with one machine's.
    """

    network: str = "8 x 1gbit"
    """A network's JSON file, as `firetree probe` writes it, or a text such as '8 x 1gbit', or '4 x 10gbit
    | 4 x 10gbit / 1gbit' for two racks."""
    max_loss: float | None = None
    """Tell only changes that cost at most so many points of accuracy where they were measured, as 0.5."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the plan for the machines to use to this file, for `firetree train --plan`."""
    json: bool = False
    """Print JSON."""


def run(arguments: list[str]) -> None:
    """Run `firetree plan` with these arguments."""
    options = parse(PlanOptions, "firetree plan", arguments)
    check_writable(options.output)
    found = firetree.plan(
        options.model,
        options.network,
        batch=options.batch,
        size=options.size,
        compute_s=options.compute_s,
        max_loss=options.max_loss,
        progress=output.tell_start,
    )
    if options.output:
        write_durably(options.output, found.plan.to_json().encode())
    output.show(_as_json(found) if options.json else as_text(found))


def _as_json(found: Forecast) -> str:
    """`{"model", "network", "points", "hosts", "changes", "advice", "plan"}`."""
    return json.dumps(
        {
            "model": found.workload.model,
            "network": json.loads(to_json(found.network)),
            "points": [asdict(point) for point in found.points],
            "hosts": found.hosts,
            "changes": [asdict(change) for change in found.changes],
            "advice": found.advice,
            "plan": json.loads(found.plan.to_json()),
        },
        indent=1,
    )
