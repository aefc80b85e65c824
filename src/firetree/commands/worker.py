"""One worker of a run, as the process that started it tells it; `firetree train` itself may be one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from firetree import launch, training
from firetree.commands.display import Display
from firetree.durable import write_durably
from firetree.errors import UserError
from firetree.training.job import Job, read_job
from firetree.training.progress import Relay, Watcher


def run(arguments: list[str]) -> None:
    """Train as the job in a file says."""
    launch.follow_launcher()
    if len(arguments) != 1:
        raise UserError("expected the file of a job, which firetree train writes for its workers")
    job = read_job(Path(arguments[0]))
    sys.argv = [*job.command]  # what environment.json tells
    rank_info = launch.find_rank_info(os.environ) or launch.ALONE
    if launch.started_here():
        work(job, rank_info, Relay(sys.stdout))
    else:
        with Display() as display:
            work(job, rank_info, display)


def work(job: Job, rank_info: launch.RankInfo, watcher: Watcher) -> None:
    """Do this worker's part of a job."""
    launch.keep_freed_memory()
    run_dir = Path(job.run_dir)
    if not job.find_lr:
        training.train(
            *(job.recipe, rank_info, run_dir, watcher),
            resume=job.resume,
            plan=job.asked_plan(),
            grace_s=job.grace_s,
        )
    elif found := training.find_rate(job.recipe, rank_info, run_dir):
        from firetree.commands import pages
        from firetree.commands.pages import range_test

        path = run_dir / "find-lr.html"
        page = pages.page("find-lr", [range_test.fragment(found)], scripts=True)
        write_durably(path, page.encode())
        watcher.say(
            f"the loss falls fastest at a rate of {found.steepest:.2g} and is least at "
            f"{found.least:.2g}; plot: {path}"
        )
