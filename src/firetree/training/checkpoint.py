"""Checkpoints: one folder for each step, of safetensors and JSON, never pickle.

A folder holds `model.safetensors`, `optimizer.safetensors`, `state.json`, and `SHA256SUMS`, which
`sha256sum -c` can check too. Where a run was stopped off its schedule, `rank-0000.safetensors` and so
on hold each rank's own state, and the other files its mean. A folder that does not match its sums is
neither used nor removed: only whole checkpoints make room for newer ones. The link `best`
leads to the folder of the best evaluation, which stays however old it is.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from firetree.documents import parse_json
from firetree.durable import link_durably, new_folder, sync_folder, write_synced
from firetree.errors import UserError

STATE_VERSION = 2
"""Version 1, which is read too, has no own state of ranks."""
_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_SUMS = "SHA256SUMS"
BEST = "best"
"""A link to the checkpoint of the best evaluation."""
_TRAINED, _AVERAGED, _SYNC = "trained", "averaged", "sync"


@dataclass(frozen=True, slots=True)
class TrainingState:
    """What a checkpoint holds beside its tensors; `step` is the number of steps done.

    `ranks` is the world size where each rank's own state is kept, else 0.
    """

    step: int
    model: dict[str, Any]
    data: dict[str, Any]
    ranks: int = 0
    version: int = STATE_VERSION


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything a run needs to go on: its state, and the tensors by name.

    `parts` are the files with each rank's own state, by rank, read or received one at a time.
    """

    state: TrainingState
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    parts: Iterable[bytes] = ()

    @property
    def sync(self) -> dict[str, Tensor]:
        """What the parts of a step keep from step to step."""
        keys = [key for key in self.optimizer if key.endswith(f"/{_SYNC}")]
        return {key.rpartition("/")[0]: self.optimizer[key] for key in keys}


def capture(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    average: AveragedModel | None = None,
    sync: Mapping[str, Tensor] = MappingProxyType({}),
    parts: Iterable[bytes] = (),
) -> Checkpoint:
    """The present weights and the optimiser's tensors, named `parameter/quantity`.

    The checkpoint's model is what was evaluated: the moving average, if there is one. The weights in
    training are then kept as `parameter/trained`.
    """
    names = _names(model, optimizer)
    moments = optimizer.state_dict()["state"]
    tensors = {
        f"{names[index]}/{quantity}": value.contiguous()
        for index, quantities in moments.items()
        for quantity, value in quantities.items()
        if isinstance(value, Tensor)
    }
    tensors |= {f"{name}/{_SYNC}": value for name, value in sync.items()}
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    if average is not None:
        tensors |= {f"{name}/{_TRAINED}": value for name, value in weights.items()}
        tensors[_AVERAGED] = average.n_averaged
        kept = average.module.state_dict()
        weights = {name: value.contiguous() for name, value in kept.items()}
    return Checkpoint(state, weights, tensors, parts)


def restore(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None = None,
) -> None:
    """Put the checkpoint's tensors back in place.

    Raises:
        UserError: they are not those of this network.
    """
    names = _names(model, optimizer)
    parameters = dict(model.named_parameters())
    trained: dict[str, Tensor] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in checkpoint.optimizer.items():
        name, _, quantity = key.rpartition("/")
        if quantity == _TRAINED:
            trained[name] = value
        elif name and quantity != _SYNC:
            if name not in parameters or value.shape not in ((), parameters[name].shape):
                raise _other_tensor(checkpoint, key, tuple(value.shape))
            moment = _in_format_of(parameters[name], value)
            moments.setdefault(names.index(name), {})[quantity] = moment
    for weights in (checkpoint.model, trained or checkpoint.model):
        _check(checkpoint, weights, model)
    model.load_state_dict(trained or checkpoint.model)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    if average is not None:
        average.module.load_state_dict(checkpoint.model)
        average.n_averaged.copy_(checkpoint.optimizer.get(_AVERAGED, torch.tensor(0)))


