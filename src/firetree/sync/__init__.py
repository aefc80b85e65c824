"""How gradients meet training: the DDP hook that runs a schedule on each bucket.

The way of a bucket to the wire, on each rank:

    DDP's backward pass
     │ bucket: its last gradient is ready
     ▼
    hook.Hook.firetree                     hands it over, waits after the last bucket and raises failures
     │
     ▼
    Synchroniser.take ──► promise          returns at once; DDP goes on with the next gradients
     │ queue: all ranks have one order
     ▼
    thread firetree-sync                   or on a GPU a stream of its own
     │ _fulfil: one bucket after another
     ▼
    Compressor.average                     divides, adds the error kept back, makes it smaller
     │ _sum: the buffer that is sent
     ▼
    chosen.choice_for(size)                the plan's choice for this size, or one fixed algorithm
     │                      │ gloo
     │ schedule             ▼
     ▼                     dist.all_reduce
    collectives.Executor                   the sends, receives and additions of this rank, in order
     │ chunk
     ▼
    Carrier ──► wire                       Gloo's or NCCL's point-to-point messages
"""

from firetree.sync.algorithms import FixedAlgorithm, algorithm_names, check_algorithm
from firetree.sync.script import attach, gradient_bytes
from firetree.sync.synchroniser import Synchroniser

__all__ = [
    "FixedAlgorithm",
    "Synchroniser",
    "algorithm_names",
    "attach",
    "check_algorithm",
    "gradient_bytes",
]
