"""Fine-tuning the published SqueezeNet v1.1 on few photographs, beside a plain PyTorch script that does the same.

For each seed, 60 pictures a class are drawn for training, and all others are the test. Both take the
recipe's epochs, batches, rates and pictures' changes; nothing was chosen on the test's pictures. Then the
network is compressed to 0.5 MB, and the file tried on the same pictures. It needs
the flowers and weights of `shared/data`, or other ones by `--pictures` (a tar, a folder a class) and `--weights`:
some 15 minutes on two cores.
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
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from firetree import models
from firetree.metrics import read_metrics
from firetree.modelfiles.loading import load_model
from firetree.training import load_recipe
from results import median_and_spread, tell, write_section

DATA = Path(__file__).parents[2] / "shared" / "data"
EACH, SIZE, BUDGET = 60, 227, "500kB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, default=DATA / "flowers" / "flowers.tar")
    weights = DATA / "weights" / "squeezenet_v1_1_caffe_fp16.safetensors"
    parser.add_argument("--weights", type=Path, default=weights)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--plain", nargs=2, metavar=("FOLDER", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        print(
            json.dumps(
                {"accuracy": plain(Path(options.plain[0]), options.weights, int(options.plain[1]))}
            )
        )
        return
    ways = "firetree train fine-tune", "plain PyTorch", f"its file, at most {BUDGET}"
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory(prefix="firetree-flowers-") as folder:
            draw(options.pictures, Path(folder), seed)
            for way, run in zip(ways, (ours, theirs, packed), strict=True):
                found[way].append(run(Path(folder), options.weights, seed))
                tell(f"seed {seed}: {way}: {found[way][-1]}")
    rows = [["", "accuracy on the other pictures, %", "minutes, evaluation included"]]
    for name, runs in found.items():
        accuracies, seconds = zip(*runs, strict=True)
        rows.append(
            [
                name,
                median_and_spread([100 * it for it in accuracies]),
                median_and_spread([it / 60 for it in seconds]),
            ]
        )
    write_section(
        "Fine-tuning on 60 pictures a class",
        "python benchmarks/fine_tuning.py",
        f"Median (least to most) of {options.seeds} seeds, each with pictures of its own, one after the other.",
        rows,
    )


def draw(pictures: Path, folder: Path, seed: int) -> None:
    """Unpack the pictures: so many of each class to train on, the others to test on."""
    with tarfile.open(pictures) as tar:
        members = [
            it
            for it in tar.getmembers()
            if it.isfile() and it.name.lower().endswith((".jpg", ".png"))
        ]
        by_class: dict[str, list[tarfile.TarInfo]] = {}
        for member in sorted(members, key=lambda it: it.name):
            by_class.setdefault(Path(member.name).parent.name, []).append(member)
        for name, them in by_class.items():
            random.Random(f"{seed} {name}").shuffle(them)
            for number, member in enumerate(them):
                target = folder / ("train" if number < EACH else "test") / name
                target.mkdir(parents=True, exist_ok=True)
                file = tar.extractfile(member)
                assert file is not None
                (target / Path(member.name).name).write_bytes(file.read())


def ours(folder: Path, weights: Path, seed: int) -> tuple[float, float]:
    """The accuracy of `firetree train fine-tune`, and how long it took."""
    run, command = folder / "run", [sys.executable, "-m", "firetree", "train", "fine-tune"]
    options = ["--model.weights", weights, "--data.path", folder, "--seed", seed, "--run-dir", run]
    epochs = load_recipe("fine-tune").optim.epochs
    start_s = time.monotonic()
    subprocess.run(
        [*command, *map(str, options), "--evaluate-epochs", str(epochs)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return read_metrics(run)[-1].accuracy or 0.0, time.monotonic() - start_s


def packed(folder: Path, *_: object) -> tuple[float, float]:
    """The accuracy of the run's network from a small file, and how long packing and trying it took."""
    file, start_s = folder / "small.fire", time.monotonic()
    command = [sys.executable, "-m", "firetree"]
    pack = ["compress", folder / "run", file, "--budget", BUDGET, "--images", folder / "train"]
    subprocess.run([*command, *map(str, pack)], check=True, stdout=subprocess.DEVNULL)
    asked = [*command, "predict", str(file), str(folder / "test"), "--labels", "--json"]
    done = subprocess.run(asked, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["top1_percent"] / 100, time.monotonic() - start_s


def theirs(folder: Path, weights: Path, seed: int) -> tuple[float, float]:
    start_s = time.monotonic()
    command = [
        sys.executable,
        __file__,
        "--weights",
        str(weights),
        "--plain",
        str(folder),
        str(seed),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return float(json.loads(done.stdout)["accuracy"]), time.monotonic() - start_s


def plain(folder: Path, weights: Path, seed: int) -> float:
    """What a person would write: a loop over pictures read by Pillow, two groups of parameters, SGD."""
    torch.manual_seed(seed)
    dice = random.Random(seed)
    recipe = load_recipe("fine-tune")
    optim, data = recipe.optim, recipe.data
    classes = sorted(it.name for it in (folder / "train").iterdir())
    train, test = (
        [(p, classes.index(p.parent.name)) for p in sorted((folder / part).rglob("*.*"))]
        for part in ("train", "test")
    )
    net = models.build("squeezenet_v1_1", classes=len(classes), channels=3, size=SIZE)
    state = {
        name: it
        for name, it in load_model(weights, progress=lambda _: None).state.items()
        if not name.startswith("conv10")
    }
    net.load_state_dict(state, strict=False)
    body = [it for name, it in net.named_parameters() if not name.startswith("conv10")]
    groups = [
        {"params": body, "lr": optim.backbone_lr},
        {"params": [*net.conv10.parameters()], "lr": optim.lr},
    ]  # type: ignore[union-attr]
    optimizer = torch.optim.SGD(
        groups, lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay
    )
    steps = optim.epochs * math.ceil(len(train) / optim.batch_size)
    warm_up = round(optim.warmup_epochs * math.ceil(len(train) / optim.batch_size))

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up))) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for _ in range(optim.epochs):
        dice.shuffle(train)
        for start in range(0, len(train), optim.batch_size):
            part = train[start : start + optim.batch_size]
            x_BCHW = torch.stack([seen(path, data.crop_scale or 1.0, dice) for path, _ in part])
            loss = cross_entropy(net(x_BCHW), torch.tensor([label for _, label in part]))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), optim.clip_norm or math.inf)
            optimizer.step()
            schedule.step()
    net.eval()
    right = 0
    with torch.inference_mode():
        for part in batches(test, 64):
            x_BCHW = torch.stack([seen(path, None, dice) for path, _ in part])
            right += int(
                (net(x_BCHW).argmax(1) == torch.tensor([label for _, label in part])).sum()
            )
    return right / len(test)


def batches(pictures: list[tuple[Path, int]], size: int) -> Iterator[list[tuple[Path, int]]]:
    for start in range(0, len(pictures), size):
        yield pictures[start : start + size]


def seen(path: Path, scale: float | None, dice: random.Random) -> Tensor:
    """A picture as Caffe's weights read it: a random part that may be mirrored, or the square at the centre."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    side = min(width, height)
    left, top, across, down = (width - side) / 2, (height - side) / 2, float(side), float(side)
    if scale is not None:
        area, ratio = (
            dice.uniform(scale, 1) * width * height,
            math.exp(dice.uniform(-1, 1) * math.log(4 / 3)),
        )
        across, down = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
        left, top = dice.uniform(0, width - across), dice.uniform(0, height - down)
    box = (left, top, left + across, top + down)
    image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
    if scale is not None and dice.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    x_HWC = np.asarray(image, np.float32)[:, :, ::-1] - np.array([104, 117, 123], np.float32)
    return torch.from_numpy(x_HWC.transpose(2, 0, 1).copy())


if __name__ == "__main__":
    main()
