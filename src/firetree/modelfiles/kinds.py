"""What a file is, by what is in it and not by its name: for those to be read, and for a clear refusal."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

Format = Literal["torch", "safetensors", "fire", "unknown"]

_FORMATS: tuple[tuple[bytes, Format], ...] = (
    (b"PK\x03\x04", "torch"),
    (b"\x80\x02", "torch"),
    (b"FIRE", "fire"),
)
_FOREIGN = (
    (0, b"\x89HDF", "a Keras model in HDF5"),
    (0, b"GGUF", "a GGUF of llama.cpp"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file itself; run git lfs pull"),
    (0, b"<!DOCTYPE", "a web page, not the file itself; download it again"),
    (0, b"<html", "a web page, not the file itself; download it again"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x1f\x8b", "compressed by gzip; run gunzip on it"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (257, b"ustar", "a tar; unpack it, and name a file of weights"),
)
_ARCHIVES = (
    (r"(^|/)constants\.pkl$", "a TorchScript archive"),
    (r"(^|/)(archive_format|models/model\.json)$", "a program of torch.export"),
    (r"\.npy$", "a NumPy archive"),
    (r"^model\.weights\.h5$", "a Keras model"),
)
_NETWORKS = (
    (
        r"lora_[AB]\b|lora_(up|down)|\.adapter",
        "the adapters of a LoRA, without the model they adapt",
    ),
    (r"(^|\.)(exp_avg|momentum_buffer)(\.|$)", "an optimizer's state"),
    (r"(^|\.)layer[1-4]\.\d+\.conv\d", "a ResNet"),
    (r"denseblock\d", "a DenseNet"),
    (r"(^|\.)Mixed_\d|(^|\.)inception\d[a-e]", "an Inception network"),
    (r"depthwise_conv|conv_dw\.|(^|\.)features\.\d+\.block\.|conv_stem", "an EfficientNet"),
    (r"(^|\.)features\.\d+\.(conv\.)?0\.(0\.)?weight", "a MobileNet"),
    (r"stages\.\d+\.(blocks\.)?\d+\.(dwconv|conv_dw|block)", "a ConvNeXt"),
    (r"patch_embed|cls_token|class_token|encoder_layer_0", "a vision transformer"),
    (r"embed_tokens|word_embeddings|(^|\.)wte\.|self_attn|attention\.self", "a language model"),
    (r"down_blocks\.|(^|\.)unet\.", "a diffusion model"),
    (r"running_mean$", "a network with batch normalisation"),
)


def format_of(start: bytes) -> Format:
    """Which reader a file is for, by its first bytes; protobuf and `.net` have none that tell."""
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 40:
        return "safetensors"
    return next((found for magic, found in _FORMATS if start.startswith(magic)), "unknown")


def foreign(path: Path, start: bytes) -> str | None:
    """What a file is that nothing here reads; None for one that may be read.

    Args:
        start: its first bytes, 512 or more where it has so many.
    """
    if not start:
        return "empty"
    for place, magic, what in _FOREIGN:
        if start[place:].startswith(magic):
            return what
    if start.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, ValueError):
            return "a damaged zip archive"
        return next((w for sign, w in _ARCHIVES if any(re.search(sign, n) for n in names)), None)
    return None


def network_like(names: Iterable[str]) -> str | None:
    """Which well-known network names of tensors look like, with the name that tells; None for none."""
    known = list(names)
    for sign, what in _NETWORKS:
        if (telling := next((name for name in known if re.search(sign, name)), None)) is not None:
            return f"{what} ({telling})"
    return None
