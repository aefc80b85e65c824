"""How a run learned, in words, and what to do next. The rules are in `curves`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firetree.confusion import Confusion
from firetree.documents import parse_json, parse_toml, read_text
from firetree.errors import UserError
from firetree.metrics import Metrics, best_of
from firetree.own_code import LIVE, is_own, is_timm
from firetree.reporting.curves import Course, Kind, course_of
from firetree.reporting.values import Learning, LearningKind
from firetree.trace import Event

_WITHOUT_LOSS = "games"
"""What is counted in data whose training loss does not fall as the network learns."""
_PATIENCE = 3
_LOWER = "; lower optim.lr"
"""How an error about a loss or gradient that is not finite ends."""


def learning_of(
    run_dir: Path,
    evaluated: Sequence[Metrics],
    confusion: Confusion | None,
    events: Sequence[Event],
) -> Learning | None:
    """How a run learned; None where its evaluations do not tell."""
    run = _Run(run_dir, evaluated, _table(run_dir / "recipe.toml", parse_toml))
    last = events[-1] if events else None
    if last and last.kind == "failed" and last.text.endswith(_LOWER):
        sentence = f"The learning rate was too high: {last.text.removesuffix(_LOWER)}."
        return Learning("rate_too_high", sentence, *_lower_rate(run))
    if not _has_falling_loss(run):
        return None
    is_over = bool(last and last.kind == "ended" and last.text.startswith("after "))
    found = course_of(evaluated, confusion, is_over and not run.is_good_enough)
    if found is None or (found.kind == "loss_rose" and run.field("sparse", "density")):
        return None  # pruning lets the loss rise, too
    kind, say, advise = _WORDS[found.kind]
    since = evaluated[found.at].epoch
    return Learning(kind, say(run, found), *advise(run), since, run.best.epoch, run.best.step)


def _table(path: Path, parse: Callable[..., dict[str, Any]]) -> Mapping[str, Any]:
    """A file of the run; empty where it cannot be read, as only words depend on it."""
    try:
        return parse(dict[str, Any], read_text(path, "file"), str(path))
    except UserError:
        return {}


@dataclass(frozen=True, slots=True)
class _Run:
    """What the words are about; `evaluated` is not empty when they are asked for."""

    folder: Path
    evaluated: Sequence[Metrics]
    recipe: Mapping[str, Any]

    def field(self, part: str, name: str) -> Any:
        """What the recipe has; None where it does not say."""
        table = self.recipe.get(part)
        return table.get(name) if isinstance(table, dict) else None

    def again(self, *options: str) -> str:
        """The command that trains once more; empty where it was of live objects."""
        parts = ("model", "data", "loss", "metric")
        names = [str(self.field(part, "name")) for part in parts]
        own = [name for name in names if is_own(name) and not is_timm(name)]
        if any(name.startswith(LIVE) for name in own):
            return ""
        trust = ("--trust",) if own else ()
        return shlex.join(["firetree", "train", str(self.folder / "recipe.toml"), *trust, *options])

    @property
    def best(self) -> Metrics:
        """The best evaluation; the last one where none has a score."""
        return best_of(self.evaluated) or self.evaluated[-1]

    @property
    def last(self) -> Metrics:
        return self.evaluated[-1]

    @property
    def best_checkpoint(self) -> Path | None:
        """Where the best one's checkpoint lies; None where it was not kept."""
        own = self.folder / "checkpoints" / f"step-{self.best.step:08d}"
        link = own.with_name("best")
        if not own.is_dir():
            return None
        return link if link.resolve() == own.resolve() else own

    @property
    def is_good_enough(self) -> bool:
        """Whether it ended at its target."""
        target, accuracy = self.field("optim", "target_accuracy"), self.last.accuracy
        return isinstance(target, float) and accuracy is not None and accuracy >= target


def _has_falling_loss(run: _Run) -> bool:
    """Whether there is a loss that falls as the network learns: one of answers, which is never below 0."""
    samples = _table(run.folder / "data.json", parse_json).get("samples")
    lowest = min((min(it.train_loss, it.test_loss) for it in run.evaluated), default=-1.0)
    return samples != _WITHOUT_LOSS and not lowest < 0


