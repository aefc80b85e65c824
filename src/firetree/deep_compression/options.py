"""`firetree compress`, `decompress` and `scan`: their options, and the way from them to files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from firetree.data import trees
from firetree.data.account import counts_as_text
from firetree.data.pictures import Stored
from firetree.data.tars import TARS
from firetree.deep_compression.allocate import check_budget, fit_budget
from firetree.deep_compression.calibrate import calibrate, inputs_of
from firetree.deep_compression.retrain import retrain
from firetree.deep_compression.scan import as_text, scan_layers
from firetree.deep_compression.share import prune_and_share
from firetree.documents import read_bytes
from firetree.durable import write_durably
from firetree.errors import UserError
from firetree.modelfiles import Published, as_safetensors, load, with_classes
from firetree.modelfiles.fire import fire
from firetree.modelfiles.fire.container import MAGIC
from firetree.modelfiles.fire.shared import Compressed, keep_exactly
from firetree.models.pruning import Scope
from firetree.network.units import parse_bytes

CALIBRATION_PICTURES = 48

Tell = Callable[[str], None]


@dataclass(frozen=True)
class CompressOptions:
    """Write a model into a small file that predicts: --lossless, --budget, or --bits and --density.

    With --budget bits and density follow for each layer from what its weights mean to the answer.
    """

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Weights: .safetensors, .net, .pth, .onnx or .fire."""
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT.fire")]
    """The file to write."""
    lossless: bool = False
    """Keep every weight to the last bit."""
    budget: str | None = None
    """The most that the whole file may take, as in 470kB. Needs --pictures."""
    bits: int | None = None
    """Share 2^bits - 1 values in each layer."""
    density: float = 1.0
    """With --bits: the share of the weights that stays, by magnitude."""
    scope: Scope = "layer"
    """With --density: whether that is the share of each layer, or of all layers together."""
    pictures: Path | None = None
    """Pictures such as the model will see, without labels: a tar or folder of classes, or a parquet."""
    retrain: int = 0
    """Steps in which the shared values learn to answer as the uncompressed model, on --pictures."""
    retrain_pictures: int = 1024
    """How many of the pictures are kept in memory for that."""
    classes: Path | None = None
    """A file with a class's name a line, to go into the file."""
    coder: Literal["rans", "huffman"] = "rans"
    """The entropy coder."""


@dataclass(frozen=True)
class DecompressOptions:
    """Write the model of a .fire as safetensors, with the same weights to the last bit."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE.fire")]
    """The compressed model."""
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT.safetensors")]
    """The file to write."""


@dataclass(frozen=True)
class ScanOptions:
    """Prune one layer after the other, and say how far the answer departs from the unpruned one."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Weights: .safetensors, .net, .pth, .onnx or .fire."""
    pictures: Path
    """Pictures such as the model will see, without labels: a tar or folder of classes, or a parquet."""
    html: Path | None = None
    """Write a page with a plot to this file."""


def open_fire(path: Path) -> Compressed:
    """Read a `.fire`.

    Raises:
        UserError: no such file, a damaged one, or one of another version.
    """
    content = read_bytes(path, "the .fire")
    try:
        return fire.read(content)
    except UserError as error:
        raise UserError(f"cannot read {path}: {error}") from error


def open_model(path: Path, tell: Tell = lambda _: None) -> Published:
    """A model from a `.fire` or from weights of any known format.

    Args:
        tell: is given a line on each thing that a reader assumed, chose or left out.

    Raises:
        UserError: as `open_fire` and `weights.load`.
    """
    if is_fire(path):
        return open_fire(path).expand()
    published = load(path)
    for note in published.notes:
        tell(f"{path}: {note}")
    return published


def is_fire(path: Path) -> bool:
    """Whether a file is a `.fire`, by its name or its content."""
    if path.suffix == ".fire" or not path.is_file():
        return path.suffix == ".fire"
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def compress(options: CompressOptions, tell: Tell) -> str:
    """Write the file; gives one line about it.

    Raises:
        UserError: options that do not go together, what they name cannot be read, or a model that no
            .fire can hold.
    """
    _check(options)
    published = open_model(options.model, tell)
    if options.classes:
        published = with_classes(published, options.classes)
    stored = _stored(options.pictures, tell) if options.pictures else None
    compressed = _compressed(options, published, stored, tell)
    if options.retrain and stored is not None:
        x_BCHW = inputs_of(published.preprocessing, stored, options.retrain_pictures, seed=1)
        compressed = retrain(compressed, published, x_BCHW, options.retrain, tell)
    content = _content(options, compressed)
    write_durably(options.output, content)
    float_bytes = 4 * sum(tensor.numel() for tensor in published.state.values())
    return (
        f"{options.output}: {len(content):,} bytes, {float_bytes / len(content):.1f} times smaller "
        "than its weights in float32"
    )


