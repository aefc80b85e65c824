"""Measure all-reduces side by side: every way takes its turn in every repeat, on the same ranks.

Each repeat checks the sum, and times enough calls in a row to be long against the start of the ranks.
The time is that of the slowest rank.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from statistics import median
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore

from firetree import collectives
from firetree.bench.ways import Way, expected_sum, finish_peers, peer, peer_names
from firetree.collectives import Executor
from firetree.documents import from_document
from firetree.errors import ArgumentError, RunFailedError, UserError
from firetree.launch import (
    ALONE,
    RankInfo,
    call,
    find_device,
    find_rank_info,
    joined,
    launch,
)
from firetree.network import Network, from_json
from firetree.peers import BACKEND, broadcast_json, carrier_of
from firetree.planning.bound import optimum_s
from firetree.planning.candidates import FOREST, GLOO, Choice, forest, known
from firetree.probing import probe_ranks
from firetree.progress import Progress, log
from firetree.torch_private import group_store

ALGORITHMS = ("binomial_tree", "chain", "double_binary_tree", "ring")
SIZES_BYTES = (1_000, 64_000, 1_000_000, 5_000_000)

LONG_S = 1800.0
"""How long ranks that take no part wait for those that measure."""

WINDOW_S = 0.03
"""How long the calls in one timing last at least, so that the ranks' uneven start does not count."""

