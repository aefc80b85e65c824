"""Hosts of unequal speed train together: shares of the batch by speed against DDP's equal ones.

Hosts of the lab have CPU quotas. They compute alone at first, all at once, which gives the summed speed. Then
DDP over Gloo and `firetree train`'s own steps, with shares by speed, take turns on the same processes. At last a
step's gradient is compared with that of the whole batch on one process.
Needs root, `ip` and `tc`, two cores, and nothing else on the machine: about three minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from firetree.data import epoch_steps
from firetree.lab import Lab
from firetree.launch import RankInfo
from firetree.network import parse_network
from firetree.peers import gather_json
from firetree.tasks import TaskBatch
from firetree.training import load_recipe, load_task, with_fields
from firetree.training.between import Between
from firetree.training.step import settle, train_step
from firetree.training.worker import Worker, build_worker
from results import median_and_spread, tell, write_section

SPEEDS = ((100, 50, 25), (100, 100, 50, 50))
"""Of each host, in percent of the fastest's quota."""

CORES = 1.0
"""All quotas together. Hosts that fill two cores would slow each other down, so that waiting cost less."""

RATE = "1gbit"
BATCH, SETTLING_STEPS, REPEATS = 256, 40, 5
FIELDS = {
    "model.dropout": 0.0,
    "data.size": 32,
    "optim.batch_size": BATCH,
    "optim.clip_norm": None,
    "sync.algorithm": "gloo",
    "sync.shares": "speed",
}


@dataclass(frozen=True)
class Measured:
    """What the hosts of a case measured: samples a second, and what became of the shares."""

    alone: float
    by_speed: tuple[float, ...]
    ddp: tuple[float, ...]
    shares: tuple[int, ...]
    settled: int
    gradient_off: float
    rounding: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limited", type=Path, help=argparse.SUPPRESS)
    if limited := parser.parse_args().limited:
        measure(limited)
        return
    rows = [
        ["quotas", "shares", "settled after", "of the summed speed", "times DDP", "gradient off by"]
    ]
    for speeds in SPEEDS:
        tell(f"hosts of {named(speeds)}")
        rows.append(row(speeds, measured(speeds)))
    write_section(
        "Unequal machines",
        "python benchmarks/unequal.py",
        f"A small SqueezeNet on digits of {FIELDS['data.size']}², batches of {BATCH}, hosts at {RATE} whose CPU "
        f"quotas are {CORES:g} core together. Samples a second with `--sync.shares speed` as a part of what all "
        "hosts compute alone at the same time, and against DDP with equal shares; median (least to most) of "
        f"{REPEATS} turns of an epoch. Settled: the last step after which shares changed, of the first "
        f"{SETTLING_STEPS}. The gradient of the first weights is compared with that of the whole batch on "
        "one process: the norm of the difference over the norm; in brackets, that process against itself, with the "
        "batch in as many equal pieces as there are hosts.",
        rows,
    )


def named(speeds: Sequence[int]) -> str:
    return "/".join(map(str, speeds)) + " %"


def row(speeds: Sequence[int], found: Measured) -> list[str]:
    parts = [100 * speed / found.alone for speed in found.by_speed]
    ratios = [ours / theirs for ours, theirs in zip(found.by_speed, found.ddp, strict=True)]
    return [
        named(speeds),
        ", ".join(map(str, found.shares)),
        f"{found.settled} steps",
        f"{median_and_spread(parts, 0)} %",
        median_and_spread(ratios),
        f"{found.gradient_off:.1e} ({found.rounding:.1e})",
    ]


def measured(speeds: Sequence[int]) -> Measured:
    """A rank on each host measures; quotas begin when all have come so far."""
    with (
        Lab(parse_network(f"{len(speeds)} x {RATE}")) as lab,
        tempfile.TemporaryDirectory() as folder,
    ):
        limited = Path(folder, "limited")
        command = [sys.executable, __file__, "--limited", str(limited)]
        pipe = {"stdout": subprocess.PIPE, "text": True}
        first, *others = [
            lab.start(host, command, **({} if host else pipe)) for host in range(len(speeds))
        ]
        assert first.stdout.readline() == "ready\n"
        for host, speed in enumerate(speeds):
            lab.limit_cpu(host, CORES * speed / sum(speeds))
        limited.touch()
        said, _ = first.communicate()
        for other in others:
            other.wait()
        found = json.loads(said)
        return Measured(
            **{name: tuple(it) if isinstance(it, list) else it for name, it in found.items()}
        )


