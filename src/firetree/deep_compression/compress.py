"""Compress a model to a `.fire`: without loss, to a budget of bytes, or as Deep Compression did."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from firetree.data.images import Stored
from firetree.deep_compression.allocate import check_budget, fit_budget
from firetree.deep_compression.calibrate import calibrate
from firetree.deep_compression.images import CALIBRATION_IMAGES, inputs_of, read_images
from firetree.deep_compression.retrain import retrain_values
from firetree.deep_compression.share import prune_and_share
from firetree.durable import check_writable, write_durably
from firetree.errors import ArgumentError, UserError
from firetree.modelfiles import Model, as_model, with_classes
from firetree.modelfiles.fire.coders import CODERS, CoderName
from firetree.modelfiles.fire.file import FireFile
from firetree.modelfiles.fire.fire import read, write
from firetree.modelfiles.fire.shared import Compressed, keep_exactly
from firetree.models.pruning import Scope
from firetree.network.units import parse_bytes
from firetree.progress import Progress, log


def compress(
    model: Model | str | Path,
    output: str | Path | None = None,
    *,
    lossless: bool = False,
    budget: str | int | None = None,
    bits: int | None = None,
    density: float = 1.0,
    scope: Scope = "layer",
    images: str | Path | None = None,
    retrain: int = 0,
    retrain_images: int = 1024,
    classes: str | Path | None = None,
    coder: CoderName = "rans",
    progress: Progress = log,
) -> FireFile:
    """Compress a model in one of three ways: `lossless`, `budget`, or `bits` with `density`.

    Args:
        model: as `load_model` takes it, or a model.
        output: the file to write; without it the `.fire` is only returned.
        lossless: keep every weight to the last bit.
        budget: the most bytes that the whole file may take, as in `"470kB"`. Bits and density of each layer
            follow from how much answers depend on its weights.
        bits: share 2^bits - 1 values in each layer, 1 to 8.
        density: with `bits`, the share of the weights that stay, by magnitude.
        scope: with `density`, whether it is the share of each layer or of all layers together.
        images: for `budget` and `retrain`, images such as the model will see, without labels: a tar or
            folder of classes, or a parquet.
        retrain: steps in which the shared values learn to answer as the uncompressed model does.
        retrain_images: how many images are kept in memory for that.
        classes: a file with one class name a line, to be stored in the `.fire`.
        coder: the entropy coder.
        progress: is told what is being done.

    Raises:
        UserError: arguments that do not go together or are out of range, a file that cannot be read, or a
            model that no `.fire` can hold.

    Example:
        >>> small = firetree.compress("net.safetensors", "small.fire", bits=6)
        >>> len(small.content) < 70_000
        True
    """
    needs_images = budget is not None or retrain > 0
    ways = {"lossless": lossless, "budget": budget is not None, "bits": bits is not None}
    given = [way for way, is_given in ways.items() if is_given]
    if not given:
        raise UserError("no way to compress is given; expected lossless, budget or bits")
    for wrong, argument, problem in (
        (len(given) > 1, given[-1], f"is given beside {given[0]}; leave one of them out"),
        (density != 1 and bits is None, "density", f"is {density} without bits; add bits"),
        (scope != "layer" and bits is None, "scope", f"is {scope} without bits; add bits"),
        (scope not in get_args(Scope), "scope", f"is {scope}; expected layer or global"),
        (coder not in CODERS, "coder", f"is {coder}; expected {' or '.join(CODERS)}"),
        (retrain < 0, "retrain", f"is {retrain}; expected 0 or more steps"),
        (lossless and retrain > 0, "retrain", "changes the weights, but lossless keeps them"),
        (retrain_images < 1, "retrain_images", f"is {retrain_images}; expected 1 or more"),
        (needs_images and images is None, "images", "is missing; budget and retrain need it"),
        (images and not needs_images, "images", "is for budget and retrain; leave it out"),
    ):
        if wrong:
            raise ArgumentError(argument, problem)
    budget_bytes = parse_bytes(budget) if isinstance(budget, str) else budget
    check_writable(Path(output) if output else None)
    model = as_model(model, progress)
    model = with_classes(model, classes) if classes else model
    stored = read_images(images, progress) if images else None
    if budget_bytes is not None and stored:
        compressed = _fitted(model, stored, budget_bytes, coder, retrain > 0, progress)
    elif bits is not None:
        compressed = prune_and_share(model, density, bits, scope)
    else:
        compressed = keep_exactly(model)
    if retrain and stored:
        x_BCHW = inputs_of(model.preprocessing, stored, retrain_images, 1, progress)
        compressed = retrain_values(compressed, model, x_BCHW, retrain, progress)
    file = _encoded(compressed, coder, budget_bytes)
    if output:
        write_durably(Path(output), file.content)
    return file


def _fitted(
    model: Model,
    stored: Stored,
    budget_bytes: int,
    coder: CoderName,
    to_be_retrained: bool,
    progress: Progress,
) -> Compressed:
    check_budget(model, budget_bytes, coder)
    x_BCHW = inputs_of(model.preprocessing, stored, CALIBRATION_IMAGES, 0, progress)
    progress(f"measuring sensitivities with {len(x_BCHW)} images")
    calibration = calibrate(model, x_BCHW)
    return fit_budget(
        model, calibration, budget_bytes, progress, coder=coder, to_be_retrained=to_be_retrained
    )


def _encoded(compressed: Compressed, coder: CoderName, budget_bytes: int | None) -> FireFile:
    """The file, read back from its bytes.

    Raises:
        UserError: it cannot be read back, or has more bytes than the budget.
    """
    content = write(compressed, coder)
    try:
        file = FireFile(content, read(content))
    except UserError as error:
        raise UserError(f"what would be written cannot be opened again: {error}") from error
    if budget_bytes is not None and len(content) > budget_bytes:
        raise ArgumentError(
            "budget",
            f"is {budget_bytes:,} bytes, but retraining led to {len(content):,}; give a smaller one",
        )
    return file
