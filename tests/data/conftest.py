"""Real image files to read, and the larger data sets where they are on this machine."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """Where a data set lies; skips the test where it does not."""

    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"needs {SHARED / name}")
        return SHARED / name

    return find


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """The bytes of an image file; `value` decides its pixels."""

    def to_bytes(value: int = 0, width: int = 12, height: int = 12, kind: str = "PNG") -> bytes:
        pixels = np.random.default_rng(value).integers(0, 256, (height, width, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        return file.getvalue()

    return to_bytes


@pytest.fixture
def write_npz(tmp_path: Path) -> Callable[..., Path]:
    """An .npz file with 12 training and 4 test images, 8x8 grey; arrays can be replaced."""

    def write(**arrays: object) -> Path:
        rng = np.random.default_rng(0)
        whole = {
            "train_x": rng.integers(0, 256, (12, 8, 8), np.uint8),
            "train_y": np.arange(12, dtype=np.uint8) % 3,
            "test_x": rng.integers(0, 256, (4, 8, 8), np.uint8),
            "test_y": np.arange(4, dtype=np.uint8) % 3,
        }
        kept = {key: value for key, value in {**whole, **arrays}.items() if value is not None}
        np.savez(tmp_path / "data.npz", **kept)
        return tmp_path / "data.npz"

    return write


@pytest.fixture
def write_folder(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """A folder that holds these files."""

    def write(files: dict[str, bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "tree"

    return write


@pytest.fixture
def write_tar(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """A tar that holds these files."""

    def write(files: dict[str, bytes]) -> Path:
        with tarfile.open(tmp_path / "data.tar", "w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return tmp_path / "data.tar"

    return write


@pytest.fixture
def write_parquet(tmp_path: Path) -> Callable[..., Path]:
    """A parquet file in `tmp_path / "parquet"` with encoded images, and labels 0 1 2 0 1 2 …"""

    def write(contents: list[bytes | None], name: str = "train-0000.parquet") -> Path:
        images = pa.array([{"bytes": content, "path": "x.png"} for content in contents])
        labels = pa.array([index % 3 for index in range(len(contents))], pa.int64())
        path = tmp_path / "parquet" / name
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"img": images, "label": labels}), path)
        return path

    return write
