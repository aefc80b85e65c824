"""The all-reduce algorithms by name, each a pure function from sizes to the hops of a reduction.

Some take a number: `kary_tree:4` has four children a rank, `sharded_parameter_server:2` two servers,
`hierarchical:8` eight ranks a rack. Each has a default.
"""

from __future__ import annotations

from collections.abc import Callable
from reprlib import repr as short

from firetree.collectives.algorithms.algorithm import Algorithm
from firetree.collectives.algorithms.binomial_tree import BINOMIAL_TREE
from firetree.collectives.algorithms.chain import CHAIN
from firetree.collectives.algorithms.circulant import CIRCULANT
from firetree.collectives.algorithms.double_binary_tree import DOUBLE_BINARY_TREE
from firetree.collectives.algorithms.halving_doubling import HALVING_DOUBLING
from firetree.collectives.algorithms.hierarchical import racks_of
from firetree.collectives.algorithms.kary_tree import kary
from firetree.collectives.algorithms.parameter_server import PARAMETER_SERVER, sharded
from firetree.collectives.algorithms.pipelined_binary_tree import PIPELINED_BINARY_TREE
from firetree.collectives.algorithms.ring import RING
from firetree.errors import UserError, nearest

ALGORITHMS: dict[str, Algorithm] = {
    "binomial_tree": BINOMIAL_TREE,
    "chain": CHAIN,
    "circulant": CIRCULANT,
    "double_binary_tree": DOUBLE_BINARY_TREE,
    "halving_doubling": HALVING_DOUBLING,
    "hierarchical": racks_of(None),
    "kary_tree": kary(3),
    "parameter_server": PARAMETER_SERVER,
    "pipelined_binary_tree": PIPELINED_BINARY_TREE,
    "ring": RING,
    "sharded_parameter_server": sharded(None),
}

_KINDS: dict[str, Callable[[int], Algorithm]] = {
    "hierarchical": racks_of,
    "kary_tree": kary,
    "sharded_parameter_server": sharded,
}


def find(name: str) -> Algorithm:
    """The algorithm of that name, `kary_tree:4` included.

    Raises:
        UserError: an unknown name, or a number that is invalid or not taken.
    """
    family, colon, number = name.partition(":")
    if family not in ALGORITHMS:
        raise UserError(f"no algorithm {short(name)}{nearest(name, ALGORITHMS)}")
    if not colon:
        return ALGORITHMS[family]
    if family not in _KINDS:
        raise UserError(f"{short(name)}: {family} takes no number; expected '{family}'")
    if not number.isdecimal() or int(number) < 1:
        raise UserError(
            f"{short(name)}; expected a number from 1 after the colon, as in {family}:4"
        )
    return _KINDS[family](int(number))
