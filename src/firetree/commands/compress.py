"""`firetree compress`: a model into a small file that predicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree import output
from firetree.commands.arguments import parse
from firetree.deep_compression.compress import compress
from firetree.errors import UserError
from firetree.modelfiles.fire.coders import CoderName
from firetree.models.pruning import Scope


@dataclass(frozen=True)
class CompressOptions:
    """Write a model into a small file that predicts: --lossless, --budget, or --bits and --density.

    With --budget bits and density follow for each layer from what its weights mean to the answer.
    """

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """The folder of a run, or a file: .safetensors, .net, .pth, .onnx or .fire."""
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT.fire")]
    """The file to write."""
    lossless: bool = False
    """Keep every weight to the last bit."""
    budget: str | None = None
    """The most that the whole file may take, as in 470kB. Needs --images."""
    bits: int | None = None
    """Share 2^bits - 1 values in each layer."""
    density: float = 1.0
    """With --bits: the share of the weights that stays, by magnitude."""
    scope: Scope = "layer"
    """With --density: whether that is the share of each layer, or of all layers together."""
    images: Path | None = None
    """Images such as the model will see, without labels: a tar or folder of classes, or a parquet."""
    retrain: int = 0
    """Steps in which the shared values learn to answer as the uncompressed model, on --images."""
    retrain_images: int = 1024
    """How many of the images are kept in memory for that."""
    classes: Path | None = None
    """A file with a class's name a line, to go into the file."""
    coder: CoderName = "rans"
    """The entropy coder."""


def run(arguments: list[str]) -> None:
    options = parse(CompressOptions, "firetree compress", arguments)
    if [options.lossless, options.budget is not None, options.bits is not None].count(True) != 1:
        raise UserError("expected one of --lossless, --budget SIZE, and --bits with --density")
    file = compress(**asdict(options), progress=output.tell)
    output.show(
        f"{options.output}: {len(file.content):,} bytes, {file.times_smaller:.1f} times smaller than "
        "its weights in float32"
    )
