"""The training loop of one rank: the same lines run on every rank, and rank 0 keeps the record.

A step is in `step`, the ranks' rendezvous in `launch`, and the record in `journal`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import NamedTuple

from firetree.data import epoch_steps
from firetree.errors import Interrupted, UserError
from firetree.launch import RankInfo, joined
from firetree.metrics import Evaluation, best_of
from firetree.observing.layers import BucketLayers
from firetree.output import listed, tell
from firetree.peers import at, current, gather_json, together
from firetree.peers.reach import own_network
from firetree.planning.outlook import Outlook
from firetree.tasks import Task, TaskBatch
from firetree.training.alike import load_alike
from firetree.training.between import Between
from firetree.training.drift import CHECK_STEPS, check_weights
from firetree.training.evaluation import evaluate
from firetree.training.finite import NotFiniteError
from firetree.training.journal import Journal
from firetree.training.learning_rate import learning_rate
from firetree.training.planning import IfSlower, News, PlanOrAuto
from firetree.training.progress import Watcher
from firetree.training.recipe import Recipe
from firetree.training.run_folder import RunFolder
from firetree.training.step import settle, train_step
from firetree.training.stopping import Stopping
from firetree.training.worker import Worker, build_worker, resume_worker

MOST_LEFT_OUT = 10
"""Steps in a row that may be left out because of NaN or infinite gradients."""


def train(
    recipe: Recipe,
    rank_info: RankInfo,
    run_dir: Path,
    watcher: Watcher,
    resume: bool = False,
    plan: PlanOrAuto = None,
    grace_s: float = 10.0,
    if_slower: IfSlower = "fewer",
) -> None:
    """Train one rank of a job to the end of its recipe, along a plan where one is given.

    Call it in the main thread. `watcher` hears of the run on rank 0; `grace_s` is how long a signal may
    wait for one more checkpoint. `if_slower` is for a plan that the run makes itself: where fewer
    ranks, rank 0 among them, are faster, these train, and the others return.

    Raises:
        UserError: the recipe, the data, the folder or the port cannot be used; or fewer ranks are faster,
            and `if_slower` is "stop".
        RunFailedError: the run began and could not go on.
        Interrupted: a signal came to some rank; there is a checkpoint.
    """
    with joined(rank_info, recipe.sync.timeout_s):
        task = load_alike(recipe, rank_info.world_size, plan, find_lr=False)
        part = _train(recipe, rank_info, task, run_dir, watcher, resume, plan, grace_s, if_slower)
    if part is None:
        return
    if part.rank_info is None:
        tell(f"rank {rank_info.rank} ends here: {part.why}")
        return
    with joined(part.rank_info, recipe.sync.timeout_s):
        _train(
            *(recipe, part.rank_info, task, run_dir, watcher, resume, plan, grace_s),
            "warn",
            why=part.why,
        )


class _Part(NamedTuple):
    """This rank's place among fewer ranks, which are faster, or None where it has none; and why."""

    rank_info: RankInfo | None
    why: str


def _train(
    recipe: Recipe,
    rank_info: RankInfo,
    task: Task,
    run_dir: Path,
    watcher: Watcher,
    resume: bool,
    plan: PlanOrAuto,
    grace_s: float,
    if_slower: IfSlower,
    why: str = "",
) -> _Part | None:
    """Train, or tell this rank's part where that is for fewer ranks; `why` says that these are fewer."""
    course = _Course(recipe, epoch_steps(task.examples, recipe.optim.batch_size))
    with ExitStack() as stack:
        folder = together(
            lambda: RunFolder(run_dir, recipe, resume) if rank_info.rank == 0 else None
        )
        if folder:
            stack.enter_context(closing(folder))
        earlier = together(lambda: folder.earlier_arithmetic() if folder else None)
        worker = build_worker(recipe, rank_info, task, plan, earlier)
        outlook = worker.planner.outlook if worker.planner else None
        if outlook and outlook.is_slower and if_slower == "stop":
            raise UserError(f"nothing is trained, as if_slower is stop: {outlook}")
        if outlook and outlook.faster and if_slower == "fewer":
            return _part(rank_info, outlook)
        layers = settle(worker)
        journal = Journal(folder, recipe, worker, course.total_steps, watcher)
        newest, evaluated = journal.begin(resume)
        step = newest.state.step if newest else 0
        if newest:
            resume_worker(worker, newest, journal.say)
            journal.say(f"resumed at step {step} of {course.total_steps}")
        if why:
            journal.add_news(News(why, (("planned", why),), None))
        stopping = stack.enter_context(Stopping(current(), recipe.sync.local_steps, grace_s))
        batches = stack.enter_context(closing(worker.loader.batches(step)))
        with journal.noting_failure():
            _follow(course, worker, journal, stopping, batches, step, evaluated, layers)
        journal.end()
    return None


