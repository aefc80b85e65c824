"""What compressions compute: CPU time of a step's gradients, on one thread and one rank.

`planning.compressions` prices them by this. It sends nothing, and takes about a minute.
"""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Iterator
from statistics import median

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import firetree
from results import median_and_spread, write_section

WIDTH, STEPS = 2048, 7
NAMES = (
    "fp16",
    "bf16",
    "int8",
    "e3m0",
    "topk:0.01",
    "powersgd:4",
    "sparseloco:0.02",
    "turns:25",
    "demo:32",
)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dist.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    write_section(
        "What compressions compute",
        "python benchmarks/compression_time.py",
        f"CPU time beside the same step without compression, a layer of {WIDTH} × {WIDTH}, one thread: "
        f"median (least to most) of {STEPS} steps.",
        [*table()],
    )
    dist.destroy_process_group()


def table() -> Iterator[list[str]]:
    plain_s = median(cpu_s("none"))
    yield ["compression", "ns a number"]
    for name in NAMES:
        ns = [1e9 * (one - plain_s) / WIDTH**2 for one in cpu_s(name)]
        yield [name, median_and_spread(ns, 1)]


def cpu_s(compression: str) -> list[float]:
    """CPU seconds of each step; DDP's buckets and PowerSGD settle in the first ones."""
    model = DistributedDataParallel(nn.Linear(WIDTH, WIDTH, bias=False))
    firetree.attach(model, "ring", compression=compression)
    x, found = torch.ones(1, WIDTH), []
    for _ in range(3 + STEPS):
        model.zero_grad()
        start_s = time.process_time()
        model(x).sum().backward()
        found.append(time.process_time() - start_s)
    return found[3:]


if __name__ == "__main__":
    main()
