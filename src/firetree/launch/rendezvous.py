"""How the workers of a job meet: through a store on rank 0's host, then as a process group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from firetree.collectives import CollectiveError
from firetree.errors import RunFailedError
from firetree.launch.network import speak_over, speak_over_one_network
from firetree.launch.place import Place
from firetree.launch.store import open_store


@contextmanager
def joined(place: Place, timeout_s: float) -> Iterator[None]:
    """The default process group (Gloo) of all workers, and this worker's share of the cores.

    Let go of DDP's networks within: the last to hold a group ends it, and DDP would do so holding the
    interpreter's lock, for which the group's threads may wait.

    Raises:
        UserError: the port where the workers meet is in use, or GLOO_SOCKET_IFNAME names no interface.
        RunFailedError: rank 0 cannot be reached, another rank does not come, or is lost later.
    """
    share_cores(place)
    timeout = timedelta(seconds=timeout_s)
    try:
        if place.world_size == 1:
            _stay_alone(timeout)
        else:
            _meet(place, timeout)
        yield
    except CollectiveError:
        raise
    except RuntimeError as error:
        if not any(backend in str(error) for backend in ("gloo", "NCCL")):
            raise
        first_line = str(error).partition("\n")[0]
        what = first_line.partition("] ")[2].partition(". ")[0] or first_line
        raise CollectiveError(f"rank {place.rank} lost another rank: {what}") from error
    dist.destroy_process_group()  # not after a failure: it could wait for ranks that are stuck


def share_cores(place: Place) -> None:
    """Compute on this worker's share of the host's cores, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // place.local_world_size))


def _stay_alone(timeout: timedelta) -> None:
    speak_over("lo")
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1, timeout=timeout)


def _meet(place: Place, timeout: timedelta) -> None:
    store = open_store(place, timeout.total_seconds())
    speak_over_one_network(store, place, timeout.total_seconds())
    try:
        dist.init_process_group(
            "gloo", store=store, rank=place.rank, world_size=place.world_size, timeout=timeout
        )
    except dist.DistError as error:
        raise RunFailedError(
            f"rank {place.rank} lost another rank while all were connecting; is one gone?"
        ) from error
