"""The algorithms that `attach` takes by name: our own, and `gloo`, the backend's all-reduce."""

from __future__ import annotations

from dataclasses import dataclass

from firetree import collectives
from firetree.errors import UserError, nearest
from firetree.planning.candidates import GLOO, Choice

MOST_CHUNKS = 4096
"""More chunks take seconds to prove, and gain nothing."""

_LEAST_CHUNK_BYTES = 4


def algorithm_names() -> tuple[str, ...]:
    """Every name that `attach` takes."""
    return (*collectives.names(), GLOO)


def check_algorithm(name: object) -> None:
    """Raise UserError, with the nearest known name, where `attach` does not take `name`."""
    if not isinstance(name, str):
        raise UserError(f"algorithm is {name!r}; expected a name such as 'ring', or a plan")
    if name.partition(":")[0] not in algorithm_names():
        raise UserError(f"no algorithm '{name}'{nearest(name, algorithm_names())}")
    if name != GLOO:
        collectives.find(name)


def check_chunks(chunks: object) -> None:
    """Raise UserError where buckets cannot be cut into so many chunks."""
    if not isinstance(chunks, int) or isinstance(chunks, bool) or not 1 <= chunks <= MOST_CHUNKS:
        raise UserError(f"chunks is {chunks!r}; expected a number from 1 to {MOST_CHUNKS}")


@dataclass(frozen=True, slots=True)
class FixedAlgorithm:
    """One algorithm for all buckets, in `chunks` chunks or as many as suit each bucket."""

    algorithm: str
    world_size: int
    chunks: int | None = None

    @property
    def algorithms(self) -> frozenset[str]:
        """Its name alone, as a plan has those of all its choices."""
        return frozenset((self.algorithm,))

    def choice_for(self, size_bytes: int) -> Choice:
        """What sums a bucket of that size."""
        if self.algorithm == GLOO:
            return Choice(GLOO, 1)
        if self.chunks is None:
            chunks = collectives.chunks_for(self.algorithm, self.world_size, size_bytes)
        else:
            chunks = max(1, min(self.chunks, size_bytes // _LEAST_CHUNK_BYTES))
        return Choice(self.algorithm, chunks, tuple(range(self.world_size)))
