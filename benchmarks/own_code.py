"""One worker of `firetree train` beside a plain loop, on networks, data and losses of a user's own.

The examples of `examples/own/`, with data of CIFAR-10's shape, a text of 400 kB, and made-up houses. Each plain loop is
what a person would write: torch's DataLoader, the same network, loss, optimiser and batch. Run it with
nothing else running: about eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from firetree.trace import read_trace
from loops import step_s
from results import median_and_spread, tell, write_section

OWN = Path(__file__).parents[1] / "examples" / "own"
STEPS, REPEATS = 120, 5
sys.path.insert(0, str(OWN))


@dataclass(frozen=True)
class Case:
    """An example: its options for firetree, and the parts of its plain loop."""

    options: tuple[str, ...]
    batch: int
    lr: float
    parts: Callable[[Path], tuple[nn.Module, Any, Callable[[Any], Any]]]
    """From the folder of its data to the network, a dataset, and a batch's loss."""
    adam: bool = True


def resnet(folder: Path) -> tuple[nn.Module, Any, Callable[[Any], Any]]:
    import resnet as own

    net = own.build()
    with np.load(folder / "cifar10.npz") as arrays:
        x_NHWC, y_N = arrays["train_x"], arrays["train_y"]
    x_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).float().sub_(128).div_(64).contiguous()
    return net, TensorDataset(x_NCHW, torch.from_numpy(y_N)), _classified(net)


def gpt(folder: Path) -> tuple[nn.Module, Any, Callable[[Any], Any]]:
    import gpt as own

    net = own.GPT()
    return net, own.text(str(folder / "README.md")), _classified(net)


def prices(folder: Path) -> tuple[nn.Module, Any, Callable[[Any], Any]]:
    import prices as own

    net = own.Guess()
    return (
        net,
        own.Houses(4000),
        lambda it: own.loss(net(it["picture"], it["numbers"]), it["target"]).mean(),
    )


def _classified(net: nn.Module) -> Callable[[Any], Any]:
    return lambda batch: cross_entropy(net(batch[0]).flatten(0, -2), batch[1].flatten())


IMAGES = ("--data.path", "cifar10.npz", "--data.crop-padding", "0", "--data.no-flip")
CASES = {
    "resnet": Case((*IMAGES, "--optim.clip-norm", "None"), 64, 0.1, resnet, adam=False),
    "gpt": Case(("--optim.clip-norm", "None"), 16, 1e-3, gpt),
    "prices": Case(
        ("--optim.clip-norm", "None", "--data.arguments", "{count = 4000}"), 64, 3e-3, prices
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--plain", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        print(json.dumps(plain(CASES[options.plain[0]], Path(options.plain[1]))))
        return
    rows = [
        ["example", "plain loop, ms a step", "firetree, ms a step", "firetree's speed against it"]
    ]
    with tempfile.TemporaryDirectory(prefix="firetree-own-") as folder:
        make_data(Path(folder))
        for name in CASES:
            times_s: dict[str, list[float]] = {"plain": [], "firetree": []}
            for _ in range(options.repeats):
                times_s["plain"].append(in_a_process(name, Path(folder)))
                times_s["firetree"].append(ours(name, Path(folder)))
                tell(f"{name}: {[f'{1e3 * it[-1]:.1f} ms' for it in times_s.values()]}")
            ratios = [a / b for a, b in zip(*times_s.values(), strict=True)]
            ms = [median_and_spread([1e3 * it for it in some], 1) for some in times_s.values()]
            rows.append([name, *ms, median_and_spread(ratios, 2)])
    write_section(
        "One worker on code of the user's own",
        "python benchmarks/own_code.py",
        f"The examples of `examples/own/` beside plain loops; {STEPS} steps, the mean from the 11th on; medians of "
        f"{options.repeats} interleaved repeats (least to most), ratios within a repeat.",
        rows,
    )


def make_data(folder: Path) -> None:
    luck = np.random.default_rng(0)
    arrays = {"train_x": luck.integers(0, 256, (10_000, 32, 32, 3), np.uint8)}
    arrays |= {"train_y": luck.integers(0, 10, 10_000), "test_x": arrays["train_x"][:64]}
    np.savez(folder / "cifar10.npz", **arrays, test_y=arrays["train_y"][:64])
    (folder / "README.md").write_bytes(luck.integers(97, 123, 400_000, np.uint8).tobytes())


def ours(name: str, folder: Path) -> float:
    case = CASES[name]
    with tempfile.TemporaryDirectory() as run:
        command = [sys.executable, "-m", "firetree", "train", OWN / f"{name}.toml", *case.options]
        command += [
            "--optim.batch-size",
            case.batch,
            "--optim.steps",
            STEPS,
            # Evaluations, which the plain loop has not, come after the last step.
            "--evaluate-epochs",
            STEPS,
            "--run-dir",
            f"{run}/run",
        ]
        done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        return step_s([step.start_s for step in read_trace(Path(run, "run")).ranks[0].steps])


def in_a_process(name: str, folder: Path) -> float:
    command = [sys.executable, __file__, "--plain", name, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout))


def plain(case: Case, folder: Path) -> float:
    torch.manual_seed(0)
    net, dataset, loss_of = case.parts(folder)
    if case.adam:
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(net.parameters(), case.lr, fused=True)
    else:
        optimizer = torch.optim.SGD(net.parameters(), case.lr, momentum=0.9, fused=True)
    loader, starts_s = DataLoader(dataset, case.batch, shuffle=True), list[float]()
    for _ in range(math.ceil(STEPS / len(loader))):
        for batch in loader:
            loss = loss_of(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if not math.isfinite(loss.item()):
                raise SystemExit("the loss is not finite")
            starts_s.append(time.monotonic())
    return step_s(starts_s[:STEPS])


if __name__ == "__main__":
    main()
