"""The training loop of one rank: the same lines run on every rank, and rank 0 keeps the record.

What a step does is in `worker`, where the ranks meet in `place`, what is written in `journal`.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from firetree.data import epoch_steps
from firetree.errors import UserError
from firetree.launch import Place, joined
from firetree.peers import at
from firetree.tasks import Task
from firetree.train import statistics
from firetree.train.finite import NotFiniteError
from firetree.train.journal import Journal
from firetree.train.learning_rate import learning_rate
from firetree.train.recipe import Recipe
from firetree.train.run_folder import RunFolder
from firetree.train.worker import (
    build_worker,
    evaluate,
    load_task,
    settle,
    share_statistics,
    train_step,
)

MOST_LEFT_OUT = 10
"""Steps in a row that may be left out because a number is not finite."""


def train(
    recipe: Recipe, place: Place, run_dir: Path, resume: bool, plan: str | None = None
) -> None:
    """Train one rank of a job to the end of its recipe, along a plan where one is given.

    Raises:
        UserError: the recipe, the data, the folder or the port cannot be used.
        RunFailedError: the run began and could not go on.
    """
    check_world_size(recipe, place.world_size)
    task = load_task(recipe)
    with joined(place, recipe.sync.timeout_s):
        _train(recipe, place, task, run_dir, resume, plan)


def _train(
    recipe: Recipe, place: Place, task: Task, run_dir: Path, resume: bool, plan: str | None
) -> None:
    optim = recipe.optim
    with ExitStack() as stack:
        folder, earlier = None, None
        if place.rank == 0:
            folder = stack.enter_context(closing(RunFolder(run_dir, recipe, resume)))
            earlier = folder.earlier_arithmetic()
        worker = build_worker(recipe, place, task, plan, earlier)
        settle(worker)
        steps_an_epoch = epoch_steps(task.examples, optim.batch_size)
        total_steps = optim.steps or optim.epochs * steps_an_epoch
        journal = Journal(folder, recipe, worker, total_steps)
        step, accuracy = journal.begin(resume)
        stack.enter_context(journal.shown())
        batches = stack.enter_context(closing(worker.loader.batches(step)))

        left_out = 0
        while step < total_steps and not _good_enough(recipe, accuracy):
            rate = learning_rate(optim, step, total_steps, steps_an_epoch)
            at(f"step {step + 1}")
            average = _is_recorded(recipe, step + 1, total_steps, steps_an_epoch)
            try:
                trace, loss_sum = train_step(worker, batches, step, rate, average)
            except NotFiniteError as error:
                left_out += 1
                if recipe.on_nan == "stop" or left_out == MOST_LEFT_OUT:
                    raise
                statistics.forget_spoiled(worker.model)
                if average:
                    share_statistics(worker)
                journal.say(f"{error}; the step is left out")
            else:
                left_out = 0
                journal.add(trace, loss_sum)
                if worker.planner and (news := worker.planner.look(trace)):
                    worker.synchroniser.follow(worker.planner.plan)
                    journal.say(news)
            step += 1
            if _is_evaluated(recipe, step, total_steps, steps_an_epoch):
                evaluation = evaluate(worker)
                accuracy = evaluation.accuracy
                epoch = -(-step // steps_an_epoch)
                journal.add_evaluation(step, epoch, rate, evaluation)
            over = step == total_steps or _good_enough(recipe, accuracy)
            if over or step % recipe.checkpoint_steps == 0:
                journal.add_checkpoint(step)


def _is_evaluated(recipe: Recipe, step: int, total_steps: int, steps_an_epoch: int) -> bool:
    return step == total_steps or step % (steps_an_epoch * recipe.evaluate_epochs) == 0


def _is_recorded(recipe: Recipe, step: int, total_steps: int, steps_an_epoch: int) -> bool:
    """Whether someone looks at the weights after so many steps, so that all ranks must share them."""
    evaluated = _is_evaluated(recipe, step, total_steps, steps_an_epoch)
    return evaluated or step % recipe.checkpoint_steps == 0


def check_world_size(recipe: Recipe, world_size: int) -> None:
    """Raise UserError where some worker would never have a sample."""
    if world_size > recipe.optim.batch_size:
        raise UserError(
            f"{world_size} workers cannot share batches of {recipe.optim.batch_size}; "
            "use fewer workers or a larger optim.batch_size"
        )


def _good_enough(recipe: Recipe, accuracy: float | None) -> bool:
    target = recipe.optim.target_accuracy
    return target is not None and accuracy is not None and accuracy >= target
