"""Published weights, from whatever format they come in.

published = weights.load(Path("squeezenet_v1_1_caffe_fp16.safetensors"))
network = weights.build(published)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from firetree.data.texts import split_lines
from firetree.documents import read_text
from firetree.errors import UserError
from firetree.foreign import ENOUGH_BYTES
from firetree.modelfiles import deep_compression
from firetree.modelfiles.checkpoints import read_checkpoint
from firetree.modelfiles.kinds import format_of, stranger
from firetree.modelfiles.onnx import read_onnx
from firetree.modelfiles.pth import read_pth
from firetree.modelfiles.published import (
    CAFFE,
    Preprocessing,
    Published,
    build,
    check,
    describe,
    example,
    from_description,
    from_metadata,
    metadata,
    shapes_of,
)
from firetree.modelfiles.runs import read_published

__all__ = [
    "CAFFE",
    "SUFFIXES",
    "Preprocessing",
    "Published",
    "as_safetensors",
    "build",
    "describe",
    "example",
    "from_description",
    "load",
    "metadata",
    "read_classes",
    "shapes_of",
    "with_classes",
]

SUFFIXES = (".safetensors", ".net", ".pth", ".pt", ".onnx")


def load(path: Path) -> Published:
    """Read a model's weights: a file's by its content, or the newest of a run's folder.

    Raises:
        UserError: no such file, one of another kind, a damaged file, none of our networks, or numbers
            that are not finite.
    """
    published = read_published(path) if path.is_dir() else _read(path)
    check(published)
    return published


def _read(path: Path) -> Published:
    if not path.is_file():
        raise UserError(f"no file {path}; expected a model's weights ({', '.join(SUFFIXES)})")
    if path.suffix == ".net":
        return deep_compression.read_net(path)
    start = _start(path)
    if (what := stranger(path, start)) is not None:
        raise UserError(f"{path} is {what}; expected a model's weights ({', '.join(SUFFIXES)})")
    kind, suffix = format_of(start), path.suffix
    if kind == "safetensors" or (kind == "unknown" and suffix == ".safetensors"):
        return _read_safetensors(path)
    if kind == "torch" or (kind == "unknown" and suffix in (".pth", ".pt")):
        return read_checkpoint(read_pth(path), str(path))
    if kind == "unknown" and suffix == ".onnx":
        return read_onnx(path)
    raise UserError(f"'{suffix}' of {path}; expected one of {', '.join(SUFFIXES)}")


def _start(path: Path) -> bytes:
    """The first bytes of a file, which tell what it is."""
    try:
        with path.open("rb") as file:
            return file.read(ENOUGH_BYTES)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; expected a model's weights"
        ) from error


def as_safetensors(published: Published) -> bytes:
    """A safetensors file that says all about the model by itself, and that `load` reads."""
    state = {name: tensor.contiguous() for name, tensor in published.state.items()}
    return save(state, metadata(published))


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names, one a line; an identifier of WordNet in front (`n01440764 tench`) is left out.

    Raises:
        UserError: the file cannot be read.
    """
    lines = split_lines(read_text(path, "file of class names"))
    return tuple(_without_wnid(line) for line in lines if line.strip())


def with_classes(published: Published, path: Path) -> Published:
    """The model with the class names of a file.

    Raises:
        UserError: as `read_classes`, or another number of names than the model has classes.
    """
    classes = read_classes(path)
    if len(classes) != published.class_count:
        raise UserError(
            f"{len(classes)} names in {path}; expected {published.class_count}, as the model has "
            "classes"
        )
    return replace(published, classes=classes)


def _without_wnid(line: str) -> str:
    first, _, rest = line.strip().partition(" ")
    return rest if rest and len(first) == 9 and first[0] == "n" and first[1:].isdigit() else line


def _read_safetensors(path: Path) -> Published:
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read {path}: {reason}; expected whole safetensors") from error
    described = from_metadata(told, str(path))
    if described is None:
        return read_checkpoint(state, str(path))
    ordered = {name: state[name].float() for name in _module_order(described, state)}
    return replace(described, state=ordered)


def _module_order(described: Published, state: Mapping[str, Tensor]) -> list[str]:
    """The tensors' names as the network has them; safetensors sort by size."""
    expected = shapes_of(described, classes=1)
    if expected.keys() != state.keys():
        raise UserError(f"the tensors are not those of {described.network}")
    return list(expected)
