"""A run as the process that starts its workers tells it to them: data, in a file."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from firetree.documents import parse_json, read_text
from firetree.planning.plan import Plan
from firetree.training.planning import AUTO, PlanOrAuto
from firetree.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers of a run do.

    `plan` is a plan's JSON, or `auto`; with `find_lr` they look for a learning rate instead of training;
    `command` is the command line of the process that wanted the run.
    """

    recipe: Recipe
    run_dir: str
    resume: bool = False
    plan: str | None = None
    grace_s: float = 10.0
    find_lr: bool = False
    command: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))

    def asked_plan(self) -> PlanOrAuto:
        """The plan as a value."""
        if self.plan is None or self.plan == AUTO:
            return self.plan
        return Plan.from_json(self.plan)


def write_job(path: Path, job: Job) -> None:
    """Write what `read_job` reads."""
    path.write_text(json.dumps(asdict(job), indent=1), encoding="utf-8")


def read_job(path: Path) -> Job:
    """Read a job's file (UserError where it is none)."""
    return parse_json(Job, read_text(path, "job"), str(path))
