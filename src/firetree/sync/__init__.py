"""How gradients meet training: the DDP hook that runs a schedule on each bucket."""

from firetree.sync.synchroniser import (
    NATIVE,
    BucketTiming,
    Synchroniser,
    algorithm_names,
    attach,
    check_algorithm,
)
from firetree.sync.wire import tcp_sent_bytes

__all__ = [
    "NATIVE",
    "BucketTiming",
    "Synchroniser",
    "algorithm_names",
    "attach",
    "check_algorithm",
    "tcp_sent_bytes",
]
