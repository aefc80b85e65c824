"""A run's folder: recipe, environment, metrics, traces and checkpoints, written by rank 0 alone.

The other ranks send it their measurements, as their hosts may share no disk with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from firetree import trace
from firetree.confusion import (
    CONFUSION_VERSION,
    Confusion,
    Confusions,
    confusion_file,
    read_confusions,
)
from firetree.data import Account
from firetree.documents import parse_json
from firetree.durable import (
    append_json_lines,
    lock_folder,
    new_folder,
    sync_folder,
    write_durably,
    write_json_lines,
    write_synced,
)
from firetree.environment import describe_environment
from firetree.errors import UserError
from firetree.extras import extra
from firetree.metrics import Metrics, best_of, metrics_file, read_metrics
from firetree.own_code import source_checksum
from firetree.probing import Probe
from firetree.training import checkpoint
from firetree.training.arithmetic import Arithmetic
from firetree.training.checkpoint import Checkpoint
from firetree.training.recipe import Recipe, field_changes, own_names
from firetree.training.recipe_file import read_kept_recipe, write_kept_recipe

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunFolder:
    """An open run: locked against a second writer until this process ends.

    Args:
        path: made if it does not exist.
        recipe: what will be run.
        resume: whether the folder may hold a run already, which then must fit the recipe.

    Raises:
        UserError: the folder cannot be written, is in use, or holds a run that does not fit or is
            damaged.
    """

    def __init__(self, path: Path, recipe: Recipe, resume: bool):
        self.path = path
        self._recipe = recipe
        self.remarks: list[str] = []
        """Lines for the user about how the run goes on."""
        self._evaluated: list[Metrics] = []
        self._confusions: tuple[Confusion, ...] = ()
        """Of the newest evaluation and the best one."""
        self._board: SummaryWriter | None = None
        self._folder: int | None = None
        """A descriptor: the folder is locked while it is open."""
        with self._using(), ExitStack() as undo:
            new_folder(path)
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            undo.callback(os.close, folder)
            if remark := lock_folder(folder, path):
                self.remarks.append(remark)
            self._check_earlier_run(recipe, resume)
            undo.pop_all()
        self._folder = folder

    def _check_earlier_run(self, recipe: Recipe, resume: bool) -> None:
        earlier = self.path / "recipe.toml"
        if not earlier.exists():
            if checkpoint.step_folders(self._checkpoints):
                raise UserError(
                    f"run folder {self.path} has checkpoints and no recipe.toml; put it back from a "
                    "copy, or choose another folder"
                )
            return
        if not resume:
            raise UserError(
                f"run folder {self.path} holds a run already; resume it, or choose another"
            )
        before = read_kept_recipe(earlier)
        changed, has_begun = [], bool(checkpoint.step_folders(self._checkpoints))
        for field, old, new, is_fixed in field_changes(before, recipe):
            # Which weights are zero already follows from a sparse run's own schedule.
            is_fixed |= before.sparse.density is not None and field.startswith("sparse.")
            if is_fixed and has_begun:
                raise UserError(
                    f"cannot resume {self.path}: it has {field} = {old!r}, this recipe {new!r}; "
                    "use the same value, or choose another folder"
                )
            changed.append(f"{field} {old!r} to {new!r}")
        if changed:
            self.remarks.append(f"changed since the run began: {', '.join(changed)}")

    @contextmanager
    def _using(self) -> Iterator[None]:
        try:
            if self._folder is not None and not self._is_here(self._folder):
                raise UserError(f"run folder {self.path} was replaced while this run wrote to it")
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(
                f"cannot write run folder {self.path}: {reason}; "
                "see that it can be written, or choose another"
            ) from error

    def _is_here(self, folder: int) -> bool:
        return os.path.samestat(os.fstat(folder), self.path.stat())

    def newest_checkpoint(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint, and a line for each damaged one passed over."""
        return checkpoint.newest(self._checkpoints)

    def earlier_arithmetic(self) -> Arithmetic | None:
        """The arithmetic of the run so far; None where it has not begun."""
        path = self._arithmetic
        if not path.exists():
            return None
        with self._using(), _undamaged():
            return parse_json(Arithmetic, path.read_bytes(), str(path))

    def begin(
        self, headers: Sequence[trace.TraceHeader], first_step: int, arithmetic: Arithmetic
    ) -> list[Metrics]:
        """Prepare for the steps from `first_step` on; return each evaluation so far.

        From here on the folder holds a run; `headers` has one for each rank.
        """
        environment = describe_environment(self._recipe.seed, len(headers))
        with self._using():
            with _undamaged():
                kept = [it for it in read_metrics(self.path) if it.step <= first_step]
                confusions = read_confusions(self.path)
                goes_on = trace.is_of_this_run(self.path, headers)
            self._set_aside(first_step, goes_on)
            self._keep_sources()
            self._evaluated = [*kept]
            told = (confusions.newest, confusions.best) if confusions else ()
            self._confusions = tuple(it for it in told if it and it.step <= first_step)
            checkpoint.mark_best(self._checkpoints, self._best_step())
            write_kept_recipe(self.path / "recipe.toml", self._recipe)
            write_durably(
                self.path / "environment.json", json.dumps(environment, indent=1).encode()
            )
            write_durably(self._arithmetic, json.dumps(asdict(arithmetic)).encode())
            write_json_lines(self._metrics, map(asdict, kept))
            for header in headers:
                trace.begin_trace(self.path, header, first_step)
            self._board = self._new_board(first_step)
        return kept

    def _keep_sources(self) -> None:
        """Write code.json, the checksums of the user's own code, and say what has changed."""
        path = self.path / "code.json"
        now = {name: source_checksum(name) for name in own_names(self._recipe).values()}
        if path.exists():
            before = parse_json(dict[str, str], path.read_bytes(), str(path))
            if changed := [name for name in now if before.get(name, now[name]) != now[name]]:
                self.remarks.append(
                    f"changed since the run began: the source of {', '.join(changed)}"
                )
        if now:
            write_durably(path, json.dumps(now, indent=1).encode())

    def _new_board(self, first_step: int) -> SummaryWriter | None:
        try:
            with extra("tensorboard", "write TensorBoard events"):
                from torch.utils.tensorboard import SummaryWriter
        except UserError as error:
            self.remarks.append(str(error))
            return None
        # TensorBoard drops what an earlier process wrote after `first_step`.
        return SummaryWriter(self.path / "tensorboard", purge_step=first_step + 1)

    def add_account(self, account: Account) -> None:
        """Write data.json: what the run is trained and tested on."""
        with self._using():
            write_durably(self.path / "data.json", json.dumps(asdict(account), indent=1).encode())

    def _set_aside(self, first_step: int, goes_on: bool) -> None:
        """Move what this run would overwrite into a new folder, `aside-1` and so on.

        Damaged checkpoints after `first_step` are kept there with the metrics and traces so far, and so
        are traces that this run does not continue. Steps after the newest checkpoint are done again.
        """
        behind = checkpoint.step_folders(self._checkpoints, after=first_step)
        if not behind and goes_on:
            return
        aside = next(path for k in count(1) if not (path := self.path / f"aside-{k}").exists())
        traces = trace.files(self.path)
        for source in (self._metrics, *traces):
            copy = aside / source.relative_to(self.path)
            new_folder(copy.parent)
            write_synced(copy, source.read_bytes())
            sync_folder(copy.parent)
        for path in () if goes_on else traces:
            path.unlink()
        new_folder(aside / "checkpoints")
        for folder in behind:
            folder.rename(aside / "checkpoints" / folder.name)
        sync_folder(aside / "checkpoints")
        what = [folder.name for folder in behind] + (
            [] if goes_on else ["the traces of other workers"]
        )
        self.remarks.append(f"kept aside in {aside}: {', '.join(what)}")

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def _arithmetic(self) -> Path:
        return self.path / "arithmetic.json"

    @property
    def _metrics(self) -> Path:
        return metrics_file(self.path)

    def add_metrics(self, metrics: Metrics) -> None:
        """Write a line of metrics.jsonl, and the same values as TensorBoard events."""
        with self._using():
            self._evaluated.append(metrics)
            values = asdict(metrics)
            append_json_lines(self._metrics, [values])
            if self._board:
                step = values.pop("step")
                for name, value in (values | values.pop("figures")).items():
                    if value is not None:
                        self._board.add_scalar(name, value, step)
                self._board.flush()

    def add_confusion(self, classes: Sequence[str], newest: Confusion) -> None:
        """Write confusion.json: that of the newest evaluation, and of the best one where that is another."""
        best = best_of(self._evaluated)
        known = (newest, *self._confusions)
        found = next((it for it in known if best and it.step == best.step), None)
        told = Confusions(tuple(classes), newest, None if found is newest else found)
        self._confusions = tuple(filter(None, (newest, told.best)))
        content = json.dumps({"version": CONFUSION_VERSION, **asdict(told)})
        with self._using():
            write_durably(confusion_file(self.path), content.encode())

    def _best_step(self) -> int | None:
        best = best_of(self._evaluated) if self._recipe.keep_best else None
        return best.step if best else None

    @property
    def earlier_best(self) -> str:
        """Which evaluation was better than the last one, and where its checkpoint is; empty where none was."""
        best = best_of(self._evaluated)
        if not best or best is self._evaluated[-1]:
            return ""
        told = f"best: epoch {best.epoch}, step {best.step}, {best.scored}"
        found = checkpoint.find(self._checkpoints, best.step)
        return f"{told}: {found}" if found else told

    def add_trace(self, rank: int, steps: Iterable[trace.StepTrace]) -> None:
        """Write steps of one rank, which are on rank 0's clock."""
        with self._using():
            trace.append_steps(self.path, rank, steps)

    def add_event(self, event: trace.Event) -> None:
        """Write what happened to the run."""
        with self._using():
            trace.add_event(self.path, event)

    def add_network(self, found: Probe) -> None:
        """Write network.json: what was measured last."""
        with self._using():
            write_durably(self.path / "network.json", found.to_json().encode())

    def add_checkpoint(self, captured: Checkpoint, keep: int) -> None:
        """Write a checkpoint durably, and keep only the last `keep` and the best one."""
        with self._using():
            checkpoint.write(self._checkpoints, captured, keep, self._best_step())

    def close(self) -> None:
        """Close the folder and release its lock."""
        if self._board:
            with self._using():
                self._board.close()
        if self._folder is not None:
            os.close(self._folder)


@contextmanager
def _undamaged() -> Iterator[None]:
    """Add to an error about a damaged file what to do."""
    try:
        yield
    except UserError as error:
        raise UserError(
            f"cannot resume: {error}; put the file back from a copy, or choose another folder"
        ) from error
