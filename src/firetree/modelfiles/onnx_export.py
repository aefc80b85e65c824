"""A model as ONNX, by torch's own exporter, with all that firetree needs to read it again.

A `.fire` becomes an onnxruntime session by `session(compress.open_model(path, print))`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from firetree.extras import extra
from firetree.modelfiles import Published, build, metadata

INPUT, OUTPUT = "pictures", "logits"


def as_onnx(published: Published) -> bytes:
    """The bytes of an ONNX file: input `pictures` (B, C, H, W), output `logits` (B, classes).

    Any batch; preprocessing and class names are in the file's metadata.

    Raises:
        UserError: the onnx extra is not installed.
    """
    with extra("onnx", "write ONNX"):
        import onnxscript  # noqa: F401
    preprocessing = published.preprocessing
    network = build(published).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
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
    program.model.metadata_props.update(metadata(published))
    content: bytes = program.model_proto.SerializeToString()
    return content


def session(published: Published, threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` of the model, with the names of `as_onnx`.

    Args:
        threads: that one run computes with; 0 for all cores.

    Raises:
        UserError: the onnx extra is not installed.
    """
    with extra("onnx", "run ONNX"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        as_onnx(published), options, providers=["CPUExecutionProvider"]
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter warns about its own insides."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
