"""How gradients meet training: the DDP hook that runs a schedule on each bucket."""

from firetree.sync.algorithms import GLOO, Named, algorithm_names, check_algorithm
from firetree.sync.compression import NONE, check_compression
from firetree.sync.script import attach, gradient_bytes
from firetree.sync.synchroniser import Synchroniser
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
