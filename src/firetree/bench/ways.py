"""Other libraries' all-reduces, as baselines of the benchmark.

A way is a function that replaces a buffer, in place, by its sum over all ranks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor

from firetree.planning.candidates import GLOO

Way = Callable[[Tensor], object]

OPEN_MPI = "openmpi"


def peer_names(device: str) -> tuple[str, ...]:
    """The available baselines: the backend's own all-reduce, and Open MPI's under mpirun."""
    under_mpirun = "OMPI_COMM_WORLD_SIZE" in os.environ and find_spec("mpi4py") is not None
    return (GLOO, OPEN_MPI) if under_mpirun and device == "cpu" else (GLOO,)


def peer(name: str, group: dist.ProcessGroup) -> Way:
    """A library's own all-reduce over the ranks of `group`."""
    if name == OPEN_MPI:
        return _open_mpi(group.size())
    return lambda buffer: cast(None, dist.all_reduce(buffer, group=group))


def _open_mpi(world_size: int) -> Way:
    from mpi4py import MPI

    everyone = MPI.COMM_WORLD
    some = everyone.Create_group(everyone.group.Incl(list(range(world_size))))

    def all_reduce(buffer: Tensor) -> None:
        some.Allreduce(MPI.IN_PLACE, buffer.numpy(), op=MPI.SUM)

    return all_reduce


def finish_peers() -> None:
    """Finalise Open MPI, which otherwise reports a process that exits as lost."""
    if "mpi4py.MPI" in sys.modules:
        sys.modules["mpi4py.MPI"].Finalize()


def expected_sum(elements: int, world_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """A pattern of small integers, and the exact sum over ranks if rank r holds the pattern times r + 1."""
    pattern = torch.arange(elements, device=device, dtype=torch.float32) % 127 + 1
    return pattern, pattern * (world_size * (world_size + 1) / 2)
