"""A wire between every two ranks of a group.

Each rank listens only until all others have come. A client that does not say the group's token, which
ranks tell each other beforehand, is refused.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import copy
from typing import Any
from weakref import WeakSet

from firetree.errors import CollectiveError
from firetree.wires.listener import TOKEN_BYTES, Listener, greeting
from firetree.wires.secret import Secret
from firetree.wires.wire import Wire

Gather = Callable[[Any], list[Any]]
"""Tells all ranks of a group a value that JSON has, and returns every rank's."""


_OPEN: WeakSet[Mesh] = WeakSet()


class Mesh:
    """One rank's wires to all other ranks of its group.

    Args:
        rank: in the group.
        names: what messages call the group's ranks.
        wires: by rank in the group.
        timeout_s: how long to wait for a silent rank.
    """

    def __init__(self, rank: int, names: Sequence[int], wires: dict[int, Wire], timeout_s: float):
        self.rank, self.names, self.wires, self.timeout_s = rank, tuple(names), wires, timeout_s
        self._broken_by: CollectiveError | None = None
        _OPEN.add(self)

    @property
    def world_size(self) -> int:
        return len(self.names)

    @contextmanager
    def collective(self) -> Iterator[None]:
        """A collective, which carries all its messages to their ends, or is the last one.

        The next one's messages would be taken for the rest of one that was broken off.

        Raises:
            CollectiveError: an earlier one was broken off, and why.
        """
        if self._broken_by:
            raise copy(self._broken_by)
        try:
            yield
        except BaseException as error:
            self._broken_by = _without_traceback(error)
            raise

    def close(self) -> None:
        """Close all wires; the other ranks notice at once."""
        for wire in self.wires.values():
            wire.close()


def connect(
    gather: Gather,
    rank: int,
    names: Sequence[int],
    listening: socket.socket,
    timeout_s: float,
    secret: Secret | None = None,
) -> Mesh:
    """Connect with all other ranks of a group, which call this together.

    Args:
        gather: as `peers.StoreExchange.gather`.
        rank: in the group.
        names: what messages call the group's ranks.
        listening: at an address where the others reach this host; closed here.
        timeout_s: how long to wait for the others, now and in each transfer.
        secret: the same on all ranks; what they send is then private.

    Raises:
        OSError: another rank cannot be reached.
        AbsentError: ranks did not come.
    """
    with closing(Listener(listening, secret)) as listener:
        told = gather([listener.address, listener.port, secrets.token_hex(TOKEN_BYTES)])
        token = bytes.fromhex(told[0][2])
        until_s = time.monotonic() + timeout_s
        streams = {
            peer: dial(host, port, greeting(token, rank), until_s, secret)
            for peer, (host, port, _) in enumerate(told[:rank])
        }
        streams |= listener.accept(token, range(rank + 1, len(names)), until_s)
    wires = {peer: Wire.over(stream) for peer, stream in sorted(streams.items())}
    return Mesh(rank, names, wires, timeout_s)


def _without_traceback(error: BaseException) -> CollectiveError:
    """What can be kept and raised anew: a traceback would keep all that its frames refer to."""
    if isinstance(error, CollectiveError):
        return copy(error)
    return CollectiveError(f"{type(error).__name__} broke off a collective before")


def dial(
    host: str, port: int, hello: bytes, until_s: float, secret: Secret | None
) -> socket.socket:
    """Connect with a listener before that moment of `time.monotonic`, and say who we are (OSError)."""
    stream = socket.create_connection((host, port), max(0.01, until_s - time.monotonic()))
    if secret:
        stream = secret.calling(stream)
    stream.sendall(hello)
    return stream


def _close_all() -> None:
    for mesh in [*_OPEN]:
        mesh.close()


# A process that a rank forks, as to load data, would keep connections open that the rank's death ends.
os.register_at_fork(after_in_child=_close_all)
