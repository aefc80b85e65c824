"""A file's format by its content and not its name: to pick the reader, or to refuse it clearly."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from firetree.errors import UserError
from firetree.foreign import ENOUGH_BYTES, foreign

Format = Literal["fire", "safetensors", "net", "torch", "onnx"]

SUFFIXES: dict[str, Format] = {
    ".fire": "fire",
    ".safetensors": "safetensors",
    ".net": "net",
    ".pth": "torch",
    ".pt": "torch",
    ".onnx": "onnx",
}
_EXPECTED = f"expected a model ({', '.join(SUFFIXES)})"

_FORMATS: tuple[tuple[bytes, Format], ...] = (
    (b"PK\x03\x04", "torch"),
    (b"\x80\x02", "torch"),
    (b"FIRE", "fire"),
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


def format_of(path: Path) -> Format:
    """The file's format, by its first bytes, or by its name where these do not tell.

    Raises:
        UserError: no such file, or one of another kind.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; {_EXPECTED}")
    if path.suffix == ".net":
        return "net"
    try:
        with path.open("rb") as file:
            start = file.read(ENOUGH_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; {_EXPECTED}") from error
    if (what := _stranger(path, start)) is not None:
        raise UserError(f"{path} is {what}; {_EXPECTED}")
    kind = _by_content(start) or SUFFIXES.get(path.suffix)
    if kind is None:
        raise UserError(f"'{path.suffix}' of {path}; expected one of {', '.join(SUFFIXES)}")
    return kind


def _by_content(start: bytes) -> Format | None:
    """The format by first bytes; ONNX (protobuf) and `.net` have none that tell."""
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 40:
        return "safetensors"
    return next((kind for magic, kind in _FORMATS if start.startswith(magic)), None)


def _stranger(path: Path, start: bytes) -> str | None:
    """What the file is, where no reader here takes it; None where one may."""
    if (what := foreign(start, "a zip", "a pickle")) is not None:
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
    """The well-known network that these tensors' names look like, with the telling name; or None."""
    known = list(names)
    for sign, what in _NETWORKS:
        if (telling := next((name for name in known if re.search(sign, name)), None)) is not None:
            return f"{what} ({telling})"
    return None
