"""Open a model of any format, by the file's content and not by its name; read names for its classes.

Each format's reader is a module beside this one; `kinds.py` knows formats by their first bytes.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from firetree.data.texts import split_lines
from firetree.documents import read_text
from firetree.errors import ArgumentError
from firetree.modelfiles.checkpoints import read_checkpoint
from firetree.modelfiles.fire.file import read_fire
from firetree.modelfiles.kinds import format_of
from firetree.modelfiles.model import Model, check
from firetree.modelfiles.net import read_net
from firetree.modelfiles.onnx import read_onnx
from firetree.modelfiles.pth import read_pth
from firetree.modelfiles.safetensors_file import read_safetensors
from firetree.progress import Progress, log


def load_model(path: str | Path, *, progress: Progress = log) -> Model:
    """Read a model from a file of any format, or the newest one from a run's folder.

    Args:
        path: a `.fire`, weights as `.safetensors`, `.net`, `.pth` or `.onnx`, or the folder of a run
            or of one of its checkpoints, as `RUN/checkpoints/best`.
        progress: is told what the reader assumed, chose or left out; `Model.notes` has it too.

    Raises:
        UserError: no such file, one of another kind, a damaged file, none of our networks, or numbers
            that are not finite.
    """
    path = Path(path)
    model = _read_run(path) if path.is_dir() else _read(path)
    check(model)
    for note in model.notes:
        progress(f"{path}: {note}")
    return model


def as_model(model: Model | str | Path, progress: Progress) -> Model:
    """The model itself, or the one that `load_model` reads."""
    return model if isinstance(model, Model) else load_model(model, progress=progress)


def _read_run(folder: Path) -> Model:
    """By name, as training starts from models, and so stands above this package."""
    model: Model = import_module("firetree.training.run_model").read_run_model(folder)
    return model


def _read(path: Path) -> Model:
    match format_of(path):
        case "fire":
            return read_fire(path).model
        case "safetensors":
            return read_safetensors(path)
        case "net":
            return read_net(path)
        case "torch":
            return read_checkpoint(read_pth(path), str(path))
        case "onnx":
            return read_onnx(path)


def with_classes(model: Model, path: str | Path) -> Model:
    """The model with the class names of a file.

    Raises:
        UserError: as `read_classes`, or another number of names than the model has classes.
    """
    classes = read_classes(path)
    if len(classes) != model.class_count:
        raise ArgumentError(
            "classes",
            f"{path} has {len(classes)} names; expected {model.class_count}, as the model has classes",
        )
    return replace(model, classes=classes)


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Class names, one a line; an identifier of WordNet in front (`n01440764 tench`) is left out.

    Raises:
        UserError: the file cannot be read.
    """
    lines = split_lines(read_text(Path(path), "file of class names"))
    return tuple(_without_wnid(line) for line in lines if line.strip())


def _without_wnid(line: str) -> str:
    first, _, rest = line.strip().partition(" ")
    return rest if rest and len(first) == 9 and first[0] == "n" and first[1:].isdigit() else line
