"""How hosts find rank 0: through a store that all of them reach, and then over TCP.

Rank 0 publishes its address, or all its addresses where it cannot tell which one leads to the others.
Each host tries them until one answers with the same token; with a secret, both speak TLS from there
on. The local end of that connection tells the host which of its own addresses faces the others.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import time
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import Store

from firetree.errors import RunFailedError
from firetree.peers import reach
from firetree.wires import given_secret

_TRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """Where rank 0 listens, and the token that proves a host belongs to the same probe."""

    addresses: tuple[str, ...]
    port: int
    token: bytes


def call(store: Store, listener: socket.socket, address: str | None) -> Rendezvous:
    """As rank 0, publish where `listener` is: at `address`, or at every own address for None."""
    every = sorted(reach.own_addresses(), key=reach.is_loopback)
    addresses = [address] if address else every
    here = Rendezvous(tuple(addresses), listener.getsockname()[1], secrets.token_bytes(16))
    document = {"addresses": addresses, "port": here.port, "token": here.token.hex()}
    store.set(f"rendezvous-{_times_called(store, 0)}", json.dumps(document))
    return here


def find(store: Store, rank: int, limit_s: float) -> Rendezvous:
    """Wait until rank 0 has published where it is.

    Raises:
        RunFailedError: it has not within `limit_s`.
    """
    key = f"rendezvous-{_times_called(store, rank)}"
    try:
        store.wait([key], timedelta(seconds=limit_s))
        document = json.loads(store.get(key))
    except RuntimeError as error:
        raise RunFailedError(
            f"rank {rank} heard nothing of rank 0 within {limit_s:.0f} s; is it running?"
        ) from error
    token = bytes.fromhex(document["token"])
    return Rendezvous(tuple(document["addresses"]), int(document["port"]), token)


def connect(rendezvous: Rendezvous, rank: int, limit_s: float) -> socket.socket:
    """A connection to rank 0, greeted with the token.

    Raises:
        RunFailedError: none of its addresses answers.
    """
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        for address in rendezvous.addresses:
            if stream := _try(address, rendezvous):
                return stream
        time.sleep(0.05)
    tried = ", ".join(rendezvous.addresses)
    raise RunFailedError(
        f"rank {rank} cannot reach rank 0 at {tried}, port {rendezvous.port}; "
        "is there a firewall between them?"
    )


def _try(address: str, rendezvous: Rendezvous) -> socket.socket | None:
    try:
        stream = socket.create_connection((address, rendezvous.port), _TRY_S)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        stream.sendall(rendezvous.token)
        if stream.recv(len(rendezvous.token), socket.MSG_WAITALL) == rendezvous.token[::-1]:
            secret = given_secret()
            return secret.calling(stream) if secret else stream
    stream.close()
    return None


def _times_called(store: Store, rank: int) -> int:
    """Each rank counts its own probes on this store: the same count is the same probe."""
    return int(store.add(f"rank-{rank}", 1))
