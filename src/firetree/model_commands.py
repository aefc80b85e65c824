"""The commands about finished models: predict, compress, decompress, scan, export, and inspect of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree import compress, export, inspect, models, predict, weights
from firetree.arguments import parse
from firetree.durable import check_writable, write_durably
from firetree.output import show, tell

COMMANDS = ("predict", "compress", "decompress", "scan", "export", "inspect")


@dataclass(frozen=True)
class ExportOptions:
    """Write a model as ONNX, with its preprocessing and class names in the file's metadata."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A .fire, or weights: .safetensors, .net or .pth."""
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT.onnx")]
    """The file to write."""


def run(command: str, arguments: list[str]) -> None:
    """Run one of `COMMANDS`."""
    match command:
        case "predict":
            show(predict.run(parse(predict.PredictOptions, "firetree predict", arguments), tell))
        case "compress":
            _compress(arguments)
        case "decompress":
            compress.decompress(parse(compress.DecompressOptions, "firetree decompress", arguments))
        case "scan":
            _scan(arguments)
        case "export":
            _export(arguments)
        case _:
            _inspect(arguments)


def _compress(arguments: list[str]) -> None:
    options = parse(compress.CompressOptions, "firetree compress", arguments)
    check_writable(options.output)
    show(compress.compress(options, tell))


def _scan(arguments: list[str]) -> None:
    options = parse(compress.ScanOptions, "firetree scan", arguments)
    check_writable(options.html)
    show(compress.scan(options, tell))


def _export(arguments: list[str]) -> None:
    options = parse(ExportOptions, "firetree export", arguments)
    check_writable(options.output)
    write_durably(options.output, export.as_onnx(compress.open_model(options.model, tell)))


def _inspect(arguments: list[str]) -> None:
    options = parse(inspect.InspectOptions, "firetree inspect", arguments)
    path = Path(options.model)
    if compress.is_fire(path):
        held = compress.inspect(compress.open_fire(path), path.stat().st_size)
        show(compress.as_json(held) if options.json else compress.as_text(held))
        return
    if path.exists() and options.model not in models.names():
        published = compress.open_model(path, tell)
        network, example = weights.build(published), weights.example(published, options.size)
        found = inspect.inspect_network(options, network, example)
    else:
        found = inspect.inspect(options)
    show(inspect.as_json(found) if options.json else inspect.as_text(found))
