"""A run's folder, written by rank 0 alone: what was run, where, how it went, and its checkpoints.

Other ranks may stand on hosts that do not share a disk; what they measure is sent to rank 0.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from firetree import trace
from firetree.data import Account
from firetree.durable import append_json_lines, read_json_lines, write_durably, write_json_lines
from firetree.environment import describe_environment
from firetree.errors import UserError
from firetree.train import checkpoint
from firetree.train.arithmetic import Arithmetic
from firetree.train.checkpoint import Checkpoint
from firetree.train.recipe import Recipe
from firetree.train.recipe_file import parse_recipe, recipe_toml

FIXED_ON_RESUME = (
    "model",
    "seed",
    "data.name",
    "data.size",
    "data.channels",
    "data.classes",
    "data.test_fraction",
    "data.pairs",
    "data.examples",
    "data.held_out",
    "data.blank_after",
    "data.source",
    "data.target",
    "data.pieces",
    "optim.batch_size",
    "optim.batch_rule",
    "optim.optimizer",
)
"""What weights, or the meaning of a step's number, depend on."""


class RunFolder:
    """An open run: locked against a second writer until this process ends.

    Args:
        path: made if it does not exist.
        recipe: what will be run.
        resume: whether the folder may hold a run already, which then must fit the recipe.

    Raises:
        UserError: the folder cannot be written, is in use, or holds a run that does not fit.
    """

    def __init__(self, path: Path, recipe: Recipe, resume: bool):
        self.path = path
        self._recipe = recipe
        self.changed: list[str] = []
        """What this recipe has otherwise than the run so far, which may differ."""
        self._board: SummaryWriter | None = None
        with self._writing():
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / ".lock").open("w")
            self._take_lock()
            self._check_earlier_run(recipe, resume)

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"run folder {self.path} is in use by another process; "
                "wait for it, or choose another with --run-dir"
            ) from error

    def _check_earlier_run(self, recipe: Recipe, resume: bool) -> None:
        earlier = self.path / "recipe.toml"
        if not earlier.exists():
            return
        if not resume:
            raise UserError(
                f"run folder {self.path} holds a run already; "
                "go on with --resume, or choose another with --run-dir"
            )
        before = parse_recipe(earlier.read_text(encoding="utf-8"), str(earlier))
        # Which weights are zero already follows from a sparse run's own schedule.
        all_fixed = (*FIXED_ON_RESUME, *(["sparse"] if before.sparse.density else []))
        for field, (old, new) in _differences(asdict(before), asdict(recipe)).items():
            if any(field == fixed or field.startswith(f"{fixed}.") for fixed in all_fixed):
                raise UserError(
                    f"cannot resume {self.path}: it has {field} = {old!r}, this recipe {new!r}; "
                    "use the same value, or choose another folder with --run-dir"
                )
            self.changed.append(f"{field} {old!r} to {new!r}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(
                f"cannot write run folder {self.path}: {reason}; "
                "see that it can be written, or choose another with --run-dir"
            ) from error

    def newest_checkpoint(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest complete checkpoint, and a line for each damaged one passed over."""
        return checkpoint.newest(self.path / "checkpoints")

    def earlier_arithmetic(self) -> Arithmetic | None:
        """In what the run has computed so far; None where it has not begun."""
        path = self._arithmetic
        return Arithmetic(**json.loads(path.read_bytes())) if path.exists() else None

    def begin(
        self, headers: Sequence[trace.TraceHeader], first_step: int, arithmetic: Arithmetic
    ) -> None:
        """Forget what was measured at or after `first_step`, and make ready for more.

        From here on the folder holds a run; there is a header a rank.
        """
        environment = describe_environment(self._recipe.seed, len(headers))
        with self._writing():
            write_durably(self.path / "recipe.toml", recipe_toml(self._recipe).encode())
            write_durably(
                self.path / "environment.json", json.dumps(environment, indent=1).encode()
            )
            write_durably(self._arithmetic, json.dumps(asdict(arithmetic)).encode())
            kept = [line for line in read_json_lines(self._metrics) if line["step"] <= first_step]
            write_json_lines(self._metrics, kept)
            trace.drop_ranks(self.path, len(headers))
            for header in headers:
                trace.begin_trace(self.path, header, first_step)
            # TensorBoard drops what an earlier process wrote after the step that is gone back to.
            self._board = SummaryWriter(self.path / "tensorboard", purge_step=first_step + 1)

    def add_account(self, account: Account) -> None:
        """What the run is trained and tested on, as data.json."""
        with self._writing():
            write_durably(self.path / "data.json", json.dumps(asdict(account), indent=1).encode())

    @property
    def _arithmetic(self) -> Path:
        return self.path / "arithmetic.json"

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def last_accuracy(self) -> float | None:
        """Top-1 accuracy (0 to 1) of the last evaluation."""
        lines = read_json_lines(self._metrics)
        return lines[-1]["accuracy"] if lines else None

    def add_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl and the same values as TensorBoard events."""
        with self._writing():
            append_json_lines(self._metrics, [{"step": step, **values}])
            if self._board:
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)
                self._board.flush()

    def add_trace(self, rank: int, steps: Iterable[trace.StepTrace]) -> None:
        """Steps of one rank, on rank 0's clock."""
        with self._writing():
            trace.append_steps(self.path, rank, steps)

    def add_checkpoint(self, captured: Checkpoint, keep: int) -> None:
        """Write it durably and keep only the last `keep`."""
        with self._writing():
            checkpoint.write(self.path / "checkpoints", captured, keep)

    def close(self) -> None:
        """Give the lock back."""
        with self._writing():
            if self._board:
                self._board.close()
        self._lock.close()


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for name, old in before.items():
        new = after[name]
        if isinstance(old, dict):
            found |= {f"{name}.{key}": pair for key, pair in _differences(old, new).items()}
        elif old != new:
            found[name] = (old, new)
    return found
