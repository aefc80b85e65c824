"""The known all-reduce algorithms by name, each a pure function from sizes to a schedule."""

from __future__ import annotations

from firetree.collectives.algorithms.algorithm import Algorithm
from firetree.collectives.algorithms.binomial_tree import BINOMIAL_TREE
from firetree.collectives.algorithms.parameter_server import PARAMETER_SERVER
from firetree.collectives.algorithms.ring import RING

ALGORITHMS: dict[str, Algorithm] = {
    "binomial_tree": BINOMIAL_TREE,
    "parameter_server": PARAMETER_SERVER,
    "ring": RING,
}