def _check(checkpoint: Checkpoint, weights: Mapping[str, Tensor], model: nn.Module) -> None:
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in expected | found:
        if found.get(name) != expected.get(name):
            raise _other_tensor(checkpoint, name, found.get(name))


def _other_tensor(checkpoint: Checkpoint, name: str, shape: tuple[int, ...] | None) -> UserError:
    has = "lacks" if shape is None else f"has, as {shape},"
    return UserError(
        f"the checkpoint of step {checkpoint.state.step} {has} the tensor '{name}', unlike the "
        "recipe's network; go on with the firetree that wrote it, or train in another folder"
    )


def _in_format_of(parameter: Tensor, value: Tensor) -> Tensor:
    """A copy in the parameter's memory format, which a fused optimiser expects of its moments."""
    same = value.shape == parameter.shape
    return torch.empty_like(parameter).copy_(value) if same else value.clone()


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The parameters' names in the optimiser's order."""
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    return [name_of[p] for group in optimizer.param_groups for p in group["params"]]


def write(folder: Path, checkpoint: Checkpoint, keep: int, best: int | None = None) -> Path:
    """Write one step's folder into `folder`, then remove older whole ones.

    The last `keep` stay, and so does that of the step `best`, to which `mark_best` then leads.

    Raises:
        OSError: the disk is full or read-only; earlier checkpoints are untouched.
    """
    new_folder(folder)
    for left_over in folder.glob(".step-*"):  # from a death while one was written or removed
        shutil.rmtree(left_over)
    target = folder_of(folder, checkpoint.state.step)
    aside = _aside(target)
    try:
        aside.mkdir()
        sums = b""
        for name, content in _contents(checkpoint):
            write_synced(aside / name, content)
            sums += _row(name, content)
        write_synced(aside / _SUMS, sums)
        sync_folder(aside)
        aside.rename(target)
        sync_folder(folder)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    mark_best(folder, best)
    for other in step_folders(folder, upto=checkpoint.state.step)[keep:]:
        if _step(other) != best and _is_whole(other):
            shutil.rmtree(other.rename(_aside(other)))
    return target


def mark_best(folder: Path, step: int | None) -> None:
    """Let the link `best` lead to the checkpoint of this step; to none where there is no such one.

    A file system without links has none: readers take the checkpoint's own folder too.
    """
    link = folder / BEST
    with suppress(OSError):
        if link.is_dir() and not link.is_symlink():  # of a copy that followed the link
            shutil.rmtree(link)
        if step is not None and (target := folder_of(folder, step)).is_dir():
            link_durably(link, target.name)
        else:
            link.unlink(missing_ok=True)


def find(folder: Path, step: int) -> Path | None:
    """A step's checkpoint, by the link that leads there if one does; None where there is none."""
    own, link = folder_of(folder, step), folder / BEST
    if not own.is_dir():
        return None
    return link if link.is_symlink() and link.resolve() == own.resolve() else own


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies, or would."""
    return folder / f"step-{step:08d}"


def _aside(target: Path) -> Path:
    """Where a checkpoint lies while it is written or removed."""
    return target.with_name(f".{target.name}.tmp")


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and one line for each damaged one that was passed over.

    None where there is no checkpoint at all.

    Raises:
        UserError: all are damaged; or the newest whole one cannot be read now, or has another version.
    """
    passed_over: list[str] = []
    for candidate in step_folders(folder):
        try:
            return read(candidate), passed_over
        except DamagedError as error:
            passed_over.append(str(error))
    if passed_over:
        raise UserError(
            f"none of the {len(passed_over)} checkpoints in {folder} is whole "
            f"({'; '.join(passed_over)}); put one back from a copy, or train in another folder"
        )
    return None, passed_over


class DamagedError(UserError):
    """A checkpoint that differs from what was written."""


