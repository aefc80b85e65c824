"""Start real ranks: one process each, joined by Gloo over loopback."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Collection
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
import torch.distributed as dist
from command import FORKS, free_port

from firetree.peers import BACKEND, WiredGroup
from firetree.wires import Mesh

DEADLINE_S = 120.0


def meshed(group: dist.ProcessGroup | None = None, timeout_s: float = 60.0) -> Mesh:
    """Wires between the ranks of a group, by default of all."""
    ranks = dist.get_process_group_ranks(group or dist.group.WORLD)
    wired = dist.new_group(ranks, timeout=timedelta(seconds=timeout_s), backend=BACKEND)
    assert isinstance(wired, WiredGroup)
    return wired.mesh


def run_on_ranks(
    world_size: int,
    function: Callable[..., Any],
    *args: Any,
    lost: Collection[int] = (),
    within_s: float = DEADLINE_S,
) -> list[Any]:
    """Call `function(*args)` on each of `world_size` ranks and give back what each returned.

    `function` must be importable. The first error of a rank fails the test with its traceback. Ranks
    that are `lost` end or stop themselves, and return nothing.
    """
    port = free_port()
    pipes, processes = [], []
    for rank in range(world_size):
        receiver, sender = FORKS.Pipe(duplex=False)
        process = FORKS.Process(
            target=_rank_main, args=(sender, rank, world_size, port, function, args), daemon=True
        )
        process.start()
        sender.close()
        pipes.append(receiver)
        processes.append(process)
    try:
        here = {rank: pipe for rank, pipe in enumerate(pipes) if rank not in lost}
        return _collect(here, within_s)
    finally:
        for rank, process in enumerate(processes):
            process.join(timeout=0 if rank in lost else 5)
            if process.is_alive():
                process.kill()
                process.join()


def _collect(pipes: dict[int, Connection], within_s: float) -> list[Any]:
    results: dict[int, Any] = {}
    rank_of = {id(pipe): rank for rank, pipe in pipes.items()}
    while len(results) < len(pipes):
        waiting = [pipe for rank, pipe in pipes.items() if rank not in results]
        ready = wait(waiting, timeout=within_s)
        assert ready, f"ranks {[rank_of[id(pipe)] for pipe in waiting]} did not end in time"
        for pipe in ready:
            rank = rank_of[id(pipe)]
            try:
                ok, value = pickle.loads(pipe.recv_bytes())
            except EOFError:
                ok, value = False, "ended without a result"
            assert ok, f"rank {rank}: {value}"
            results[rank] = value
    return [results[rank] for rank in pipes]


def _rank_main(
    pipe: Connection, rank: int, world_size: int, port: int, function: Callable[..., Any], args: Any
) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"tcp://127.0.0.1:{port}",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=60),
        )
        pipe.send_bytes(pickle.dumps((True, function(*args))))
        dist.destroy_process_group()
    except BaseException:
        pipe.send_bytes(pickle.dumps((False, traceback.format_exc())))
