"""How gradients meet training: the DDP hook that runs a schedule on each bucket."""

from firetree.sync.synchroniser import (
    GLOO,
    Synchroniser,
    algorithm_names,
    attach,
    check_algorithm,
)
from firetree.sync.wire import tcp_sent_bytes

__all__ = [
    "GLOO",
    "Synchroniser",
    "algorithm_names",
    "attach",
    "check_algorithm",
    "tcp_sent_bytes",
]
