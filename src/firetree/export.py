"""A model as ONNX, by torch's own exporter, with all that firetree needs to read it again."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator

import torch

from firetree.errors import UserError
from firetree.weights import Published, build, describe
from firetree.weights.onnx import CLASSES, DESCRIPTION


def as_onnx(published: Published) -> bytes:
    """The bytes of an ONNX file: input `pictures` (B, C, H, W), output `logits` (B, classes).

    Any batch; preprocessing and class names are in the file's metadata.

    Raises:
        UserError: the onnx extra is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError("ONNX needs its packages; pip install 'firetree[onnx]'") from error
    preprocessing = published.preprocessing
    network = build(published).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = torch.zeros(2, len(preprocessing.mean), preprocessing.crop, preprocessing.crop)
    with _silence():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["pictures"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props[DESCRIPTION] = json.dumps(describe(published))
    program.model.metadata_props[CLASSES] = json.dumps(published.classes)
    content: bytes = program.model_proto.SerializeToString()
    return content


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
