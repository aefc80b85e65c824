"""`firetree scan`: measure how much each layer can be pruned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree import output
from firetree.commands import pages, tables
from firetree.commands.arguments import parse
from firetree.deep_compression.scan import DENSITIES, Scan, scan


@dataclass(frozen=True)
class ScanOptions:
    """Prune one layer at a time, and print how far the output moves from the unpruned network's."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """The folder of a run, or RUN/checkpoints/best, or a file: .safetensors, .net, .pth, .onnx or .fire."""
    images: Path
    """Images like those the model will see; labels are ignored. A tar or folder of classes, a parquet,
    a CSV, or a saved Hugging Face dataset."""
    html: Path | None = None
    """Write an HTML page with a plot."""


def run(arguments: list[str]) -> None:
    options = parse(ScanOptions, "firetree scan", arguments)
    pages.check(options.html)
    found = scan(options.model, options.images, progress=output.tell)
    if options.html:
        plot = pages.fragment(found)
        pages.write(options.html, "What pruning one layer does", [plot], scripts=True)
    output.show(_as_text(found))


def _as_text(found: Scan) -> str:
    """One line for each layer: the KL divergence in nats at each density."""
    rows = [
        (curve.name, f"{curve.weights:,}", *(f"{nats:.3f}" for nats in curve.nats))
        for curve in found.curves
    ]
    headings = ("layer", "weights", *(f"{density:.0%}" for density in DENSITIES))
    return tables.as_text(headings, rows, left=("layer",))
