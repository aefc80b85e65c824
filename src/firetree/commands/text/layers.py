"""The layers of a model as a table: shapes, costs, or bytes in a `.fire`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from firetree.commands import tables
from firetree.modelfiles import Model
from firetree.modelfiles.fire.file import FireFile
from firetree.modelfiles.inspection import Inspection
from firetree.models.cost import FLOAT_BYTES


class LayerTable(NamedTuple):
    """A row for each layer, and a line with the totals."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: str


def as_text(found: Model | Inspection | FireFile) -> str:
    """The table, and the totals below it."""
    headings, rows, total = layer_table(found)
    return f"{tables.as_text(headings, rows, left=('layer', 'kind'))}\n\n{total}"


def layer_table(found: Model | Inspection | FireFile) -> LayerTable:
    """The table for any kind of value with layers."""
    match found:
        case Model():
            return _model(found)
        case Inspection():
            return _inspection(found)
        case FireFile():
            return _fire_file(found)


def _model(found: Model) -> LayerTable:
    rows = [
        (name, " × ".join(map(str, tensor.shape)), f"{tensor.numel():,}")
        for name, tensor in found.state.items()
    ]
    return LayerTable(("layer", "shape", "parameters"), rows, repr(found))


def _inspection(found: Inspection) -> LayerTable:
    rows = [
        (
            layer.name,
            layer.kind,
            f"{layer.weight_bytes // FLOAT_BYTES:,}",
            f"{layer.flops / 1e6:,.1f}",
            f"{layer.activations * found.batch:,}",
        )
        for layer in found.cost.layers
    ]
    total = (
        f"{found.model}: {found.parameters:,} parameters, "
        f"|W| {found.cost.weight_bytes / 1e6:,.1f} MB; {found.cost.flops / 1e9:.2f} Gflop a sample "
        f"forward; |D| {found.activation_bytes / 1e6:,.1f} MB for a batch of {found.batch}"
    )
    return LayerTable(("layer", "kind", "parameters", "Mflop", "activations"), rows, total)


def _fire_file(found: FireFile) -> LayerTable:
    rows = [
        (
            layer.name,
            f"{layer.weights:,}",
            f"{100 * layer.density:.1f}",
            f"{layer.values}",
            f"{layer.bits:.2f}",
            f"{layer.mask_bytes:,.0f}",
            f"{layer.code_bytes:,.0f}",
            f"{layer.bound_bytes:,.0f}",
        )
        for layer in found.layers
    ]
    headings = ("layer", "weights", "density %", "values", "bits a code", "mask B", "codes B")
    streams = sum(layer.mask_bytes + layer.code_bytes for layer in found.layers)
    bound = sum(layer.bound_bytes for layer in found.layers)
    total = (
        f"{found.network}: {len(found.content):,} bytes, {streams:,.0f} of them masks and codes with an "
        f"entropy of {bound:,.0f}; {found.other_numbers:,} values are uncompressed"
    )
    return LayerTable((*headings, "entropy B"), rows, total)
