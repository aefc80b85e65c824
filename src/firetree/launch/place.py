"""Where this process stands among the workers, told by whoever started it.

torchrun, SLURM's srun and mpirun each say it in environment variables of their own; `launch` starts
local workers through torch's elastic launcher, which speaks like torchrun.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from firetree.collectives import CollectiveError
from firetree.errors import RunFailedError, UserError

DEFAULT_PORT = 29500

_NO_DEVICE = "transport/tcp/device.cc"
"""Where Gloo fails that has no address to speak from."""


@dataclass(frozen=True, slots=True)
class Place:
    """One worker of a job; the ranks of a host are its local ones, and `local_rank` counts them."""

    rank: int
    world_size: int
    local_world_size: int
    master_addr: str
    master_port: int
    local_rank: int = 0


ALONE = Place(rank=0, world_size=1, local_world_size=1, master_addr="", master_port=0)

_OMPI = "OMPI_COMM_WORLD"

# For each launcher: rank, world size, number of local ranks, and which of them.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE", "SLURM_LOCALID"),
    (f"{_OMPI}_RANK", f"{_OMPI}_SIZE", f"{_OMPI}_LOCAL_SIZE", f"{_OMPI}_LOCAL_RANK"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", "MPI_LOCALRANKID"),
)


def find_place(environ: Mapping[str, str]) -> Place | None:
    """This worker's place, or None where nobody started several.

    Raises:
        UserError: the variables contradict each other, or nothing says where rank 0 is.
    """
    for rank_name, size_name, local_size_name, local_rank_name in _LAUNCHERS:
        if rank_name in environ and size_name in environ:
            rank, world_size = _number(environ, rank_name), _number(environ, size_name)
            local_world_size = _number_if_given(environ, local_size_name, 1)
            local_rank = _number_if_given(environ, local_rank_name, 0)
            if not 0 <= rank < world_size:
                raise UserError(f"{rank_name}={rank} with {size_name}={world_size}; expected less")
            everyone_here = local_world_size == world_size
            master_addr = _master_addr(environ, everyone_here)
            port = master_port(environ, DEFAULT_PORT)
            return Place(rank, world_size, local_world_size, master_addr, port, local_rank)
    return None


def master_port(environ: Mapping[str, str], default: int) -> int:
    """The port where the workers meet (UserError where MASTER_PORT is none)."""
    port = _number_if_given(environ, "MASTER_PORT", default)
    if not 0 <= port < 65536:
        raise UserError(f"MASTER_PORT={port} in the environment; expected 1 to 65535")
    return port


def _number_if_given(environ: Mapping[str, str], name: str, default: int) -> int:
    return _number(environ, name) if name in environ else default


def _number(environ: Mapping[str, str], name: str) -> int:
    # SLURM writes tasks per node as "4(x2),3": the first number is this job's usual node.
    found = re.match(r"\d+", environ[name])
    if not found:
        raise UserError(f"{name}={environ[name]!r} in the environment; expected a number")
    return int(found[0])


def _master_addr(environ: Mapping[str, str], everyone_here: bool) -> str:
    if "MASTER_ADDR" in environ:
        return environ["MASTER_ADDR"]
    if everyone_here:
        return "127.0.0.1"
    if "SLURM_STEP_NODELIST" in environ:
        return first_host(environ["SLURM_STEP_NODELIST"])
    raise UserError("several hosts and no MASTER_ADDR; set it to the host of rank 0 on every host")


def first_host(nodes: str) -> str:
    """The first name of a SLURM node list: `node[03-07,9],gpu1` starts with `node03`."""
    found = re.match(r"([^\[,]+)(?:\[(\w+))?", nodes)
    if not found:
        raise UserError(f"SLURM_STEP_NODELIST={nodes!r}; expected host names")
    return found[1] + (found[2] or "")


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
    except RuntimeError as error:
        if _NO_DEVICE in str(error):
            raise _wrong_interface() from error
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
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1, timeout=timeout)


def _meet(place: Place, timeout: timedelta) -> None:
    os.environ |= {
        "RANK": str(place.rank),
        "WORLD_SIZE": str(place.world_size),
        "MASTER_ADDR": place.master_addr,
        "MASTER_PORT": str(place.master_port),
    }
    where = f"{place.master_addr}:{place.master_port}"
    try:
        dist.init_process_group("gloo", timeout=timeout)
    except dist.DistNetworkError as error:
        if "EADDRINUSE" in str(error):
            raise port_in_use(place.master_port) from error
        raise RunFailedError(
            f"rank {place.rank} cannot reach rank 0 at {where}; is it running, and MASTER_ADDR right?"
        ) from error
    except dist.DistError as error:
        raise RunFailedError(
            f"not all {place.world_size} workers came to {where} within {timeout.total_seconds():g} s; "
            "start the same command on every host"
        ) from error


def _wrong_interface() -> UserError:
    named = os.environ.get("GLOO_SOCKET_IFNAME", "")
    known = ", ".join(name for _, name in socket.if_nameindex())
    return UserError(
        f"GLOO_SOCKET_IFNAME={named} in the environment; expected a network interface of this host "
        f"with an address, one of {known}"
    )


def port_in_use(port: int) -> UserError:
    return UserError(f"port {port} is in use; set MASTER_PORT to a free one on every host")