def read(folder: Path) -> Checkpoint:
    """Read one checkpoint's folder.

    Raises:
        DamagedError: a file is missing, cut off, or changed.
        UserError: it is of another version, or cannot be read now.
    """
    sums, state_text = _content(folder / _SUMS), _content(folder / _STATE)
    if _row(_STATE, state_text) not in sums:  # its version may be damage, too
        raise _differing(folder)
    state = _state(folder, state_text)
    files = {name: _content(folder / name) for name in (_MODEL, _OPTIMIZER)}
    rows = (*files.items(), (_STATE, state_text))
    if sums != b"".join(_row(*file) for file in chain(rows, _parts(folder, state))):
        raise _differing(folder)
    try:
        model, optimizer = map(load, files.values())
    except SafetensorError as error:
        raise DamagedError(f"checkpoint {folder.name} is damaged: {error}") from error
    return Checkpoint(state, model, optimizer, (part for _, part in _parts(folder, state)))


def _differing(folder: Path) -> DamagedError:
    return DamagedError(f"checkpoint {folder.name} is damaged: its files differ from {_SUMS}")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DamagedError(f"checkpoint {path.parent.name} lacks {path.name}") from error
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; nothing was changed, try again"
        ) from error


def _state(folder: Path, text: bytes) -> TrainingState:
    _check_version(folder, text)
    try:
        state = parse_json(TrainingState, text, _STATE)
    except UserError as error:
        raise DamagedError(f"checkpoint {folder.name} is damaged: {error}") from error
    if folder.name != BEST and state.step != _step(folder):
        raise DamagedError(f"checkpoint {folder.name} is damaged: it says step {state.step}")
    return state


def _check_version(folder: Path, state_text: bytes) -> None:
    try:
        version = json.loads(state_text).get("version")
    except (ValueError, AttributeError, RecursionError):
        return
    if isinstance(version, int) and not 1 <= version <= STATE_VERSION:
        raise UserError(
            f"checkpoint {folder} is of version {version}, this firetree reads those up to "
            f"{STATE_VERSION}; use the firetree that wrote it, which its run's environment.json names"
        )


def _parts(folder: Path, state: TrainingState) -> Iterator[tuple[str, bytes]]:
    """The files with each rank's own state by name, each read on demand."""
    for name in _part_names(state):
        yield name, _content(folder / name)


def _part_names(state: TrainingState) -> Iterator[str]:
    return (f"rank-{rank:04d}.safetensors" for rank in range(state.ranks))


def _is_whole(folder: Path) -> bool:
    try:
        read(folder)
    except (DamagedError, UserError):
        return False
    return True


def _contents(checkpoint: Checkpoint) -> Iterator[tuple[str, bytes]]:
    """The files by name, each made on demand."""
    yield _MODEL, save(checkpoint.model)
    yield _OPTIMIZER, save(checkpoint.optimizer)
    yield _STATE, json.dumps(asdict(checkpoint.state), indent=1).encode()
    yield from zip(_part_names(checkpoint.state), checkpoint.parts, strict=True)


def _row(name: str, content: bytes) -> bytes:
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()


def step_folders(folder: Path, after: int = -1, upto: int | None = None) -> list[Path]:
    """The checkpoints of steps after `after` up to `upto`, newest first.

    Raises:
        UserError: they cannot be listed.
    """
    try:
        names = [entry for entry in folder.iterdir() if _STEP.fullmatch(entry.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; expected checkpoints") from error
    steps = {_step(entry): entry for entry in names}
    last = max(steps, default=0) if upto is None else upto
    return [steps[step] for step in sorted(steps, reverse=True) if after < step <= last]


_STEP = re.compile(r"step-(\d{8,})")


def is_folder(path: Path) -> bool:
    """Whether it has the name of a checkpoint's folder."""
    return path.name == BEST or _STEP.fullmatch(path.name) is not None


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))
