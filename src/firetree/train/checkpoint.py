"""Checkpoints: safetensors and JSON in one folder a step, never pickle, whole or not there.

A folder holds `model.safetensors`, `optimizer.safetensors`, `state.json`, and `SHA256SUMS`, which
`sha256sum -c` can check too. A folder that differs from its sums by one bit is not used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from firetree.durable import sync_folder, write_synced

STATE_VERSION = 1
_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
_SUMS = "SHA256SUMS"
_TRAINED, _AVERAGED, _SYNC = "trained", "averaged", "sync"


@dataclass(frozen=True, slots=True)
class State:
    """What a checkpoint says beside its tensors; `step` is the number of steps done."""

    step: int
    model: dict[str, Any]
    data: dict[str, Any]
    version: int = STATE_VERSION


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything a run needs to go on: the tensors by name, and how far it had come."""

    state: State
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]

    @property
    def sync(self) -> dict[str, Tensor]:
        """What synchronisation keeps from step to step."""
        keys = [key for key in self.optimizer if key.endswith(f"/{_SYNC}")]
        return {key.rpartition("/")[0]: self.optimizer[key] for key in keys}


def capture(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    average: AveragedModel | None = None,
    sync: Mapping[str, Tensor] = MappingProxyType({}),
) -> Checkpoint:
    """The present weights and the optimiser's tensors, named `parameter/quantity`.

    Where there is a moving average, it is the checkpoint's model: it is what was evaluated. The
    weights that are trained are then a quantity beside the optimiser's.
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
    return Checkpoint(state, weights, tensors)


def restore(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None = None,
) -> None:
    """Put the checkpoint's tensors back in place."""
    names = _names(model, optimizer)
    parameters = dict(model.named_parameters())
    trained: dict[str, Tensor] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in checkpoint.optimizer.items():
        name, _, quantity = key.rpartition("/")
        if quantity == _TRAINED:
            trained[name] = value
        elif name and quantity != _SYNC:
            moments.setdefault(names.index(name), {})[quantity] = _laid_out(value, parameters[name])
    model.load_state_dict(trained or checkpoint.model)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    if average is not None:
        average.module.load_state_dict(checkpoint.model)
        average.n_averaged.copy_(checkpoint.optimizer.get(_AVERAGED, torch.tensor(0)))


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """A copy with the parameter's order in memory, in which a fused optimiser walks through both."""
    alike = value.shape == parameter.shape
    return torch.empty_like(parameter).copy_(value) if alike else value.clone()


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The parameters' names in the optimiser's order."""
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    return [name_of[p] for group in optimizer.param_groups for p in group["params"]]


def write(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write one step's folder beside the others in `folder`, then drop all but the last `keep` up to it.

    Raises:
        OSError: the disk is full or read-only; earlier checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{checkpoint.state.step:08d}"
    aside = folder / f".{target.name}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        contents = _contents(checkpoint)
        for name, content in contents.items():
            write_synced(aside / name, content)
        write_synced(aside / _SUMS, _sums(contents))
        sync_folder(aside)
        if target.exists():  # left from before a resume went back behind it
            shutil.rmtree(target)
        aside.rename(target)
        sync_folder(folder)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    # What lies behind this step was damaged, or the run would not have gone back before it.
    kept = [one for one in _step_folders(folder) if one.name <= target.name][:keep]
    for other in {*_step_folders(folder)}.difference(kept):
        shutil.rmtree(other, ignore_errors=True)
    return target


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest complete checkpoint, and one line for each damaged one that was passed over."""
    passed_over: list[str] = []
    for candidate in _step_folders(folder):
        try:
            return read(candidate), passed_over
        except DamagedError as error:
            passed_over.append(str(error))
    return None, passed_over


class DamagedError(Exception):
    """A checkpoint that is not as it was written."""


def read(folder: Path) -> Checkpoint:
    """Read one checkpoint's folder.

    Raises:
        DamagedError: a file is missing, cut off, or changed.
    """
    try:
        contents = {name: (folder / name).read_bytes() for name in _FILES}
        sums = (folder / _SUMS).read_bytes()
    except OSError as error:
        raise DamagedError(f"checkpoint {folder.name} lacks a file: {error.strerror}") from error
    if sums != _sums(contents):
        raise DamagedError(f"checkpoint {folder.name} is damaged: its files differ from {_SUMS}")
    fields = json.loads(contents["state.json"])
    if fields["version"] != STATE_VERSION:
        raise DamagedError(f"checkpoint {folder.name} is of version {fields['version']}")
    state = State(**fields)
    return Checkpoint(
        state, load(contents["model.safetensors"]), load(contents["optimizer.safetensors"])
    )


def _contents(checkpoint: Checkpoint) -> dict[str, bytes]:
    return {
        "model.safetensors": save(checkpoint.model),
        "optimizer.safetensors": save(checkpoint.optimizer),
        "state.json": json.dumps(asdict(checkpoint.state), indent=1).encode(),
    }


def _sums(contents: dict[str, bytes]) -> bytes:
    rows = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()
    ]
    return "".join(rows).encode()


def _step_folders(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    return sorted(folder.glob("step-*"), reverse=True)
