"""`firetree inspect FILE.fire`: what each layer takes in the file, against the bound of its entropy."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np

from firetree import tables
from firetree.modelfiles.fire.shared import Compressed, Shared
from firetree.modelfiles.fire.streams import code_levels, groups, mask_shares, runs_across
from firetree.modelfiles.fire.tables import TOTAL, Ints, entropy_bits, from_levels, mask_frequencies


@dataclass(frozen=True, slots=True)
class Layer:
    """A tensor with codes. Bytes are those of its symbols at the frequencies that the file tells."""

    name: str
    weights: int
    density: float
    """The share of weights that are not zero."""
    values: int
    """Of the codebook."""
    bits: float
    """A weight that is not zero takes in codes."""
    mask_bytes: float
    code_bytes: float
    bound_bytes: float
    """The entropy of zeros and codes, each on its own."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """The layers with codes, and what there is besides."""

    network: str
    file_bytes: int
    other_numbers: int
    """Of tensors that are kept as they are."""
    layers: tuple[Layer, ...]


def inspect(compressed: Compressed, file_bytes: int) -> Inspection:
    """Count what the streams of a file hold."""
    tensors = compressed.tensors
    layers = [_layer(name, one) for name, one in tensors.items() if isinstance(one, Shared)]
    other = sum(one.numel() for one in tensors.values() if not isinstance(one, Shared))
    return Inspection(compressed.model.network, file_bytes, other, tuple(layers))


def as_json(found: Inspection) -> str:
    """The fields of `Inspection` and `Layer` by their names."""
    return json.dumps(asdict(found), indent=1)


def as_text(found: Inspection) -> str:
    """A line a layer, and what they come to."""
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
    table = tables.as_text((*headings, "entropy B"), rows, left=("layer",))
    streams = sum(layer.mask_bytes + layer.code_bytes for layer in found.layers)
    bound = sum(layer.bound_bytes for layer in found.layers)
    return (
        f"{table}\n\n{found.network}: {found.file_bytes:,} bytes; {streams:,.0f} of them for masks "
        f"and codes, whose entropy is {bound:,.0f}; {found.other_numbers:,} numbers as they are"
    )


def _layer(name: str, tensor: Shared) -> Layer:
    mask = groups(tensor, runs_across(tensor))
    codes = tensor.codes[tensor.codes > 0].astype(np.int64) - 1
    kept, weights = len(codes), len(tensor.codes)
    code_bits = _bits(codes, from_levels(code_levels([codes]))[0])
    bound = entropy_bits(np.array([kept, weights - kept])) + entropy_bits(np.bincount(codes))
    return Layer(
        name,
        weights,
        tensor.density,
        len(tensor.codebook),
        code_bits / max(kept, 1),
        _bits(mask, mask_frequencies(mask_shares([mask]))[0]) / 8,
        code_bits / 8,
        bound / 8,
    )


def _bits(symbols: Ints, freq_A: Ints) -> float:
    return float(np.log2(TOTAL / freq_A[symbols]).sum())
