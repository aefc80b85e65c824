"""Step time of DDP with our hook against DDP's own all-reduce over Gloo, on unshaped loopback.

Every network is trained by all ways of synchronising in turn, on the same processes, so that the
ratios compare steps taken within the same second. Run it with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import firetree
from firetree import models
from results import median_and_spread, write_section

PEER = "DDP's own (Gloo)"
WAYS = ("binomial_tree", "kary_tree:7", "ring", "gloo")
WORLD_SIZES = (2, 4)
REPEATS, STEPS, WARM_UP = 9, 4, 4
BATCH = 64

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "squeezenet_small, 8×8": (
        lambda: models.build("squeezenet_small", classes=10, channels=1, size=8),
        (1, 8, 8),
    ),
    "squeezenet_v1_1, 32×32": (
        lambda: models.build("squeezenet_v1_1", classes=10, channels=3, size=32),
        (3, 32, 32),
    ),
    "three layers of 10 MB": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(256, 1500), nn.Linear(1500, 1400), nn.Linear(1400, 10)
        ),
        (1, 16, 16),
    ),
    "one layer of 1 kB": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(25, 10)), (1, 5, 5)),
}

Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of an older version, run as well")
    before = parser.parse_args().before
    if "RANK" in os.environ:
        measure()
        return
    rows = [["network", "W", "workers", "synchronised by", "ms a step", "ratio to DDP's own"]]
    for world_size in WORLD_SIZES:
        rows += table_rows(world_size, run_ranks(world_size, {}), "")
        if before:
            older = run_ranks(world_size, {"PYTHONPATH": str(before / "src")})
            rows += table_rows(world_size, older, ", before")
    write_section(
        "The hook against DDP's own all-reduce",
        "python benchmarks/hook.py",
        f"Median (least to most) of {REPEATS} interleaved repeats of {STEPS} steps, batch {BATCH} over "
        "all workers. The ratio is taken within each repeat: below 1 is faster than DDP's own. "
        "`gloo` is Gloo's all-reduce called from our hook; `before` is an older version's, run right after.",
        rows,
    )


def run_ranks(world_size: int, environ: dict[str, str]) -> dict[str, dict[str, list[float]]]:
    """Seconds a step by network, way of synchronising and repeat, as rank 0 saw them."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={world_size}"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"} | environ
    done = subprocess.run(
        [*command, "--standalone", __file__], env=environment, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def measure() -> None:
    dist.init_process_group("gloo")
    seconds = {name: measure_network(*network) for name, network in NETWORKS.items()}
    if dist.get_rank() == 0:
        print(json.dumps(seconds))
    dist.destroy_process_group()


def measure_network(
    build: Callable[[], nn.Module], shape: tuple[int, int, int]
) -> dict[str, list[float]]:
    steps = {name: make_step(build, shape, name) for name in (PEER, *WAYS)}
    for step in steps.values():
        for _ in range(WARM_UP):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            dist.barrier()
            start_s = time.perf_counter()
            for _ in range(STEPS):
                step()
            seconds[name].append((time.perf_counter() - start_s) / STEPS)
    return seconds


def make_step(build: Callable[[], nn.Module], shape: tuple[int, int, int], name: str) -> Step:
    model = DistributedDataParallel(build(), gradient_as_bucket_view=True)
    if name != PEER:
        firetree.attach(model, algorithm=name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x_BCHW = torch.randn(BATCH // dist.get_world_size(), *shape)
    y_B = torch.zeros(len(x_BCHW), dtype=torch.int64)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(x_BCHW), y_B).backward()
        optimizer.step()

    return step


def table_rows(
    world_size: int, seconds: dict[str, dict[str, list[float]]], when: str
) -> list[list[str]]:
    rows = []
    for network, by_name in seconds.items():
        weights = sum(p.numel() * 4 for p in NETWORKS[network][0]().parameters())
        for name in sorted(by_name, key=lambda name: median(by_name[name])):
            ms = [1e3 * value for value in by_name[name]]
            ratios = [a / b for a, b in zip(by_name[name], by_name[PEER], strict=True)]
            size = f"{weights / 1e3:,.0f} kB"
            times, ratio = median_and_spread(ms), median_and_spread(ratios)
            rows.append([network, size, str(world_size), name + when, times, ratio])
    return rows


if __name__ == "__main__":
    main()
