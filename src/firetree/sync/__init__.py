"""How gradients meet training: the DDP hook that runs a schedule on each bucket."""

from firetree.sync.compression import NONE, check_compression
from firetree.sync.synchroniser import (
    GLOO,
    Named,
    Synchroniser,
    algorithm_names,
    attach,
    check_algorithm,
    gradient_bytes,
)
from firetree.sync.wire import tcp_sent_bytes

__all__ = [
    "GLOO",
    "NONE",
    "Named",
    "Synchroniser",
    "algorithm_names",
    "attach",
    "check_algorithm",
    "check_compression",
    "gradient_bytes",
    "tcp_sent_bytes",
]
