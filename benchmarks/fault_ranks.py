"""What a rank does in `faults.py`: a command of firetree's, or a plain DDP script with `attach`.

A module of its own, so that ranks are forked from a process that has imported everything.
"""

from __future__ import annotations

import ctypes
import faulthandler
import hashlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch.distributed", "torch._dynamo", "firetree.commands.main"])

SHOW_STACKS = signal.SIGUSR2
"""Makes a rank print where each of its threads is."""

_CLONE_NEWNET = 0x40000000


def enter(environ: Mapping[str, str], namespace: Path | None, out: Path) -> None:
    """Take the rank's place: its variables, its network, and a file for what it prints."""
    os.environ.update(environ)
    if namespace is not None:
        with namespace.open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"no way into {namespace}")
    file_number = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file_number, 1)
    os.dup2(file_number, 2)
    faulthandler.register(SHOW_STACKS, sys.__stderr__)


def run_command(
    environ: Mapping[str, str], namespace: Path | None, out: Path, arguments: Sequence[str]
) -> None:
    """What `firetree ARGUMENTS` does."""
    enter(environ, namespace, out)
    sys.argv = ["firetree", *arguments]
    from firetree.commands.main import main

    main()


def train_attached(
    environ: Mapping[str, str], namespace: Path | None, out: Path, arguments: Sequence[str]
) -> None:
    """A script of a user's: trains, and prints a digest of its weights, or why it cannot go on."""
    enter(environ, namespace, out)
    import torch
    import torch.distributed as dist
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    import firetree

    torch.set_num_threads(1)
    algorithm, compression, timeout_s, steps = arguments
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(192, 192) for _ in range(6)))
    model = DistributedDataParallel(net, bucket_cap_mb=0.3)
    way = _plan(net) if algorithm == "plan" else algorithm
    firetree.attach(model, way, compression=compression, timeout_s=float(timeout_s))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    try:
        for step in range(int(steps)):
            torch.manual_seed(1000 * step + dist.get_rank())
            optimizer.zero_grad()
            model(torch.randn(8, 192)).square().mean().backward()
            optimizer.step()
            if step == 2:
                print("training", flush=True)
            time.sleep(0.01)
    except Exception as error:
        print(f"{type(error).__name__}: {error}".splitlines()[0], flush=True)
        os._exit(1)
    digest = hashlib.sha256(b"".join(it.detach().numpy().tobytes() for it in net.parameters()))
    print(digest.hexdigest(), flush=True)
    dist.barrier()
    os._exit(0)


def _plan(net: object) -> object:
    """A ring for large buckets, the backend's own for small ones."""
    import torch.distributed as dist

    from firetree import Plan
    from firetree.planning.candidates import Choice

    size_bytes = sum(parameter.nbytes for parameter in net.parameters())  # type: ignore[attr-defined]
    ranks = dist.get_world_size()
    choices = (
        (50_000, Choice("gloo", 1)),
        (500_000, Choice("ring", ranks, tuple(range(ranks)))),
    )
    return Plan("net", ranks, size_bytes, 300_000, choices, 1.0, 1.1, "latency", ())
