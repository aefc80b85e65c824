"""The record of a run: every rank adds its measurements, rank 0 writes and shows them.

Only rank 0 has a folder, so hosts need not share a disk. The other ranks send it their traces whenever
something is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from textwrap import shorten
from typing import Any

from safetensors.torch import save

from firetree.documents import from_document
from firetree.errors import CollectiveError, Interrupted, UserError
from firetree.metrics import Evaluation, Metrics
from firetree.observing.layers import largest_layers
from firetree.peers import (
    Member,
    broadcast_json,
    broadcast_tensors,
    current,
    gather_json,
    hand_over,
    is_backend_error,
    offset_to_rank_0_s,
    together,
)
from firetree.peers.reach import host_name
from firetree.sync import gradient_bytes
from firetree.tasks import Outcomes, Task
from firetree.trace import Event, EventKind, StepTrace, TraceHeader, shift
from firetree.training import checkpoint
from firetree.training.checkpoint import Checkpoint
from firetree.training.planning import News, Planner
from firetree.training.progress import Watcher
from firetree.training.recipe import Recipe
from firetree.training.run_folder import RunFolder
from firetree.training.worker import Worker

_SHOWN = 80
"""Characters of a description that an error shows."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One rank's measurements since it last sent them to rank 0, and its damaged images."""

    steps: tuple[StepTrace, ...]
    loss_sum: float
    damaged: dict[str, str]


