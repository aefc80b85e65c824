"""How gradients meet training: the DDP hook that runs a schedule on each bucket."""

from firetree.sync.algorithms import FixedAlgorithm, algorithm_names, check_algorithm
from firetree.sync.script import attach, gradient_bytes
from firetree.sync.synchroniser import Synchroniser
from firetree.sync.wire import tcp_sent_bytes

__all__ = [
    "FixedAlgorithm",
    "Synchroniser",
    "algorithm_names",
    "attach",
    "check_algorithm",
    "gradient_bytes",
    "tcp_sent_bytes",
]
