"""This process's rank among the workers, their rendezvous, and starting local workers.

Names that need torch import it when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firetree.launch.calls import Tell, answer_call, call, write_call
from firetree.launch.failure import ECHO_S, started_here, tell_launcher
from firetree.launch.launcher import FIRETREE, Hear, follow_launcher, launch
from firetree.launch.malloc import keep_freed_memory
from firetree.launch.rank_info import ALONE, RankInfo, find_rank_info, idle_tasks
from firetree.lazy import lazily

if TYPE_CHECKING:
    from firetree.launch.device import find_device
    from firetree.launch.rendezvous import joined, share_cores
    from firetree.launch.store import open_store

__all__ = [
    "ALONE",
    "ECHO_S",
    "FIRETREE",
    "Hear",
    "RankInfo",
    "Tell",
    "answer_call",
    "call",
    "find_device",
    "find_rank_info",
    "follow_launcher",
    "idle_tasks",
    "joined",
    "keep_freed_memory",
    "launch",
    "open_store",
    "share_cores",
    "started_here",
    "tell_launcher",
    "write_call",
]

__getattr__ = lazily(
    __name__,
    {
        "find_device": "device",
        "joined": "rendezvous",
        "open_store": "store",
        "share_cores": "rendezvous",
    },
)
