"""What ranks tell each other besides gradients: plain data, never code."""

from firetree.peers.agreement import agree, together
from firetree.peers.exchange import (
    Json,
    broadcast_json,
    broadcast_tensors,
    gather_json,
)
from firetree.peers.rollcall import RollCall, join
from firetree.peers.verdict import Loss
from firetree.peers.waiting import waiting

__all__ = [
    "Json",
    "Loss",
    "RollCall",
    "agree",
    "broadcast_json",
    "broadcast_tensors",
    "gather_json",
    "join",
    "together",
    "waiting",
]
