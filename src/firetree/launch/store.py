"""The store through which the workers of a job find each other: torchrun's own, or one of rank 0's."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch._C._distributed_c10d import Store, TCPStore

from firetree.errors import RunFailedError
from firetree.launch.place import STORE_SOCKET, Place, port_in_use


def open_store(place: Place, limit_s: float) -> Store:
    """The store at the place's address and port, as rank 0 its server.

    Raises:
        UserError: the port is in use.
        RunFailedError: it cannot be reached within the limit.
    """
    serves = place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    handed: dict[str, Any] = {}
    if serves and STORE_SOCKET in os.environ:
        handed["master_listen_fd"] = int(os.environ.pop(STORE_SOCKET))
    try:
        return TCPStore(
            place.master_addr,
            place.master_port,
            is_master=serves,
            timeout=timedelta(seconds=limit_s),
            wait_for_workers=False,
            **handed,
        )
    except dist.DistNetworkError as error:
        if "EADDRINUSE" in str(error):
            raise port_in_use(place.master_port) from error
        where = f"{place.master_addr}:{place.master_port}"
        raise RunFailedError(
            f"rank {place.rank} cannot reach rank 0 at {where}; is it running, and MASTER_ADDR right?"
        ) from error
