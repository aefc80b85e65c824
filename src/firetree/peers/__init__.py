"""Messages between ranks besides gradients: plain data, never code."""

from firetree.peers.agreement import agree, together
from firetree.peers.clock import CommonClock, offset_to_rank_0_s
from firetree.peers.exchange import (
    Json,
    broadcast_json,
    broadcast_tensors,
    gather_json,
    hand_over,
)
from firetree.peers.rollcall import (
    Member,
    RollCall,
    Stop,
    at,
    backend_error,
    current,
    is_backend_error,
    join,
    opened,
)
from firetree.peers.store_exchange import StoreExchange
from firetree.peers.waiting import waiting
from firetree.peers.wired_group import BACKEND, WiredGroup, carrier_of
from firetree.peers.wired_store import WiredStore

__all__ = [
    "BACKEND",
    "CommonClock",
    "Json",
    "Member",
    "RollCall",
    "Stop",
    "StoreExchange",
    "WiredGroup",
    "WiredStore",
    "agree",
    "at",
    "backend_error",
    "broadcast_json",
    "broadcast_tensors",
    "carrier_of",
    "current",
    "gather_json",
    "hand_over",
    "is_backend_error",
    "join",
    "offset_to_rank_0_s",
    "opened",
    "together",
    "waiting",
]