def measure(limited: Path) -> None:
    """On one rank; rank 0 prints what all have measured."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    recipe = with_fields(load_recipe("digits"), FIELDS)
    worker = build_worker(recipe, RankInfo(rank, world_size, world_size, "", 0), load_task(recipe))
    settle(worker)
    ours, theirs = BySpeed(worker), Equal(worker)
    theirs.step()
    if rank == 0:
        print("ready", flush=True)
    while not limited.exists():
        time.sleep(0.1)
    steps, examples = epoch_steps(worker.task.examples, BATCH), worker.task.examples
    alone = sum(gather_json(examples / world_size / seconds(theirs.step_alone, steps)))
    for _ in range(SETTLING_STEPS):
        ours.step()
    settled = ours.changed
    by_speed, by_ddp = list[float](), list[float]()
    for _ in range(REPEATS):
        by_speed.append(examples / seconds(ours.step, steps))
        by_ddp.append(examples / seconds(theirs.step, steps))
    errors = ours.gradient_errors()
    if rank == 0:
        shares = worker.balancer.shares
        found = Measured(alone, tuple(by_speed), tuple(by_ddp), shares, settled, *errors)
        print(json.dumps(asdict(found)), flush=True)
    dist.destroy_process_group()


def seconds(step: Callable[[], None], steps: int) -> float:
    """How long so many steps take, which all ranks begin together."""
    step()  # what the other way of training left in caches is gone after it
    dist.barrier()
    start_s = time.monotonic()
    for _ in range(steps):
        step()
    return time.monotonic() - start_s


class BySpeed:
    """The steps of `firetree train`, with shares by speed.

    Attributes:
        changed: steps done when shares changed last.
    """

    def __init__(self, worker: Worker):
        self._worker, self._between = worker, Between()
        self._batches = worker.loader.batches(0)
        self._first = deepcopy(worker.model.state_dict())
        self._steps = self.changed = 0

    def step(self, rate: float = 0.01) -> None:
        trace, _ = train_step(self._worker, self._batches, self._steps, rate, between=self._between)
        self._steps += 1
        if told := self._worker.balancer.look(trace):
            self.changed = self._steps
            if self._worker.rank == 0:
                tell(f"step {self._steps}: {told}")

    def gradient_errors(self) -> tuple[float, float]:
        """How far a gradient of the first weights is from that of the whole batch on one process.

        And how far that is from itself, in as many pieces as there are hosts.
        """
        worker = self._worker
        worker.model.load_state_dict(self._first)
        whole = worker.task.loader(batch_size=BATCH, seed=0, rank=0, world_size=1)
        batch = next(whole.batches(self._steps))
        self.step(rate=0.0)
        ours, theirs, pieces = (
            flat_gradient(worker.model),
            whole_gradient(worker, batch, 1),
            whole_gradient(worker, batch, worker.world_size),
        )
        off, rounding = ((it - theirs).norm() / theirs.norm() for it in (ours, pieces))
        return float(off), float(rounding)


def whole_gradient(worker: Worker, batch: TaskBatch, pieces: int) -> Tensor:
    """The gradient of a whole batch on this process, computed in so many pieces."""
    worker.model.zero_grad()
    for piece in batch.parts(pieces):
        loss = worker.task.loss(worker.model(piece.x), piece.y)
        (loss / batch.global_count).backward()
    return flat_gradient(worker.model)


def flat_gradient(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


class Equal:
    """The steps of plain DDP over Gloo, with equal shares read by a loader of the same kind."""

    def __init__(self, worker: Worker):
        ranks = {"rank": worker.rank, "world_size": worker.world_size}
        self._batches = worker.task.loader(batch_size=BATCH, seed=0, **ranks).batches(0)
        self._loss = worker.task.loss
        self._ddp = DistributedDataParallel(deepcopy(worker.model), gradient_as_bucket_view=True)
        self._optimizer = torch.optim.SGD(self._ddp.parameters(), lr=0.01, momentum=0.9)

    def step(self) -> None:
        batch = next(self._batches)
        self._optimizer.zero_grad()
        (self._loss(self._ddp(batch.x), batch.y) / batch.count).backward()
        self._optimizer.step()

    def step_alone(self) -> None:
        """The same without a word to the others."""
        with self._ddp.no_sync():
            self.step()


if __name__ == "__main__":
    main()