def decompress(options: DecompressOptions) -> None:
    """Write the safetensors.

    Raises:
        UserError: the file cannot be read.
    """
    write_durably(options.output, as_safetensors(open_fire(options.file).expand()))


def scan(options: ScanOptions, tell: Tell) -> str:
    """A table of the layers; writes the page.

    Raises:
        UserError: the model or the pictures cannot be read.
    """
    published = open_model(options.model, tell)
    stored = _stored(options.pictures, tell)
    x_BCHW = inputs_of(published.preprocessing, stored, CALIBRATION_PICTURES, seed=0)
    curves = scan_layers(published, x_BCHW, tell)
    if options.html:
        from firetree.deep_compression.scan_plot import as_html

        write_durably(options.html, as_html(curves).encode())
    return as_text(curves)


def _check(options: CompressOptions) -> None:
    """Raise UserError for options that do not go together, or are outside their range."""
    ways = [options.lossless, options.budget is not None, options.bits is not None]
    pruned = options.density != CompressOptions.density or options.scope != CompressOptions.scope
    needing = options.budget is not None or options.retrain > 0
    for wrong, message in (
        (
            ways.count(True) != 1,
            "expected one of --lossless, --budget SIZE, and --bits with --density",
        ),
        (
            pruned and options.bits is None,
            "--density and --scope without --bits; add --bits, or leave them out",
        ),
        (options.retrain < 0, f"--retrain {options.retrain}; expected 0 or more steps"),
        (
            options.lossless and options.retrain > 0,
            "--lossless with --retrain, which changes the weights; leave one of them out",
        ),
        (
            options.retrain_pictures < 1,
            f"--retrain-pictures {options.retrain_pictures}; expected 1 or more",
        ),
        (
            needing and options.pictures is None,
            "--budget and --retrain need pictures; add --pictures PATH",
        ),
    ):
        if wrong:
            raise UserError(message)


def _content(options: CompressOptions, compressed: Compressed) -> bytes:
    """The bytes of the file.

    Raises:
        UserError: no command would open them, or they are more than the budget.
    """
    content = fire.write(compressed, options.coder)
    try:
        fire.read(content)
    except UserError as error:
        raise UserError(f"what would be written cannot be opened again: {error}") from error
    if options.budget is not None and len(content) > (most := parse_bytes(options.budget)):
        raise UserError(
            f"{len(content):,} bytes after --retrain; expected at most {most:,}, give a smaller "
            "--budget"
        )
    return content


def _compressed(
    options: CompressOptions, published: Published, stored: Stored | None, tell: Tell
) -> Compressed:
    if options.lossless:
        return keep_exactly(published)
    if options.bits is not None:
        return prune_and_share(published, options.density, options.bits, options.scope)
    budget_bytes = parse_bytes(str(options.budget))
    check_budget(published, budget_bytes, options.coder)
    assert stored is not None  # as --budget needs --pictures
    x_BCHW = inputs_of(published.preprocessing, stored, CALIBRATION_PICTURES, seed=0)
    tell(f"measuring sensitivities with {len(x_BCHW)} pictures …")
    calibration, more = calibrate(published, x_BCHW), options.retrain > 0
    return fit_budget(
        published, calibration, budget_bytes, tell, coder=options.coder, to_be_retrained=more
    )


def _stored(path: Path, tell: Tell) -> Stored:
    if not (path.is_dir() or path.is_file()):
        raise UserError(f"no file or folder {path}; expected images")
    if path.is_dir():
        dataset = trees.read_folder(path)
    elif path.name.lower().endswith(TARS):
        dataset = trees.read_tar(path)
    else:
        from firetree.data import parquet  # pyarrow takes a while to import

        dataset = parquet.read_parquet(path, needs_labels=False)
    if any(dataset.passed_over.values()):
        tell(f"passed over: {counts_as_text(dataset.passed_over)}")
    return dataset.train
