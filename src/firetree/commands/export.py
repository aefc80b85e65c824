"""`firetree export`: a model as ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree import deep_compression, output
from firetree.arguments import parse
from firetree.durable import check_writable, write_durably
from firetree.modelfiles import onnx_export


@dataclass(frozen=True)
class ExportOptions:
    """Write a model as ONNX, with its preprocessing and class names in the file's metadata."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A .fire, or weights: .safetensors, .net or .pth."""
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT.onnx")]
    """The file to write."""


def run(arguments: list[str]) -> None:
    options = parse(ExportOptions, "firetree export", arguments)
    check_writable(options.output)
    write_durably(
        options.output, onnx_export.as_onnx(deep_compression.open_model(options.model, output.tell))
    )
