"""Write a model as ONNX by torch's exporter, with all that firetree needs to read it again."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from firetree.durable import check_writable, write_durably
from firetree.extras import extra
from firetree.modelfiles.loading import as_model
from firetree.modelfiles.model import Model, metadata
from firetree.progress import Progress, log, without_warnings

INPUT, OUTPUT = "images", "logits"


def export(model: Model | str | Path, output: str | Path, *, progress: Progress = log) -> Model:
    """Write a model as ONNX, with its preprocessing and class names in the file's metadata.

    Args:
        model: as `load_model` takes it, or a model.
        output: the file to write.
        progress: as of `load_model`.

    Returns:
        The model that was written.

    Raises:
        UserError: the model cannot be read, the file not be written, or the onnx extra is not installed.

    Example:
        >>> firetree.export("small.fire", "small.onnx")
        Model(squeezenet_small, 70,138 parameters, 10 classes)
    """
    check_writable(Path(output))
    model = as_model(model, progress)
    write_durably(Path(output), as_onnx(model))
    return model


def as_onnx(model: Model) -> bytes:
    """The bytes of an ONNX file: input `images` (B, C, H, W), output `logits` (B, classes).

    The batch may have any size. Preprocessing and class names are in the file's metadata.

    Raises:
        UserError: the onnx extra is not installed.
    """
    with extra("onnx", "write ONNX"):
        import onnxscript  # noqa: F401
    preprocessing = model.preprocessing
    network = model.build().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = torch.zeros(2, len(preprocessing.mean), preprocessing.crop, preprocessing.crop)
    with _silence():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(metadata(model))
    content: bytes = program.model_proto.SerializeToString()
    return content


def session(model: Model, threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` of the model, with the names of `as_onnx`.

    Args:
        threads: of one run; 0 for all cores.

    Raises:
        UserError: the onnx extra is not installed.
    """
    with extra("onnx", "run ONNX"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(as_onnx(model), options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide the exporter's warnings about its own internals."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        without_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
