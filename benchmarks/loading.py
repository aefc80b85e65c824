"""Images a second from a folder of JPEGs, beside a torch DataLoader with Pillow; and who waits.

Takes the flowers' tar and CIFAR-10's parquet files, by default from beside the checkout. Run it with
nothing else running: about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from firetree import data
from firetree.data import decoding
from results import median_and_spread, write_section

SHARED = Path(__file__).parents[2] / "shared" / "data"
SIZE, BATCH, REPEATS = 64, 64, 3
CHANGES = data.Augmentation(
    flip=True, crop_scale=0.35, brightness=0.2, contrast=0.2, saturation=0.2
)
"""Those of the flowers recipe."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", nargs="?", type=Path, default=SHARED)
    shared = parser.parse_args().shared
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(shared / "flowers" / "flowers.tar") as archive:
            archive.extractall(folder, filter="data")
        count, rates = measured(Path(folder, "flowers"))
    write_section(
        "Loading JPEGs",
        "python benchmarks/loading.py",
        f"Flowers, a folder of 4,317 JPEGs of about 128 pixels, {count:,} of them to train on: random parts at "
        f"{SIZE} pixels, mirrored, brightness, contrast and saturation changed, normalised, batches of "
        f"{BATCH}. Images a second and thread (DataLoader: process), medians of {REPEATS} interleaved repeats "
        "(least to most).",
        [["loader", "threads", "images/s a thread"], *rates],
    )
    write_section(
        "Waiting for data",
        "python benchmarks/loading.py",
        "Share of a step's time that workers wait for data, by the trace of `firetree train`, over one epoch.",
        [["recipe", "workers", "ms a step", "waiting"], *waiting(shared)],
    )


def measured(root: Path) -> tuple[int, list[list[str]]]:
    splits = data.load(
        "folder", root, classes=None, size=SIZE, channels=3, test_fraction=0.2, seed=0
    )
    torch.set_num_threads(1)
    ways: dict[tuple[str, int], Callable[[], Iterator[object]]] = {
        (name, threads): way(splits, threads)
        for threads in (1, 2)
        for name, way in (
            ("firetree", ours),
            ("firetree, Pillow", ours),
            ("DataLoader, Pillow", partial(theirs, root)),
        )
    }
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in ways}
    for _ in range(REPEATS):
        for (name, threads), batches in ways.items():
            with patch.object(
                decoding, "simplejpeg", decoding.simplejpeg if name == "firetree" else None
            ):
                start_s = time.perf_counter()
                for _ in batches():
                    pass
                taken_s = time.perf_counter() - start_s
            rates[name, threads].append(len(splits.train) / taken_s / threads)
            print(f"{name}, {threads}: {rates[name, threads][-1]:.0f}", flush=True)
    rows = [
        [name, str(threads), median_and_spread(rates[name, threads], 0)] for name, threads in ways
    ]
    return len(splits.train), rows


def ours(splits: data.Splits, threads: int) -> Callable[[], Iterator[object]]:
    loader = data.Loader(
        splits,
        batch_size=BATCH,
        seed=0,
        rank=0,
        world_size=1,
        augmentation=CHANGES,
        threads=threads,
    )
    return lambda: loader.training_batches(0)


def theirs(root: Path, splits: data.Splits, threads: int) -> Callable[[], Iterator[object]]:
    # With one process the main one does the work, as with one thread.
    workers = threads if threads > 1 else 0
    return lambda: iter(DataLoader(Flowers(root, splits), BATCH, shuffle=True, num_workers=workers))


class Flowers(Dataset[tuple[Tensor, int]]):
    """The same images with the same changes, one at a time, as in torchvision's examples."""

    def __init__(self, root: Path, splits: data.Splits):
        self._labels = splits.train.labels
        self._mean, self._std = (
            torch.tensor(values).view(3, 1, 1) for values in (splits.mean, splits.std)
        )
        self._files = [root / splits.train.name(index) for index in range(len(self._labels))]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self._files[index]) as file:
            image = file.convert("RGB")
        image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, random_box(*image.size))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = kind(image).enhance(random.uniform(0.8, 1.2))
        x_CHW = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (x_CHW - self._mean) / self._std, int(self._labels[index])


def random_box(width: int, height: int) -> tuple[int, int, int, int]:
    """As torchvision's RandomResizedCrop draws it."""
    for _ in range(10):
        area = width * height * random.uniform(0.35, 1)
        ratio = math.exp(random.uniform(-math.log(4 / 3), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= width and h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def waiting(shared: Path) -> Iterator[list[str]]:
    paths = {
        "cifar-squeezenet": shared / "cifar10",
        "flowers-squeezenet": shared / "flowers" / "flowers.tar",
    }
    for recipe, path in paths.items():
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                run_dir = Path(folder, "run")
                firetree(
                    *("train", recipe, "--data.path", path, "--workers", workers),
                    *("--optim.epochs", 1, "--run-dir", run_dir),
                )
                report = json.loads(firetree("report", run_dir, "--json"))
            share = report["data_wait_s"] / report["step_s"]
            yield [recipe, str(workers), f"{report['step_s'] * 1e3:.0f}", f"{share:.1%}"]


def firetree(*arguments: object) -> str:
    command = [sys.executable, "-m", "firetree", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
