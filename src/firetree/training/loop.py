"""The training loop of one rank: the same lines run on every rank, and rank 0 keeps the record.

A step is in `step`, the ranks' rendezvous in `launch`, and the record in `journal`.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from signal import Signals

from firetree.data import epoch_steps
from firetree.errors import Interrupted
from firetree.launch import RankInfo, joined
from firetree.peers import at, current, together
from firetree.tasks import Task
from firetree.training.alike import load_alike
from firetree.training.drift import CHECK_STEPS, check_weights
from firetree.training.finite import NotFiniteError
from firetree.training.journal import Journal
from firetree.training.learning_rate import learning_rate
from firetree.training.planning import PlanOrAuto
from firetree.training.progress import Watcher
from firetree.training.recipe import Recipe
from firetree.training.run_folder import RunFolder
from firetree.training.step import evaluate, settle, train_step
from firetree.training.stopping import Stopping
from firetree.training.worker import build_worker, resume_worker

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
) -> None:
    """Train one rank of a job to the end of its recipe, along a plan where one is given.

    Call it in the main thread. `watcher` hears of the run on rank 0; `grace_s` is how long a signal may
    wait for one more checkpoint.

    Raises:
        UserError: the recipe, the data, the folder or the port cannot be used.
        RunFailedError: the run began and could not go on.
        Interrupted: a signal came to some rank; there is a checkpoint.
    """
    with joined(rank_info, recipe.sync.timeout_s):
        task = load_alike(recipe, rank_info.world_size, plan, find_lr=False)
        _train(recipe, rank_info, task, run_dir, watcher, resume, plan, grace_s)


def _train(
    recipe: Recipe,
    rank_info: RankInfo,
    task: Task,
    run_dir: Path,
    watcher: Watcher,
    resume: bool,
    plan: PlanOrAuto,
    grace_s: float,
) -> None:
    optim = recipe.optim
    with ExitStack() as stack:
        folder = together(
            lambda: RunFolder(run_dir, recipe, resume) if rank_info.rank == 0 else None
        )
        if folder:
            stack.enter_context(closing(folder))
        earlier = together(lambda: folder.earlier_arithmetic() if folder else None)
        worker = build_worker(recipe, rank_info, task, plan, earlier)
        settle(worker)
        steps_an_epoch = epoch_steps(task.examples, optim.batch_size)
        total_steps = optim.steps or optim.epochs * steps_an_epoch
        journal = Journal(folder, recipe, worker, total_steps, watcher)
        newest, accuracy = journal.begin(resume)
        step = newest.state.step if newest else 0
        if newest:
            resume_worker(worker, newest, journal.say)
            journal.say(f"resumed at step {step} of {total_steps}")
        stopping = stack.enter_context(Stopping(current(), recipe.sync.local_steps, grace_s))
        batches = stack.enter_context(closing(worker.loader.batches(step)))

        left_out, saved = 0, step
        while step < total_steps and not _good_enough(recipe, accuracy):
            if (number := stopping.asked(step)) is not None:
                if step != saved:
                    journal.add_checkpoint(step, stopped=True)
                raise Interrupted(
                    number, f"{Signals(number).name}: ended with a checkpoint of step {step}"
                )
            rate = learning_rate(optim, step, total_steps, steps_an_epoch)
            at(f"step {step + 1}")
            looked_at = _is_recorded(recipe, step + 1, total_steps, steps_an_epoch)
            try:
                trace, loss_sum = train_step(worker, batches, step, rate, looked_at)
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
                    journal.say(news)
            step += 1
            if looked_at:
                worker.share()
            if looked_at or _is_compared(recipe, step):
                differed = check_weights(worker.model, step)
                if differed:
                    journal.say(differed)
            if _is_evaluated(recipe, step, total_steps, steps_an_epoch):
                evaluation = evaluate(worker)
                accuracy = evaluation.accuracy
                epoch = -(-step // steps_an_epoch)
                journal.add_evaluation(step, epoch, rate, evaluation)
            over = step == total_steps or _good_enough(recipe, accuracy)
            if over or step % recipe.checkpoint_steps == 0:
                journal.add_checkpoint(step)
                saved = step
    journal.end()


def _is_evaluated(recipe: Recipe, step: int, total_steps: int, steps_an_epoch: int) -> bool:
    return step == total_steps or step % (steps_an_epoch * recipe.evaluate_epochs) == 0


def _is_recorded(recipe: Recipe, step: int, total_steps: int, steps_an_epoch: int) -> bool:
    """Whether the weights are evaluated or kept after so many steps, so that ranks must share them."""
    evaluated = _is_evaluated(recipe, step, total_steps, steps_an_epoch)
    return evaluated or step % recipe.checkpoint_steps == 0


def _is_compared(recipe: Recipe, step: int) -> bool:
    """Whether to compare the ranks' weights, which with local steps are the same after an average."""
    return step % CHECK_STEPS == 0 and step % recipe.sync.local_steps == 0


def _good_enough(recipe: Recipe, accuracy: float | None) -> bool:
    target = recipe.optim.target_accuracy
    return target is not None and accuracy is not None and accuracy >= target
