"""`firetree export`: write a model as ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree import output
from firetree.commands.arguments import parse
from firetree.modelfiles.onnx_export import export


@dataclass(frozen=True)
class ExportOptions:
    """Write a model as ONNX, with its preprocessing and class names in the file's metadata."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """The folder of a run, or RUN/checkpoints/best, or a file: .fire, .safetensors, .net, .pth or .onnx."""
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT.onnx")]
    """The file to write."""


def run(arguments: list[str]) -> None:
    options = parse(ExportOptions, "firetree export", arguments)
    export(options.model, options.output, progress=output.tell)
