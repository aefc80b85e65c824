"""One way to open a model, whatever its format: by what is in the file, not by its name.

A format's reader is a file beside this one; `kinds.py` knows their first bytes.
"""

from __future__ import annotations

from pathlib import Path

from firetree.modelfiles.checkpoints import read_checkpoint
from firetree.modelfiles.fire.file import read_fire
from firetree.modelfiles.kinds import format_of
from firetree.modelfiles.model import Model, check
from firetree.modelfiles.net import read_net
from firetree.modelfiles.onnx import read_onnx
from firetree.modelfiles.pth import read_pth
from firetree.modelfiles.runs import read_run_model
from firetree.modelfiles.safetensors_file import read_safetensors
from firetree.progress import Progress, log


def load_model(path: str | Path, *, progress: Progress = log) -> Model:
    """Read a model: a file's by its content, or the newest of a run's folder.

    Args:
        path: a `.fire`, weights as `.safetensors`, `.net`, `.pth` or `.onnx`, or the folder of a run.
        progress: hears what the reader assumed, chose or left out; `Model.notes` has it too.

    Raises:
        UserError: no such file, one of another kind, a damaged file, none of our networks, or numbers
            that are not finite.
    """
    path = Path(path)
    model = read_run_model(path) if path.is_dir() else _read(path)
    check(model)
    for note in model.notes:
        progress(f"{path}: {note}")
    return model


def as_model(model: Model | str | Path, progress: Progress) -> Model:
    """The model itself, or the one that `load_model` reads."""
    return model if isinstance(model, Model) else load_model(model, progress=progress)


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
