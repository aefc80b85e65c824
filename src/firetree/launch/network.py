"""Chooses the network interface of Gloo and NCCL: the one on the route to the other workers.

By default Gloo takes the address of the host's own name, which is a loopback address on Debian.
"""

from __future__ import annotations

import os

import torch.distributed as dist
from torch.distributed import Store

from firetree.errors import RunFailedError, UserError
from firetree.launch.rank_info import RankInfo
from firetree.output import tell
from firetree.peers import reach
from firetree.wires.secret import VARIABLE

_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def speak_over(interface: str) -> None:
    """Make Gloo and NCCL use this interface, whatever the environment says."""
    os.environ |= dict.fromkeys(_VARIABLES, interface)


def speak_over_one_network(store: Store, rank_info: RankInfo) -> None:
    """Choose the interface, unless the environment names one; all workers call this.

    Raises:
        RunFailedError: another worker is lost.
    """
    addresses = _exchange_addresses(store, rank_info)
    own = (
        "127.0.0.1"
        if rank_info.everyone_here
        else reach.among(addresses, addresses[rank_info.rank])
    )
    interface = "lo" if reach.is_loopback(own) else reach.interface_of(own)
    if os.environ.get(_VARIABLES[0]) or not interface:
        return
    speak_over(interface)
    if rank_info.rank == 0 and not reach.is_loopback(own):
        how = "in private" if os.environ.get(VARIABLE) else "in clear"
        tell(f"speaking over {interface} ({own}), {how}")


def check_environment() -> None:
    """Raise UserError for a transport or interface of Gloo's that it names and that is not there."""
    transport = os.environ.get("GLOO_DEVICE_TRANSPORT") or "TCP"
    if transport != "TCP":
        raise UserError(
            f"GLOO_DEVICE_TRANSPORT={transport} in the environment; expected TCP, as PyTorch's wheels "
            f"are built without TLS and others. To encrypt what travels, set {VARIABLE}"
        )
    named = os.environ.get(_VARIABLES[0])
    known = dict.fromkeys(reach.own_addresses().values())
    if named and any(name not in known for name in named.split(",")):
        raise UserError(
            f"{_VARIABLES[0]}={named} in the environment; expected a network interface of this host "
            f"with an address, one of {', '.join(known)}"
        )


def _exchange_addresses(store: Store, rank_info: RankInfo) -> list[str]:
    """Each worker's own guess of its address."""
    store.set(f"address-{rank_info.rank}", reach.first_guess())
    try:
        return [store.get(f"address-{rank}").decode() for rank in range(rank_info.world_size)]
    except dist.DistError as error:
        raise RunFailedError(
            f"rank {rank_info.rank} lost another rank while they were connecting: {error}"
        ) from error
