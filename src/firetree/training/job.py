"""A run as data, as the process that starts its workers tells it to them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from firetree import own_code
from firetree.documents import from_document
from firetree.launch import RankInfo, Tell, keep_freed_memory
from firetree.planning.plan import Plan
from firetree.training.loop import train
from firetree.training.planning import AUTO, IfSlower
from firetree.training.progress import Relay, Watcher
from firetree.training.range_test import RangeTest, find_rate
from firetree.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers of a run do.

    `plan` is a plan's JSON, or `auto`; with `find_lr` they look for a learning rate instead of training.
    """

    recipe: Recipe
    run_dir: str
    resume: bool = False
    plan: str | None = None
    grace_s: float = 10.0
    find_lr: bool = False
    if_slower: IfSlower = "fewer"
    live: str = ""
    """Live objects, as `own_code.pack` gives them."""


def work(job: Job, rank_info: RankInfo, watcher: Watcher) -> RangeTest | None:
    """Do this worker's part of a job; rank 0 gets the learning rates that were looked for."""
    keep_freed_memory()
    run_dir = Path(job.run_dir)
    if job.live:
        own_code.unpack(job.live)
    if job.find_lr:
        return find_rate(job.recipe, rank_info, run_dir)
    plan = job.plan if job.plan in (None, AUTO) else Plan.from_json(job.plan)
    train(
        *(job.recipe, rank_info, run_dir, watcher),
        resume=job.resume,
        plan=plan,
        grace_s=job.grace_s,
        if_slower=job.if_slower,
    )
    return None


def work_as_told(rank_info: RankInfo, tell: Tell, **job: Any) -> dict[str, Any] | None:
    """`work`, in the form of what `launch.call` calls."""
    found = work(from_document(Job, job, "job"), rank_info, Relay(tell))
    return asdict(found) if found else None
