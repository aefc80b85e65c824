"""Random numbers of code that is not ours: they come from Python's, NumPy's and PyTorch's global generators."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def seeds(key: Sequence[int], count: int) -> npt.NDArray[np.uint32]:
    """seed_N: so many seeds, which depend on the key alone, numbers of 0 or more."""
    return np.random.SeedSequence(key).generate_state(count).astype(np.uint32)


def seed_all(number: int) -> None:
    """Let the global generators, of the CPU, start from a number of 32 bits."""
    random.seed(number)
    np.random.seed(number)
    # torch.manual_seed notes the stack for every kind of device that is absent: half a millisecond.
    torch.default_generator.manual_seed(number)


class Luck:
    """Random numbers that go on where they were left, apart from those of all other code."""

    def __init__(self) -> None:
        self._own = _states()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within, the global generators go on as they were left here."""
        others = _states()
        _restore(self._own)
        try:
            yield
        finally:
            self._own = _states()
            _restore(others)


def _states() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state(), torch.default_generator.get_state()


def _restore(states: tuple[Any, ...]) -> None:
    python, numpy, pytorch = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.default_generator.set_state(pytorch)
