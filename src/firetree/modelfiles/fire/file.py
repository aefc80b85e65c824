"""A `.fire` in memory: its bytes, its model, and each layer's bytes beside its entropy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from firetree.documents import read_bytes
from firetree.durable import check_writable, write_durably
from firetree.errors import UserError
from firetree.modelfiles.fire.fire import read
from firetree.modelfiles.fire.shared import Compressed, Shared
from firetree.modelfiles.fire.streams import code_levels, groups, mask_shares, runs_across
from firetree.modelfiles.fire.tables import TOTAL, Ints, entropy_bits, from_levels, mask_frequencies
from firetree.modelfiles.model import Model
from firetree.modelfiles.safetensors_file import as_safetensors
from firetree.shown import Shown


@dataclass(frozen=True, slots=True)
class FireLayer:
    """A tensor with codes. Its bytes follow from the frequencies in the file's tables."""

    name: str
    weights: int
    density: float
    """The share of weights that are not zero."""
    values: int
    """Of the codebook."""
    bits: float
    """Mean bits of a non-zero weight's code."""
    mask_bytes: float
    code_bytes: float
    bound_bytes: float
    """The entropy of zeros and codes, each on its own."""


@dataclass(frozen=True, eq=False, repr=False)
class FireFile(Shown):
    """A compressed model: the bytes of its `.fire`, and what they hold."""

    content: bytes
    compressed: Compressed

    def __repr__(self) -> str:
        return f"FireFile({self.network}, {len(self.content):,} bytes, {self.times_smaller:.1f} times smaller)"

    @property
    def network(self) -> str:
        return self.compressed.model.network

    @cached_property
    def model(self) -> Model:
        """The model with the file's weights."""
        return self.compressed.expand()

    @property
    def times_smaller(self) -> float:
        """How many times smaller the file is than the weights in float32."""
        return 4 * self.model.parameter_count / len(self.content)

    @cached_property
    def layers(self) -> tuple[FireLayer, ...]:
        """The tensors with codes."""
        tensors = self.compressed.tensors.items()
        return tuple(_layer(name, one) for name, one in tensors if isinstance(one, Shared))

    @property
    def other_numbers(self) -> int:
        """How many numbers tensors without codes have."""
        tensors = self.compressed.tensors.values()
        return sum(one.numel() for one in tensors if not isinstance(one, Shared))


def read_fire(path: Path) -> FireFile:
    """Read a file.

    Raises:
        UserError: no such file, a damaged one, or one of another version.
    """
    content = read_bytes(path, "the .fire")
    try:
        return FireFile(content, read(content))
    except UserError as error:
        raise UserError(f"cannot read {path}: {error}") from error


def decompress(file: str | Path, output: str | Path) -> Model:
    """Write the model of a `.fire` as safetensors, with the same weights to the last bit.

    Args:
        file: the `.fire`.
        output: the file to write.

    Returns:
        The model that was written.

    Raises:
        UserError: the file cannot be read, or the output not be written.

    Example:
        >>> firetree.decompress("small.fire", "small.safetensors")
        Model(squeezenet_small, 70,138 parameters, 10 classes)
    """
    check_writable(Path(output))
    model = read_fire(Path(file)).model
    write_durably(Path(output), as_safetensors(model))
    return model


def _layer(name: str, tensor: Shared) -> FireLayer:
    mask = groups(tensor, runs_across(tensor))
    codes = tensor.codes[tensor.codes > 0].astype(np.int64) - 1
    kept, weights = len(codes), len(tensor.codes)
    code_bits = _bits(codes, from_levels(code_levels([codes]))[0])
    bound = entropy_bits(np.array([kept, weights - kept])) + entropy_bits(np.bincount(codes))
    return FireLayer(
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
