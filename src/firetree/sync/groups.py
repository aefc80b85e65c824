"""Process groups of our own: the ranks of another group, whose messages they keep apart from all others."""

from __future__ import annotations

from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d as c10d

from firetree.errors import UserError

_MOST_S = 1e6


def timeout_of(group: dist.ProcessGroup, device: torch.device) -> float:
    """How long a group's collectives wait for another rank, in seconds."""
    backend = group._get_backend(torch.device(device.type))
    return float(backend.options._timeout.total_seconds())


def check_timeout(timeout_s: object) -> None:
    """Raise UserError where it is no time that a backend can wait."""
    number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not number or not 0.001 <= timeout_s <= _MOST_S:  # type: ignore[operator]
        raise UserError(
            f"timeout_s is {timeout_s!r}; expected seconds, from 0.001 to {_MOST_S:.0f}"
        )


def group_beside(
    group: dist.ProcessGroup, number: int, backend: str, timeout_s: float
) -> dist.ProcessGroup:
    """A new group of the same ranks, all of which call this together, and nobody else.

    `number` tells it from other groups beside the same one, alike on all ranks. `dist.new_group` would
    take its name from how many groups a process has seen: ranks that are in different groups, or
    come in different orders, would mean different ones by the same name.
    """
    ranks = dist.get_process_group_ranks(group)
    made: dist.ProcessGroup
    made, _ = c10d._new_process_group_helper(
        len(ranks),
        group.rank(),
        ranks,
        dist.Backend(backend),
        c10d._get_process_group_store(group),
        f"firetree {number} beside {group.group_name}",  # type: ignore[arg-type]
        timeout=timedelta(seconds=timeout_s),
    )
    c10d._world.pg_group_ranks[made] = {rank: place for place, rank in enumerate(ranks)}
    return made