def _part(rank_info: RankInfo, outlook: Outlook) -> _Part:
    """All ranks call it together."""
    ranks, hosts = outlook.faster, gather_json(own_network())
    many = f"ranks {listed([*map(str, ranks)])} train" if len(ranks) > 1 else "rank 0 trains alone"
    why = f"{many}; {outlook}"
    return _Part(rank_info.among(ranks, hosts) if rank_info.rank in ranks else None, why)


@dataclass(frozen=True, slots=True)
class _Course:
    """What a recipe asks for after `step` steps."""

    recipe: Recipe
    epoch_steps: int

    @property
    def total_steps(self) -> int:
        optim = self.recipe.optim
        return optim.steps or optim.epochs * self.epoch_steps

    def is_over(self, step: int, evaluated: Sequence[Evaluation]) -> bool:
        """Whether that is the end, after these evaluations."""
        return step >= self.total_steps or bool(self.ends_early(evaluated))

    def ends_early(self, evaluated: Sequence[Evaluation]) -> str:
        """Why a run may end before its last step; empty where it may not."""
        target, patience = self.recipe.optim.target_accuracy, self.recipe.optim.patience
        if not evaluated:
            return ""
        if target is not None:
            accuracy = evaluated[-1].accuracy
            if accuracy is None:
                raise UserError(
                    f"optim.target_accuracy = {target}, and this task has no accuracy; expected optim.patience"
                )
            if accuracy >= target:
                return f"the accuracy of {accuracy:.2%} reaches the target of {target:.2%}"
        best = best_of(evaluated) or evaluated[0]
        if patience is not None and len(evaluated) - 1 - evaluated.index(best) >= patience:
            return f"no evaluation of the last {patience} was better than {best.scored}"
        return ""

    def is_evaluated(self, step: int) -> bool:
        every = self.epoch_steps * self.recipe.evaluate_epochs
        return step == self.total_steps or step % every == 0

    def is_looked_at(self, step: int) -> bool:
        """Whether the weights are evaluated or kept, so that ranks must share them."""
        return self.is_evaluated(step) or step % self.recipe.checkpoint_steps == 0

    def is_compared(self, step: int) -> bool:
        """Whether to compare the ranks' weights, which with local steps are the same after an average."""
        sync = self.recipe.sync
        regular = step % CHECK_STEPS == 0 and step % sync.local_steps == 0
        return (regular and not sync.streams) or self.is_looked_at(step)


def _follow(
    course: _Course,
    worker: Worker,
    journal: Journal,
    stopping: Stopping,
    batches: Iterator[TaskBatch],
    step: int,
    evaluated: list[Evaluation],
    layers: BucketLayers,
) -> None:
    """Make the steps after `step`, until the course is over or a signal comes."""
    recipe = course.recipe
    left_out, saved, between = 0, step, Between()
    while not course.is_over(step, evaluated):
        if (number := stopping.requested_signal(step)) is not None:
            if step != saved:
                journal.add_checkpoint(step, stopped=True)
            name = Signals(number).name
            raise Interrupted(number, f"{name}: ended with a checkpoint of step {step}")
        rate = learning_rate(recipe.optim, step, course.total_steps, course.epoch_steps)
        at(f"step {step + 1}")
        looked_at = course.is_looked_at(step + 1)
        try:
            trace, loss_sum = train_step(worker, batches, step, rate, looked_at, between, layers)
        except NotFiniteError as error:
            left_out += 1
            if recipe.on_nan == "stop" or left_out == MOST_LEFT_OUT:
                raise
            worker.forget_step()
            journal.say(f"{error}; the step is left out")
        else:
            left_out = 0
            journal.add(trace, loss_sum)
            if worker.planner and (news := worker.planner.look(trace)):
                worker.synchroniser.follow(worker.planner.plan)
                journal.add_news(news)
            if worker.balancer and (told := worker.balancer.look(trace)):
                journal.add_shares(told)
        step, is_best = step + 1, False
        if looked_at:
            with between.doing("evaluation"):
                worker.share()
        if course.is_compared(step) and (differed := check_weights(worker.model, step)):
            journal.say(differed)
        if course.is_evaluated(step):
            with between.doing("evaluation"):
                epoch, outcomes = -(-step // course.epoch_steps), worker.outcomes()
                found = evaluate(worker, outcomes)
                evaluated.append(found)
                journal.add_evaluation(step, epoch, rate, found, outcomes)
            is_best = recipe.keep_best and best_of(evaluated) is found
        if is_best or course.is_over(step, evaluated) or step % recipe.checkpoint_steps == 0:
            with between.doing("saving"):
                journal.add_checkpoint(step)
            saved = step
    if step < course.total_steps:
        journal.say(f"ended early: {course.ends_early(evaluated)}")