def _not_finite(run: _Run, found: Course) -> str:
    epoch = run.evaluated[found.at].epoch
    return f"The learning rate was too high: the loss was not finite in epoch {epoch}."


def _rose(run: _Run, found: Course) -> str:
    return (
        f"The learning rate was too high: the training loss rose from {found.before:.3g} to "
        f"{found.after:.3g} in epoch {run.evaluated[found.at].epoch}."
    )


def _above_guessing(run: _Run, found: Course) -> str:
    return (
        f"The learning rate was too high: the training loss was {found.after:.3g} in epoch "
        f"{run.evaluated[found.at].epoch}, where guessing has {found.before:.3g}, and the network has "
        "guessed since."
    )


def _nothing(run: _Run, found: Course) -> str:
    return (
        f"Learned nothing so far: at best {run.best.scored}, where always telling the most frequent class has "
        f"{found.before:.2%}."
    )


def _over_fitted(run: _Run, found: Course) -> str:
    told = (
        f"Over-fitted since epoch {run.evaluated[found.at].epoch}: the test loss rose from "
        f"{found.before:.3g} to {found.after:.3g} while the training loss fell"
    )
    if run.best is run.last:
        return (
            f"{told}; the answers are right as often as before, and too sure ({run.last.scored})."
        )
    return f"{told}; the best was epoch {run.best.epoch} ({run.best.scored}; at the end {run.last.scored})."


def _still(run: _Run, found: Course) -> str:
    return (
        f"Still learning at the end: over the last quarter the test loss fell from {found.before:.3g} to "
        f"{found.after:.3g}."
    )


def _steady(run: _Run, found: Course) -> str:
    at_the_end = "" if run.best is run.last else f"; at the end {run.last.scored}"
    return (
        f"Learned until epoch {run.best.epoch} of {run.last.epoch}: {run.best.scored}{at_the_end}."
    )


_Advice = tuple[str, str]
"""What to do, and a command; either may be empty."""


def _lower_rate(run: _Run) -> _Advice:
    options = list[str]()
    for name in ("lr", "backbone_lr"):
        if isinstance(rate := run.field("optim", name), float):
            options += [f"--optim.{name.replace('_', '-')}", f"{rate / 10:g}"]
    advice = "A tenth of the rate is a safe start; --find-lr tries rates in a minute:"
    return advice, run.again(*options) if options else ""


def _find_rate(run: _Run) -> _Advice:
    advice = (
        "See that each sample has its own label. Too high and too low a rate do the same; find one:"
    )
    return advice, run.again("--find-lr")


def _stop_earlier(run: _Run) -> _Advice:
    kept = f"Take the best checkpoint, {run.best_checkpoint}. " if run.best_checkpoint else ""
    advice = f"{kept}More and more varied data put it off"
    if isinstance(run.field("optim", "patience"), int):
        return f"{advice}.", ""
    advice = f"{advice}; patience ends a run soon after its best:"
    return advice, run.again("--optim.patience", f"{_PATIENCE}")


def _go_on(run: _Run) -> _Advice:
    for name in ("steps", "epochs"):
        if isinstance(count := run.field("optim", name), int):
            return f"Train for more {name}:", run.again(f"--optim.{name}", f"{2 * count}")
    return "", ""


def _keep(run: _Run) -> _Advice:
    is_last = run.best is run.last or not run.best_checkpoint
    return ("" if is_last else f"The best checkpoint is {run.best_checkpoint}."), ""


_Say = Callable[[_Run, Course], str]
_Advise = Callable[[_Run], _Advice]
_WORDS: Mapping[Kind, tuple[LearningKind, _Say, _Advise]] = {
    "not_finite": ("rate_too_high", _not_finite, _lower_rate),
    "loss_rose": ("rate_too_high", _rose, _lower_rate),
    "above_guessing": ("rate_too_high", _above_guessing, _lower_rate),
    "nothing": ("nothing", _nothing, _find_rate),
    "over_fitted": ("over_fitted", _over_fitted, _stop_earlier),
    "still_learning": ("still_learning", _still, _go_on),
    "steady": ("steady", _steady, _keep),
}
