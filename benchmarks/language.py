"""One worker of `firetree train gpt` beside a plain loop, as nanoGPT's: symbols a second.

Both train the recipe's network on the same text in batches of the same size, with dropout, AdamW, clipping
and a rate that changes with each step. The plain loop takes a batch at random places of the text. The text
is Python's own standard library, or another one by `--text`. Run it with nothing else running: about five
minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from firetree.models import language
from firetree.trace import read_trace
from firetree.training import load_recipe
from loops import step_s
from results import median_and_spread, tell, write_section

RECIPE = load_recipe("gpt")
MOST_BYTES = 2_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, help="a file")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        print(json.dumps({"step_s": step_s(plain(options.text, options.steps))}))
        return
    with tempfile.TemporaryDirectory(prefix="firetree-language-") as folder:
        text = options.text or standard_library(Path(folder))
        ways: dict[str, Callable[[Path, int], float]] = {
            "firetree train gpt": ours,
            "plain": theirs,
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, measured_step_s in ways.items():
                symbols = RECIPE.optim.batch_size * RECIPE.data.length
                rates[name].append(symbols / measured_step_s(text, options.steps))
                tell(f"{name}: {rates[name][-1]:,.0f} symbols a second")
    pairs = zip(*rates.values(), strict=True)
    write_section(
        "A language model's worker beside a plain loop",
        "python benchmarks/language.py",
        f"The recipe gpt, float32, batches of {RECIPE.optim.batch_size} samples of {RECIPE.data.length} "
        f"bytes; {options.steps} steps, the mean from the 11th on; median (least to most) of "
        f"{options.repeats} interleaved repeats. The ratio is that of each repeat: "
        f"{median_and_spread([one / other for one, other in pairs])}.",
        [
            ["loop", "symbols a second", "firetree's speed against it"],
            *(
                [
                    name,
                    median_and_spread(them, 0),
                    f"{median(rates['firetree train gpt']) / median(them):.2f}",
                ]
                for name, them in rates.items()
            ),
        ],
    )


def standard_library(folder: Path) -> Path:
    """A file with the first modules of Python's standard library."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = b"".join(path.read_bytes() for path in modules)[:MOST_BYTES]
    file = folder / "text.txt"
    file.write_text(text.decode(errors="ignore"))
    return file


def ours(text: Path, steps: int) -> float:
    """Seconds of a step of `firetree train`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "firetree", "train", "gpt", "--data.path", str(text)]
        # A test set of a few samples, so that nothing but training is timed.
        command += ["--data.test-fraction", "0.001", "--optim.steps", str(steps)]
        command += ["--run-dir", f"{folder}/run"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return step_s([step.start_s for step in read_trace(Path(folder, "run")).ranks[0].steps])


def theirs(text: Path, steps: int) -> float:
    command = [sys.executable, __file__, "--plain", "--text", str(text), "--steps", str(steps)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environ)
    return float(json.loads(done.stdout)["step_s"])


def plain(text: Path, steps: int) -> list[float]:
    """When each step begins in the loop of nanoGPT's train.py, without what it prints and saves."""
    torch.manual_seed(0)
    optim, length = RECIPE.optim, RECIPE.data.length
    data = np.frombuffer(text.read_bytes(), np.uint8)
    model = language.build(**asdict(RECIPE.model), symbols=256, length=length)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=optim.lr, weight_decay=optim.weight_decay, fused=True
    )

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        starts = torch.randint(len(data) - length, (optim.batch_size,)).tolist()
        x = torch.stack([torch.from_numpy(data[i : i + length].astype(np.int64)) for i in starts])
        y = torch.stack(
            [torch.from_numpy(data[i + 1 : i + 1 + length].astype(np.int64)) for i in starts]
        )
        return x, y

    starts_s = []
    for step in range(steps):
        starts_s.append(time.perf_counter())
        for group in optimizer.param_groups:
            group["lr"] = optim.lr * (1 + math.cos(math.pi * step / steps)) / 2
        x, y = batch()
        loss = cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm or math.inf)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return starts_s


if __name__ == "__main__":
    main()
