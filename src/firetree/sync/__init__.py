"""How gradients meet training: the DDP hook that runs a schedule on each bucket."""

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
    "Named",
    "Synchroniser",
    "algorithm_names",
    "attach",
    "check_algorithm",
    "gradient_bytes",
    "tcp_sent_bytes",
]
