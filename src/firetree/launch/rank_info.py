"""This process's rank and world size, as its launcher gives them.

torchrun, SLURM's srun and mpirun each have environment variables of their own; `launch` uses torchrun's.
How the workers then meet is in `rendezvous`.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from firetree.errors import UserError
from firetree.launch.failure import LAUNCHER

DEFAULT_PORT = 29500

STORE_SOCKET = "FIRETREE_STORE_SOCKET"
"""The variable with the file descriptor of the socket on which rank 0 listens, from `launch`."""


@dataclass(frozen=True, slots=True)
class RankInfo:
    """One worker of a job; `local_rank` counts the ranks of its host."""

    rank: int
    world_size: int
    local_world_size: int
    master_addr: str
    master_port: int
    local_rank: int = 0

    def variables(self) -> dict[str, str]:
        """What torchrun tells a worker, in environment variables."""
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_WORLD_SIZE": str(self.local_world_size),
            "MASTER_ADDR": self.master_addr,
            "MASTER_PORT": str(self.master_port),
        }

    def among(self, ranks: Sequence[int], hosts: Sequence[str]) -> RankInfo:
        """This worker's place in a job of some of the ranks, which are on these hosts; rank 0 stays."""
        here = [rank for rank in ranks if hosts[rank] == hosts[self.rank]]
        return replace(
            self,
            rank=ranks.index(self.rank),
            world_size=len(ranks),
            local_world_size=len(here),
        )

    @property
    def everyone_here(self) -> bool:
        """Whether one host has all ranks."""
        return self.local_world_size == self.world_size


ALONE = RankInfo(rank=0, world_size=1, local_world_size=1, master_addr="", master_port=0)

_OMPI = "OMPI_COMM_WORLD"

# For each launcher: rank, world size, number of local ranks, and which of them.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE", "SLURM_LOCALID"),
    (f"{_OMPI}_RANK", f"{_OMPI}_SIZE", f"{_OMPI}_LOCAL_SIZE", f"{_OMPI}_LOCAL_RANK"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", "MPI_LOCALRANKID"),
)


def find_rank_info(environ: Mapping[str, str]) -> RankInfo | None:
    """This worker's rank and world size; None where no launcher started several workers.

    Raises:
        UserError: the variables contradict each other, or the address of rank 0 is missing.
    """
    for rank_name, size_name, local_size_name, local_rank_name in _LAUNCHERS:
        if rank_name in environ and size_name in environ:
            rank, world_size = _number(environ, rank_name), _number(environ, size_name)
            if not 0 <= rank < world_size:
                raise UserError(f"{rank_name}={rank} with {size_name}={world_size}; expected less")
            if world_size == 1 and LAUNCHER not in environ:
                continue
            local_world_size = _number_if_given(environ, local_size_name, 1, _TASKS_PER_NODE)
            if not 1 <= local_world_size <= world_size:
                raise UserError(
                    f"{local_size_name}={local_world_size} with {size_name}={world_size}; expected 1 "
                    "or more, and no more than that"
                )
            local_rank = _number_if_given(environ, local_rank_name, 0)
            everyone_here = local_world_size == world_size
            master_addr = _master_addr(environ, everyone_here)
            port = master_port(environ, DEFAULT_PORT)
            return RankInfo(rank, world_size, local_world_size, master_addr, port, local_rank)
    return None


def idle_tasks(environ: Mapping[str, str]) -> int:
    """The tasks that SLURM gave a batch script, which starts none of them; 0 or 1 elsewhere."""
    if "SLURM_PROCID" not in environ or "SLURM_STEP_NUM_TASKS" in environ:
        return 0
    return _number_if_given(environ, "SLURM_NTASKS", 1)


def master_port(environ: Mapping[str, str], default: int) -> int:
    """The port of the rendezvous (UserError where MASTER_PORT is not a port)."""
    if not environ.get("MASTER_PORT"):
        return default
    port = _number(environ, "MASTER_PORT")
    if not 0 < port < 65536:
        raise UserError(f"MASTER_PORT={port} in the environment; expected 1 to 65535")
    return port


_NUMBER = re.compile(r"([0-9]{1,18})")
_TASKS_PER_NODE = re.compile(r"([0-9]{1,18})(\(x[0-9]+\))?(,.*)?")
"""SLURM writes `4(x2),3`: the first number is that of most nodes."""


def _number_if_given(
    environ: Mapping[str, str], name: str, default: int, form: re.Pattern[str] = _NUMBER
) -> int:
    return _number(environ, name, form) if name in environ else default


def _number(environ: Mapping[str, str], name: str, form: re.Pattern[str] = _NUMBER) -> int:
    found = form.fullmatch(environ[name].strip())
    if not found:
        raise UserError(f"{name}={environ[name]!r} in the environment; expected a number")
    return int(found[1])


def _master_addr(environ: Mapping[str, str], everyone_here: bool) -> str:
    if environ.get("MASTER_ADDR"):
        return environ["MASTER_ADDR"]
    if everyone_here:
        return "127.0.0.1"
    if "SLURM_STEP_NODELIST" in environ:
        return first_host(environ["SLURM_STEP_NODELIST"])
    raise UserError("several hosts and no MASTER_ADDR; set it to the host of rank 0 on every host")


def first_host(nodes: str) -> str:
    """The first host of a SLURM node list: `node[03-07,9],gpu1` starts with `node03`."""
    found = re.match(r"([^\[,]+)(?:\[(\w+))?", nodes)
    if not found:
        raise UserError(f"SLURM_STEP_NODELIST={nodes!r}; expected host names")
    return found[1] + (found[2] or "")


def port_refused(port: int, error: OSError) -> UserError:
    """The error where rank 0 cannot listen at the port."""
    in_use = error.errno == errno.EADDRINUSE
    why = "is in use" if in_use else f"cannot be used ({error.strerror})"
    return UserError(f"port {port} {why}; set MASTER_PORT to a free one on every host")
