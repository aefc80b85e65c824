"""What it costs to observe a DDP script, and to let firetree choose how it sums, on equal links.

Each measurement is a job of its own, as marks on a process's optimisers and loaders stay there. Jobs take
turns: DDP alone, `attach(…, "observe", run_dir=…)`, `attach(…, "auto")`. Needs root for the lab, and
nothing else on the machine: about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import firetree
from firetree import models
from results import median_and_spread, tell, write_section

MODES = ("ddp", "observe", "auto")
PLACES = {
    "2 ranks, loopback": "--hosts 1 -- torchrun --standalone --nproc-per-node 2 --no-python",
    "2 hosts, 1 Gbit/s": "--hosts 2 --rate 1gbit --",
    "4 hosts, 200 Mbit/s": "--hosts 4 --rate 200mbit --",
}
CELLS = (
    ("three layers, 0.3 MB", "2 ranks, loopback"),
    ("squeezenet_v1_1, 32×32", "2 ranks, loopback"),
    ("squeezenet_v1_1, 32×32", "2 hosts, 1 Gbit/s"),
    ("ten layers, 10 MB", "2 hosts, 1 Gbit/s"),
    ("ten layers, 10 MB", "4 hosts, 200 Mbit/s"),
)
WARM_UP, SECONDS, BATCH = 10, 4.0, 16

NETWORKS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "three layers, 0.3 MB": lambda: (
        nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.Linear(256, 10)),
        torch.randn(64 * BATCH, 64),
    ),
    "squeezenet_v1_1, 32×32": lambda: (
        models.build("squeezenet_v1_1", classes=10, channels=3, size=32),
        torch.randn(64 * BATCH, 3, 32, 32),
    ),
    "ten layers, 10 MB": lambda: (
        nn.Sequential(
            nn.Linear(256, 528), *(nn.Linear(528, 528) for _ in range(8)), nn.Linear(528, 10)
        ),
        torch.randn(64 * BATCH, 256),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--job", nargs=2, metavar=("NETWORK", "MODE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        measure(*options.job)
        return
    rows = [
        ["network", "where", "DDP's ms a step", *(f"{mode}, ratio to DDP" for mode in MODES[1:])]
    ]
    rows += [table_row(*cell, options.repeats) for cell in CELLS]
    write_section(
        "What observing and choosing cost",
        "python benchmarks/observing.py",
        f"Median (least to most) of {options.repeats} repeats, in each of which every mode has a job of its "
        f"own of {SECONDS:g} s, one after another; ratios are taken within each repeat. A job's time is "
        "the median of its steps.",
        rows,
    )


def table_row(network: str, place: str, repeats: int) -> list[str]:
    tell(f"{network}, {place}")
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    for repeat in range(repeats):
        for mode in MODES[repeat % 3 :] + MODES[: repeat % 3]:
            seconds[mode].append(run_job(place, network, mode))
    ms = [1e3 * value for value in seconds["ddp"]]
    ratios = [
        [a / b for a, b in zip(seconds[mode], seconds["ddp"], strict=True)] for mode in MODES[1:]
    ]
    return [network, place, median_and_spread(ms), *map(median_and_spread, ratios)]


def run_job(place: str, network: str, mode: str) -> float:
    """The median step of a job, in seconds."""
    commands = Path(sys.executable).parent
    lab = [str(commands / "firetree"), "lab", *PLACES[place].split()]
    job: Sequence[str] = [sys.executable, __file__, "--job", network, mode]
    with tempfile.TemporaryDirectory() as folder:
        path = f"{commands}{os.pathsep}{os.environ['PATH']}"
        environment = {
            **os.environ,
            "PATH": path,
            "OMP_NUM_THREADS": "1",
            "RUN_DIR": f"{folder}/run",
        }
        done = subprocess.run([*lab, *job], env=environment, stdout=subprocess.PIPE, check=True)
    marked = next(line for line in done.stdout.decode().splitlines() if "{" in line)
    return float(json.loads(marked[marked.index("{") :])["step_s"])


def measure(network: str, mode: str) -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    net, x_NF = NETWORKS[network]()
    model = DistributedDataParallel(net)
    if mode == "observe":
        firetree.attach(model, "observe", run_dir=os.environ["RUN_DIR"])
    elif mode == "auto":
        firetree.attach(model, "auto")
    steps_s = train(model, x_NF)
    if dist.get_rank() == 0:
        print(json.dumps({"step_s": median(steps_s[WARM_UP:])}), flush=True)
    dist.destroy_process_group()


def train(model: nn.Module, x_NF: Tensor) -> list[float]:
    """The seconds of each step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    loader = DataLoader(TensorDataset(x_NF, torch.zeros(len(x_NF), dtype=torch.int64)), BATCH)
    steps_s: list[float] = []
    over = torch.zeros(1)
    while not over.item():
        before_s = time.perf_counter()
        for x_BF, y_B in loader:
            optimizer.zero_grad()
            cross_entropy(model(x_BF), y_B).backward()
            optimizer.step()
            now_s = time.perf_counter()
            steps_s.append(now_s - before_s)
            before_s = now_s
        over += sum(steps_s) > SECONDS
        dist.all_reduce(over, dist.ReduceOp.MAX)
    return steps_s


if __name__ == "__main__":
    main()
