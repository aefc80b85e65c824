"""Connections of our own between the ranks of a group: TCP, one a pair, open as long as the group.

What travels is the caller's affair: `collectives` sends chunks of tensors. How ranks first tell each
other where they listen is the caller's too: `peers` does it through a group's store.
"""

from firetree.wires.listener import (
    MOST_WAITING,
    TOKEN_BYTES,
    AbsentError,
    Listener,
    greeting,
    tell_refused,
)
from firetree.wires.mesh import Gather, Mesh, connect, dial
from firetree.wires.secret import Secret, given_secret, new_secret
from firetree.wires.wire import Wire, WireClosedError

__all__ = [
    "MOST_WAITING",
    "TOKEN_BYTES",
    "AbsentError",
    "Gather",
    "Listener",
    "Mesh",
    "Secret",
    "Wire",
    "WireClosedError",
    "connect",
    "dial",
    "given_secret",
    "greeting",
    "new_secret",
    "tell_refused",
]
