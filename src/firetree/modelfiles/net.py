"""The published compressed SqueezeNet v1.0: its `.net` file (Han et al. 2016, arXiv 1510.00149).

The file starts with 26 uint32 counts of entries, in the order of the layers. Each layer then has a codebook
of 256 float32 and its biases in float32. Each entry has a code of one byte. Its gap has four bits, the low
half of a byte first. An entry is gap + 1 positions after the one before. A run of more than 15 zeros
contains entries that are zero themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from firetree.documents import read_bytes
from firetree.errors import UserError
from firetree.modelfiles.model import Model, shapes
from firetree.modelfiles.preprocessing import CAFFE

NETWORK = "squeezenet_v1_0"
_CODEBOOK = 256


def read_net(path: Path) -> Model:
    """Read the file.

    Raises:
        UserError: unreadable, cut off, longer than it says, or with entries behind a layer's end.
    """
    content = read_bytes(path, "the .net")
    expected = list(shapes(NETWORK, {}, classes=1000, channels=3, size=CAFFE.crop).items())
    layers = list(zip(expected[::2], expected[1::2], strict=True))
    reader = _Reader(content, path)
    counts = reader.take("<u4", len(layers)).astype(np.int64).tolist()
    state: dict[str, Tensor] = {}
    for ((weight, shape), (bias, bias_shape)), count in zip(layers, counts, strict=True):
        codebook = reader.take("<f4", _CODEBOOK)
        biases = reader.take("<f4", bias_shape[0])
        codes = reader.take("u1", count)
        pairs = reader.take("u1", (count + 1) // 2)
        gaps = np.stack([pairs & 15, pairs >> 4], axis=1).ravel()[:count]
        places = np.cumsum(gaps.astype(np.int64) + 1) - 1
        dense = np.zeros(int(np.prod(shape)), np.float32)
        if count and places[-1] >= len(dense):
            raise UserError(f"{path} is damaged: {weight} has an entry at {places[-1]}")
        dense[places] = codebook[codes]
        state[weight] = torch.from_numpy(dense.reshape(shape))
        state[bias] = torch.from_numpy(biases.astype(np.float32))
    if reader.place != len(content):
        raise UserError(
            f"{path} is damaged: {len(content)} bytes; expected {reader.place} by its counts"
        )
    return Model(NETWORK, state, CAFFE)


class _Reader:
    """Takes arrays from the front of the file's bytes."""

    def __init__(self, content: bytes, path: Path):
        self._content = content
        self._path = path
        self.place = 0

    def take(self, kind: str, count: int) -> npt.NDArray[Any]:
        length = np.dtype(kind).itemsize * count
        if self.place + length > len(self._content):
            raise UserError(
                f"{self._path} is cut off: {len(self._content)} bytes; expected at least "
                f"{self.place + length}"
            )
        array = np.frombuffer(self._content, kind, count, self.place)
        self.place += length
        return array
