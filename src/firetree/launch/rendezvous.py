"""The rendezvous of a job's workers: a store that rank 0 keeps, then a process group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import HashStore, Store

from firetree.errors import RunFailedError
from firetree.launch.network import check_environment, speak_over, speak_over_one_network
from firetree.launch.rank_info import RankInfo
from firetree.launch.store import open_store
from firetree.peers import BACKEND, opened


@contextmanager
def joined(rank_info: RankInfo, timeout_s: float) -> Iterator[None]:
    """Join the default process group (over wires) of all workers, on this worker's share of the cores.

    Drop all references to DDP models inside the block. Otherwise DDP may be the last to hold the group
    and end it under the GIL, for which the group's threads may wait.

    Raises:
        UserError: the port is in use, GLOO_SOCKET_IFNAME names no interface, or Gloo's transport is not
            TCP.
        RunFailedError: rank 0 cannot be reached, or another rank does not come or is lost later.
    """
    check_environment()
    share_cores(rank_info)
    timeout = timedelta(seconds=timeout_s)
    if rank_info.world_size == 1:
        _stay_alone(timeout)
        yield
    else:
        store = open_store(rank_info, timeout_s)
        _meet(store, rank_info, timeout)
        with opened():
            yield
        del store  # torch does not hold the Python part of a store that it uses
    dist.destroy_process_group()  # not after a failure: it could wait for ranks that are stuck


def share_cores(rank_info: RankInfo) -> None:
    """Use this worker's share of the host's cores, unless OMP_NUM_THREADS is set."""
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // rank_info.local_world_size))


def _stay_alone(timeout: timedelta) -> None:
    speak_over("lo")
    dist.init_process_group(BACKEND, store=HashStore(), rank=0, world_size=1, timeout=timeout)


def _meet(store: Store, rank_info: RankInfo, timeout: timedelta) -> None:
    speak_over_one_network(store, rank_info)
    try:
        dist.init_process_group(
            BACKEND,
            store=store,
            rank=rank_info.rank,
            world_size=rank_info.world_size,
            timeout=timeout,
        )
    except RuntimeError as error:
        raise RunFailedError(
            f"rank {rank_info.rank} lost another rank while they were connecting; look at the other ranks' errors"
        ) from error
