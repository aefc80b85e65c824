"""What ranks tell each other besides gradients: plain data, never code."""

from firetree.peers.agreement import agree, together
from firetree.peers.exchange import (
    Json,
    broadcast_json,
    broadcast_tensors,
    gather_json,
)

__all__ = ["Json", "agree", "broadcast_json", "broadcast_tensors", "gather_json", "together"]
