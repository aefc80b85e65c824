"""`firetree decompress`: write the weights of a `.fire` as safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree.commands.arguments import parse
from firetree.modelfiles.fire.file import decompress


@dataclass(frozen=True)
class DecompressOptions:
    """Write the weights of a .fire as safetensors, exactly as the .fire holds them."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE.fire")]
    """The compressed model."""
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT.safetensors")]
    """The file to write."""


def run(arguments: list[str]) -> None:
    options = parse(DecompressOptions, "firetree decompress", arguments)
    decompress(options.file, options.output)
