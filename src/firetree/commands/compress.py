"""`firetree compress`: write a model as a small `.fire` file."""

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
    """Write a model as a small file for predictions: --lossless, --budget, or --bits with --density.

    With --budget, each layer's bits and density depend on how much its weights change the output.
    """

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """The folder of a run, or RUN/checkpoints/best, or a file: .safetensors, .net, .pth, .onnx or .fire."""
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT.fire")]
    """The file to write."""
    lossless: bool = False
    """Keep every weight exactly."""
    budget: str | None = None
    """The largest size of the whole file, as in 470kB. Needs --images."""
    bits: int | None = None
    """Quantise each layer to 2^bits - 1 shared values."""
    density: float = 1.0
    """With --bits: the fraction of the weights to keep; the largest stay."""
    scope: Scope = "layer"
    """With --density: prune each layer to that fraction, or all layers together."""
    images: Path | None = None
    """Images like those the model will see; labels are ignored. A tar or folder of classes, a parquet,
    a CSV, or a saved Hugging Face dataset."""
    retrain: int = 0
    """Steps that train the shared values on --images to match the uncompressed model's output."""
    retrain_images: int = 1024
    """How many images --retrain keeps in memory."""
    classes: Path | None = None
    """A file with one class name a line, to store in the output."""
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