MOST_CALLS = 30


Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure, see `allreduce`."""

    algorithms: tuple[str, ...]
    sizes_bytes: tuple[int, ...]
    world_sizes: tuple[int, ...]
    repeats: int
    rate_bytes_s: float | None
    predict: bool
    device: Device
    timeout_s: float

    def check(self) -> None:
        """Raise UserError where nothing could be measured."""
        for name in self.algorithms:
            if name != FOREST:
                collectives.find(name)
        for size_bytes in self.sizes_bytes:
            if size_bytes < 4:
                raise ArgumentError("sizes", f"has {size_bytes}; expected 4 bytes or more")
        for world_size in self.world_sizes:
            if world_size < 1:
                raise ArgumentError("world_size", f"is {world_size}; expected 1 or more")
        if self.repeats < 1:
            raise ArgumentError("repeats", f"is {self.repeats}; expected 1 or more")
        if not 0 < self.timeout_s < 1e6:
            raise ArgumentError("timeout_s", f"is {self.timeout_s}; expected seconds above 0")
        self.network()

    def network(self) -> Network | None:
        """What the bound is computed for; None to measure the rate."""
        hosts = max(self.world_sizes)
        if self.rate_bytes_s is not None:
            return Network.of_ports((self.rate_bytes_s,) * hosts)
        text = os.environ.get("FIRETREE_NETWORK")  # of the lab around
        network = from_json(text) if text else None
        if network and network.size < hosts:
            raise UserError(f"{hosts} ranks in a lab of {network.size} hosts; expected one a host")
        return network


@dataclass(frozen=True, slots=True)
class Measurement:
    """One way at one size and world size: times of the slowest rank, ratios of medians.

    `ratio_to_gloo` is the median over the repeats of the ratio within each (Gloo's own all-reduce,
    or NCCL's on GPUs), `cpu_s` the CPU time of all ranks together for one all-reduce.
    """

    algorithm: str
    world_size: int
    size_bytes: int
    chunks: int
    median_s: float
    least_s: float
    most_s: float
    ratio_to_bound: float
    ratio_to_gloo: float
    cpu_s: float
    bound_s: float
    predicted_s: float | None = None


@dataclass(slots=True)
class _Contestant:
    way: Way
    chunks: int = 1
    predicted_s: float | None = None
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def allreduce(
    algorithms: Sequence[str] = ALGORITHMS,
    sizes_bytes: Sequence[int] = SIZES_BYTES,
    world_size: int | Sequence[int] | None = None,
    *,
    repeats: int = 7,
    rate_bytes_s: float | None = None,
    predict: bool = False,
    device: Device = "cpu",
    timeout_s: float = 60.0,
    progress: Progress = log,
) -> list[Measurement]:
    """Measure all-reduces side by side, each checked, on loopback or on the ranks of a job.

    Starts local processes, unless torchrun, srun, mpirun or `firetree lab` started this one: then all
    ranks call it.

    Args:
        algorithms: names of `firetree.collectives`, or `forest` for one found for the network once it has
            been probed. The backend's own all-reduce is always beside them, as `gloo`.
        sizes_bytes: of the buffer, cut down to whole float32.
        world_size: one number of ranks or several; by default all that were started, or 2 and 4.
        repeats: timings of each, taken in turn.
        rate_bytes_s: of every host's link, for the optimum; by default the lab's, or measured.
        predict: probe the network first, and predict each time.
        device: where the buffer lies; on `cuda`, `gloo` is NCCL's own all-reduce.
        timeout_s: how long to wait for another rank.
        progress: called with a line a world size.

    Returns:
        A row for each algorithm, size and world size, on all ranks alike.

    Raises:
        UserError: no such algorithm, or more ranks than there are.
        RunFailedError: an all-reduce gave a wrong sum, or lost a rank.

    Example:
        >>> rows = firetree.bench.allreduce(["ring", "binomial_tree"], [100_000], world_size=2)
        >>> {row.algorithm for row in rows} >= {"ring", "binomial_tree", "gloo"}
        True
    """
    rank_info = find_rank_info(os.environ)
    started: int | None = rank_info.world_size if rank_info else None
    if dist.is_initialized():
        started = dist.get_world_size()
    settings = settings_of(
        started,
        algorithms,
        sizes_bytes,
        world_size,
        repeats,
        rate_bytes_s,
        predict,
        device,
        timeout_s,
    )
    if dist.is_initialized():
        return _measure(settings, progress)
    most = max(settings.world_sizes)
    if rank_info is None and most > 1:
        start = partial(launch, most)
        rows = call(start, _as_worker, {"settings": asdict(settings)}, progress)
        return [Measurement(**row) for row in rows]
    return _at(rank_info or ALONE, settings, progress)


def settings_of(
    started: int | None,
    algorithms: Sequence[str],
    sizes_bytes: Sequence[int],
    world_size: int | Sequence[int] | None,
    repeats: int,
    rate_bytes_s: float | None,
    predict: bool,
    device: Device,
    timeout_s: float,
) -> Settings:
    """What `allreduce` is asked for, among so many started ranks, or none (UserError where it cannot be)."""
    world_sizes: tuple[int, ...] = (started,) if started else (2, 4)
    if world_size is not None:
        world_sizes = (world_size,) if isinstance(world_size, int) else tuple(world_size)
    settings = Settings(
        tuple(dict.fromkeys(name for name in algorithms if name != GLOO)),
        tuple(size_bytes // 4 * 4 for size_bytes in sizes_bytes),
        *(world_sizes, repeats, rate_bytes_s, predict, device, timeout_s),
    )
    settings.check()
    return settings


def _as_worker(rank_info: RankInfo, progress: Progress, settings: Any) -> list[dict[str, Any]]:
    asked = from_document(Settings, settings, "what to measure")
    return [asdict(row) for row in _at(rank_info, asked, progress)]


def _at(rank_info: RankInfo, settings: Settings, progress: Progress) -> list[Measurement]:
    with joined(rank_info, timeout_s=LONG_S):
        find_device(settings.device, rank_info)
        return _measure(settings, progress)


def _measure(settings: Settings, progress: Progress) -> list[Measurement]:
    """Measure on the ranks of the default process group; every rank gets the same rows."""
    most, ranks = max(settings.world_sizes), dist.get_world_size()
    if most > ranks:
        raise ArgumentError(
            "world_size", f"is {most} on {ranks} ranks; expected no more than there are"
        )
    rows: list[Measurement] = []
    for world_size in settings.world_sizes:
        if dist.get_rank() == 0:
            progress(f"all-reduces of {world_size} ranks")
        groups = _groups(world_size, settings)
        if dist.get_rank() < world_size:
            rows += _measure_groups(groups, settings)
        dist.barrier()
    finish_peers()
    return [Measurement(**row) for row in broadcast_json([asdict(row) for row in rows])]


def _groups(world_size: int, settings: Settings) -> dict[str, dist.ProcessGroup]:
    """A group for each way: connections of its own, which remember nothing of the others' traffic."""
    timeout, ranks = timedelta(seconds=settings.timeout_s), list(range(world_size))
    ours, theirs = ("nccl", "nccl") if settings.device == "cuda" else (BACKEND, "gloo")
    backends = dict.fromkeys(settings.algorithms, ours)
    backends |= dict.fromkeys(peer_names(settings.device), theirs)
    return {
        name: cast(dist.ProcessGroup, dist.new_group(ranks, timeout=timeout, backend=backend))
        for name, backend in backends.items()
    }


def _measure_groups(groups: dict[str, dist.ProcessGroup], settings: Settings) -> list[Measurement]:
    group = groups[GLOO]
    whole = settings.network()
    network = whole and whole.first(group.size())
    network = network or _equal_ports(group, torch.device(settings.device))
    priced = _probed(group) if settings.predict or FOREST in settings.algorithms else None
    carriers = {name: carrier_of(groups[name]) for name in settings.algorithms}
    rows: list[Measurement] = []
    for size_bytes in settings.sizes_bytes:
        contestants = {
            name: _Contestant(peer(name, groups[name])) for name in peer_names(settings.device)
        }
        for name, (choice, predicted_s) in _choices(
            settings, priced or network, size_bytes, group
        ).items():
            if name != GLOO:
                executor = Executor(choice.schedule(group.size()), carriers[name])
                contestants[name] = _Contestant(executor.run, choice.chunks)
            contestants[name].predicted_s = predicted_s
        for _ in range(settings.repeats):
            for name, contestant in contestants.items():
                _take_turn(name, contestant, group, size_bytes, settings.device)
        rows += _rows(contestants, group.size(), size_bytes, network)
    return rows


def _choices(
    settings: Settings, network: Network, size_bytes: int, group: dist.ProcessGroup
) -> dict[str, tuple[Choice, float | None]]:
    """What is run for each name, and its predicted time; rank 0 decides for all."""
    made = {}
    if group.rank() == 0:
        for name in (GLOO, *settings.algorithms):
            choice = (forest if name == FOREST else partial(known, name))(network, size_bytes)
            time_s = choice.price(network, size_bytes).time_s if settings.predict else None
            made[name] = asdict(choice), time_s
    return {
        name: (from_document(Choice, choice, "rank 0's choice"), time_s)
        for name, (choice, time_s) in broadcast_json(made, group).items()
    }


def _probed(group: dist.ProcessGroup) -> Network:
    store = PrefixStore(f"probe of {group.size()}", group_store())
    return probe_ranks(store, group.rank(), group.size()).network


def _take_turn(
    name: str, contestant: _Contestant, group: dist.ProcessGroup, size_bytes: int, device: str
) -> None:
    """Time as many calls as fill the window; where one does, that one is checked as well."""
    pattern, expected = expected_sum(size_bytes // 4, group.size(), torch.device(device))
    buffer = pattern * (group.rank() + 1)
    seconds, cpu_s = _timed(partial(contestant.way, buffer), 1, group, device)
    if not torch.equal(buffer, expected):
        raise RunFailedError(f"{name} gave a wrong sum on rank {group.rank()}, {size_bytes} bytes")
    if seconds < WINDOW_S:
        buffer.zero_()
        calls = min(MOST_CALLS, round(WINDOW_S / seconds) + 1)
        seconds, cpu_s = _timed(partial(contestant.way, buffer), calls, group, device)
    contestant.seconds.append(seconds)
    contestant.cpu_s.append(cpu_s)


def _timed(
    call: partial[object], calls: int, group: dist.ProcessGroup, device: str
) -> tuple[float, float]:
    """Seconds a call on the slowest rank, and CPU seconds a call on all ranks."""
    dist.barrier(group)
    cpu_start_s, start_s = time.process_time(), time.perf_counter()
    for _ in range(calls):
        call()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_start_s
    slowest, together = torch.tensor([seconds]), torch.tensor([cpu_s])
    for value, operation in ((slowest, dist.ReduceOp.MAX), (together, dist.ReduceOp.SUM)):
        _all_reduce_on(value, operation, group, device)
    return slowest.item() / calls, together.item() / calls


def _all_reduce_on(
    value: Tensor, operation: dist.ReduceOp.RedOpType, group: dist.ProcessGroup, device: str
) -> None:
    there = value.to(device)
    dist.all_reduce(there, op=operation, group=group)
    value.copy_(there)


def _equal_ports(group: dist.ProcessGroup, device: torch.device) -> Network:
    """Ports as fast as every rank's when each sends 8 MB to the next at once: the best of three."""
    outgoing, incoming = torch.ones(2, 2_000_000, device=device)
    rank, size = group.rank(), group.size()
    if size == 1:
        return Network.of_ports((1e9,))
    best_s = float("inf")
    for _ in range(3):
        dist.barrier(group)
        start_s = time.perf_counter()
        receiving = group.recv([incoming], (rank - 1) % size, 0)
        sending = group.send([outgoing], (rank + 1) % size, 0)
        receiving.wait()
        sending.wait()
        best_s = min(best_s, time.perf_counter() - start_s)
    rate = torch.tensor([outgoing.nbytes / best_s], dtype=torch.float64)
    _all_reduce_on(rate, dist.ReduceOp.MIN, group, device.type)
    return Network.of_ports((rate.item(),) * size)


def _rows(
    contestants: dict[str, _Contestant],
    world_size: int,
    size_bytes: int,
    network: Network,
) -> list[Measurement]:
    bound_s = optimum_s(network, size_bytes)
    gloo_s = contestants[GLOO].seconds
    return [
        Measurement(
            algorithm=name,
            world_size=world_size,
            size_bytes=size_bytes,
            chunks=contestant.chunks,
            median_s=median(contestant.seconds),
            least_s=min(contestant.seconds),
            most_s=max(contestant.seconds),
            ratio_to_bound=median(contestant.seconds) / bound_s if bound_s else 1.0,
            ratio_to_gloo=median(a / b for a, b in zip(contestant.seconds, gloo_s, strict=True)),
            cpu_s=median(contestant.cpu_s),
            bound_s=bound_s,
            predicted_s=contestant.predicted_s,
        )
        for name, contestant in contestants.items()
    ]
