"""Safetensors: files that firetree wrote describe their model, other files hold a state dict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from firetree.errors import UserError
from firetree.modelfiles.checkpoints import read_checkpoint
from firetree.modelfiles.model import Model, from_metadata, metadata, shapes_of


def as_safetensors(model: Model) -> bytes:
    """A file with the weights and the whole description of the model."""
    state = {name: tensor.contiguous() for name, tensor in model.state.items()}
    return save(state, metadata(model))


def read_safetensors(path: Path) -> Model:
    """The model of a file that firetree or another program wrote.

    Raises:
        UserError: a damaged file, or none of our networks.
    """
    try:
        with safe_open(path, "pt") as file:
            properties = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read {path}: {reason}; expected whole safetensors") from error
    described = from_metadata(properties, str(path))
    if described is None:
        return read_checkpoint(state, str(path))
    in_order = shapes_of(described, classes=1)  # safetensors sort by size
    if in_order.keys() != state.keys():
        raise UserError(f"the tensors are not those of {described.network}")
    return replace(described, state={name: state[name].float() for name in in_order})
