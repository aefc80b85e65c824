"""Read files of `torch.save` without running any code that they name."""

from __future__ import annotations

import contextlib
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from firetree.errors import UserError

_PIECE_BYTES = 1 << 20


class Inert:
    """Takes the place of any class or function that a file names: an option, a metric, a module."""

    named = ""

    def __new__(cls, *_: object, **__: object) -> Inert:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object):
        pass

    def __setstate__(self, _: object) -> None:
        pass


def read_pth(path: Path) -> object:
    """The file's content, by torch's unpickler for tensors and containers only.

    Checkpoints also hold options, paths and metrics. Their classes are neither imported nor called:
    `Inert` takes their place.

    Raises:
        UserError: a damaged file, or a class that `Inert` cannot replace.
    """
    # A class of its own for each name, so that an error can name it.
    stand_ins: list[Any] = [
        (type("Inert", (Inert,), {"named": name}), name) for name in _named(path)
    ]
    try:
        # By name, torch would hand a .safetensors to another reader.
        _check_sums(path)
        with path.open("rb") as file, warnings.catch_warnings(), safe_globals(stand_ins):
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251
    except UserError:
        raise
    except Exception as error:  # the unpickler lets through whatever a damaged file makes of it
        raise UserError(
            f"cannot read {path}: {_reason(error)}; expected a state dict of tensors alone, as "
            "torch.save(model.state_dict(), …) writes it"
        ) from error


def _reason(error: Exception) -> str:
    """The error's first sentence, without torch's advice."""
    text = " ".join(str(error).split())
    if "Unsupported operand" in text:
        return "it is pickled by a protocol above 2 (pickle_protocol=4, say)"
    return text.partition(". ")[0][:200] or type(error).__name__


def _check_sums(path: Path) -> None:
    """Refuse an archive with changed bytes, which torch does not notice."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            return
        damaged = [entry.filename for entry in entries if not _is_whole(archive, entry)]
    # Under torch.serialization.set_crc32_options(False) all checksums are wrong.
    if 0 < len(damaged) < len(entries):
        raise UserError(
            f"{path} is damaged: {damaged[0]} has another checksum; expected the file as saved"
        )


def _is_whole(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as file:
            while file.read(_PIECE_BYTES):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def _named(path: Path) -> list[str]:
    """The classes and functions that the file names and torch does not allow by default."""
    with (
        contextlib.suppress(Exception),
        path.open("rb") as file,
    ):  # reading raises what is wrong
        return get_unsafe_globals_in_checkpoint(file)
    return ["argparse.Namespace"]  # files from before torch 1.6 do not tell