class Journal:
    """The record of one run; all methods but `add` are called by all ranks together."""

    def __init__(
        self,
        folder: RunFolder | None,
        recipe: Recipe,
        worker: Worker,
        total_steps: int,
        watcher: Watcher,
    ):
        self._folder = folder
        self._recipe = recipe
        self._worker = worker
        self._total_steps = total_steps
        self._watcher = watcher if folder else None
        self._clock_offset_s = offset_to_rank_0_s()
        self._steps: list[StepTrace] = []
        self._loss_sum = 0.0
        self._since_evaluation = _Progress()
        self._damaged: set[str] = set()
        self._step = 0
        if folder and (roll := current()):
            roll.say = self._tell_of_waiting

    def begin(self, resume: bool) -> tuple[Checkpoint | None, list[Evaluation]]:
        """Open the record: the newest whole checkpoint, if there is one, and each evaluation up to it.

        Only rank 0's has the files with the ranks' own tensors.

        Raises:
            UserError: on all ranks alike, the folder or a checkpoint in it cannot be gone on with.
        """
        newest, mine = together(partial(self._begin, _members()))
        state = broadcast_json(asdict(newest.state) if newest else None)
        evaluated: list[Evaluation] = [
            from_document(Metrics, it, "an evaluation")
            for it in broadcast_json([*map(asdict, mine)])
        ]
        if state is None:
            if resume:
                self.say("no checkpoint to resume from; starting from the beginning")
            return None, []
        model, optimizer = (
            broadcast_tensors(tensors)
            for tensors in ((newest.model, newest.optimizer) if newest else ({}, {}))
        )
        parts = newest.parts if newest else ()
        return Checkpoint(checkpoint.TrainingState(**state), model, optimizer, parts), evaluated

    def _begin(self, hosts: Sequence[Member]) -> tuple[Checkpoint | None, list[Metrics]]:
        """On rank 0, the newest checkpoint and each evaluation so far; from here on the folder is written to."""
        if self._folder is None:
            return None, []
        newest, passed_over = self._folder.newest_checkpoint()
        if newest:
            self._check_data(newest.state)
        first_step = newest.state.step if newest else 0
        headers = self._headers(hosts)
        evaluated = self._folder.begin(headers, first_step, self._worker.arithmetic)
        self._step = first_step
        self._folder.add_account(self._worker.task.account)
        self.say(f"run folder: {self._folder.path}")
        for damage in passed_over:
            self.say(f"{damage}; going back to step {first_step}")
        for remark in (*self._worker.remarks, *self._folder.remarks):
            self.say(remark)
        names = ", ".join(dict.fromkeys(header.host for header in headers))
        many = f"{len(headers)} rank{'s' * (len(headers) > 1)}"
        self.note("started", f"{many} on {names}, from step {first_step} on")
        if self._worker.planner:
            self._tell_of_plan(self._folder, self._worker.planner)
        return newest, evaluated

    def _headers(self, hosts: Sequence[Member]) -> list[TraceHeader]:
        synchroniser = self._worker.synchroniser
        size_bytes = gradient_bytes(self._worker.model)
        header = TraceHeader(
            rank=0,
            world_size=self._worker.world_size,
            algorithm=synchroniser.algorithm,
            bytes_counted_by=synchroniser.bytes_counted_by,
            gradient_bytes=size_bytes,
            formula_bytes=synchroniser.formula_bytes(size_bytes),
            layers=largest_layers(self._worker.model),
        )
        return [replace(header, rank=it.rank, host=it.host, address=it.address) for it in hosts]

    def _tell_of_plan(self, folder: RunFolder, planner: Planner) -> None:
        folder.add_network(planner.probe)
        self.note("probed", planner.probe.summary)
        self.note("planned", f"{planner.outlook}")
        self.say(f"{planner.outlook}")

    def add_news(self, news: News) -> None:
        """Say that sums take another time than planned, and what was done."""
        for kind, text in news.events:
            self.note(kind, text)
        self.say(news.text)
        if found := news.probe:
            self._on_rank_0(lambda folder: folder.add_network(found))

    def add_shares(self, text: str) -> None:
        """Say that ranks share batches otherwise from here on."""
        self.note("shares", text)
        self.say(f"step {self._step}: {text}")

    def _check_data(self, state: checkpoint.TrainingState) -> None:
        for name, now in _data(self._worker.task).items():
            if name in state.data and state.data[name] != now:
                before = shorten(str(state.data[name]), _SHOWN, placeholder=" …")
                raise UserError(
                    f"cannot resume: the run's data had {name} {before}, these "
                    f"{shorten(str(now), _SHOWN, placeholder=' …')}; "
                    "use the same data, or choose another folder"
                )

    def end(self) -> None:
        """Say which evaluation was the best, if not the last one, and once more where the run is."""
        self.note("ended", f"after {self._step} steps")
        if self._folder:
            if best := self._folder.earlier_best:
                self.say(best)
            self.say(f"run folder: {self._folder.path}")

    @contextmanager
    def noting_failure(self) -> Iterator[None]:
        """Note, on rank 0, why the run ends within; its own steps so far are kept, too."""
        try:
            yield
        except BaseException as error:
            if self._folder:
                kind: EventKind = "ended" if isinstance(error, Interrupted) else "failed"
                with suppress(UserError):  # the disk may be why it ends
                    self._folder.add_trace(0, self._steps)
                    self.note(kind, _reason(error))
            raise

    def note(self, kind: EventKind, text: str) -> None:
        """Write, on rank 0, what happens to the run now."""
        if self._folder:
            self._folder.add_event(Event(kind, time.monotonic(), self._step, text))

    def _tell_of_waiting(self, text: str) -> None:
        self.say(text)
        self.note("waiting", text)

    def add(self, step: StepTrace, loss_sum: float) -> None:
        """One step of this rank, on its own clock, with the sum of its losses."""
        self._steps.append(shift(step, self._clock_offset_s))
        self._step = step.step + 1
        self._loss_sum += loss_sum
        if self._watcher:
            loss = loss_sum / max(1, step.samples)
            self._watcher.step(step.step + 1, self._total_steps, loss)

    def add_evaluation(
        self,
        step: int,
        epoch: int,
        rate: float,
        evaluation: Evaluation,
        outcomes: Outcomes | None = None,
    ) -> None:
        """The result after `step` steps, which ended epoch `epoch`, counted from 1."""
        everyone = self._gather()
        confusion = outcomes.gathered(step, epoch) if outcomes else None

        def write(folder: RunFolder) -> None:
            self._write_measured(folder, everyone)
            progress, self._since_evaluation = self._since_evaluation, _Progress()
            metrics = Metrics(
                step=step,
                epoch=epoch,
                lr=rate,
                train_loss=progress.loss_sum / max(1, progress.samples),
                samples_per_s=progress.samples / progress.duration_s if progress.samples else 0.0,
                **asdict(evaluation),
            )
            folder.add_metrics(metrics)
            if outcomes and confusion:
                folder.add_confusion(outcomes.classes, confusion)
            self.say(
                f"epoch {epoch}  step {step}/{self._total_steps}"
                f"  train loss {metrics.train_loss:.3f}  {'  '.join(evaluation.parts)}"
                f"  {metrics.samples_per_s:,.0f} samples/s"
            )

        self._on_rank_0(write)

    def add_checkpoint(self, step: int, stopped: bool = False) -> None:
        """Write a checkpoint after `step` steps; it is on disk when this returns on any rank.

        All ranks go on with the mean of their own state, so any number of ranks can resume. Where the
        run is `stopped` off its schedule, each rank's own state is kept too: the same number of ranks
        then resumes as if it had never stopped.
        """
        worker, everyone = self._worker, self._gather()
        own = worker.own() if stopped else {}
        part = save({name: value.contiguous() for name, value in own.items()})
        ranks = worker.world_size if own else 0
        if stopped:
            worker.share()
        sync = worker.state()
        if ranks and worker.rank:
            hand_over(part, worker.rank, 0)

        def write(folder: RunFolder) -> None:
            parts = (hand_over(part, rank, 0) for rank in range(ranks))
            try:
                self._write_measured(folder, everyone)
                state = checkpoint.TrainingState(
                    step, asdict(self._recipe.model), _data(worker.task), ranks
                )
                captured = checkpoint.capture(
                    worker.model, worker.optimizer, state, worker.average, sync, parts
                )
                folder.add_checkpoint(captured, self._recipe.keep_checkpoints)
            finally:
                for _ in parts:  # after a failure, other ranks still wait to send theirs
                    pass

        self._on_rank_0(write)

    def _on_rank_0(self, write: Callable[[RunFolder], None]) -> None:
        """Write to the folder; where that fails, all ranks end with the reason."""
        folder = self._folder
        together(lambda: write(folder) if folder else None)

    def _gather(self) -> list[Measured]:
        """Each rank's measurements since the last time."""
        mine = Measured(tuple(self._steps), self._loss_sum, self._worker.loader.damaged)
        self._steps, self._loss_sum = [], 0.0
        return [
            from_document(Measured, document, f"what rank {rank} measured")
            for rank, document in enumerate(gather_json(asdict(mine)))
        ]

    def _write_measured(self, folder: RunFolder, everyone: list[Measured]) -> None:
        self._since_evaluation.add(everyone)
        for rank, measured in enumerate(everyone):
            folder.add_trace(rank, measured.steps)
            self._add_damaged(measured.damaged)

    def _add_damaged(self, damaged: dict[str, str]) -> None:
        for name in damaged.keys() - self._damaged:
            self._damaged.add(name)
            what = self._worker.task.account.samples.removesuffix("s")
            self.say(
                f"skipped damaged {what} {name}: {damaged[name]} ({len(self._damaged)} so far)"
            )
        self._worker.loader.note_damaged(damaged)

    def say(self, text: str) -> None:
        """Tell the watcher a line, on rank 0."""
        if self._watcher:
            self._watcher.say(text)


@dataclass(slots=True)
class _Progress:
    """Sums over all ranks; the duration is rank 0's."""

    loss_sum: float = 0.0
    samples: int = 0
    duration_s: float = 0.0

    def add(self, everyone: list[Measured]) -> None:
        self.loss_sum += sum(measured.loss_sum for measured in everyone)
        self.samples += sum(step.samples for measured in everyone for step in measured.steps)
        self.duration_s += sum(step.training_s for step in everyone[0].steps)


def _data(task: Task) -> dict[str, Any]:
    """What a resumed run must have as before."""
    return {**task.about, **task.account.fingerprint}


def _reason(error: BaseException) -> str:
    """Why a run ends; where a rank is lost, all ranks conclude which."""
    roll = current()
    if roll and (isinstance(error, CollectiveError) or is_backend_error(error)):
        error = roll.explain(error, roll.place)
    return str(error) or type(error).__name__


def _members() -> list[Member]:
    """All ranks with their hosts and addresses, by rank."""
    if roll := current():
        return [roll.members[rank] for rank in sorted(roll.members)]
    return [Member(0, host_name(), "127.0.0.1", 0)]
