"""Fast weights against torch.nn.LSTM, and the chunked delta rule against the step-by-step one.

Forward and backward on one thread, interleaved; needs nothing else on the machine: about two minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import torch
from torch import nn

from firetree.fastweights import DeltaFastWeights, FastWeightRNN
from results import median_and_spread, write_section

BATCH = 128
STEPS, UNITS = (11, 64), (50, 128)
DELTA_BATCHES, DELTA_STEPS, DELTA_UNITS = (1, 8, 128), 512, 64
ROUNDS, LEAST_S = 15, 0.1
"""Rounds of all candidates in turn, and how long each is repeated in a round at least."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    rows = [
        ["layer", "batch", "steps", "units", "ms", "of the peer", "peer"],
        *(row for steps in STEPS for units in UNITS for row in against_lstm(steps, units)),
        *(row for batch in DELTA_BATCHES for row in delta(batch)),
    ]
    write_section(
        "Fast weights",
        "python benchmarks/fast_weights.py",
        "Forward and backward pass on one thread, as many inputs as units, one inner step. Medians "
        "(least to most) of interleaved rounds; the ratio is the median of the rounds' own.",
        rows,
    )


def against_lstm(steps: int, units: int) -> Iterator[list[str]]:
    def layer(**options: Any) -> nn.Module:
        return FastWeightRNN(units, units, batch_first=True, **options)

    layers = {
        "nn.LSTM": nn.LSTM(units, units, batch_first=True),
        "FastWeightRNN": layer(),
        "FastWeightRNN, h₀ normalised": layer(normalise_first=True),
        # For sequences this short `auto` is this where numba is not installed.
        "FastWeightRNN, without numba": layer(form="attention"),
    }
    yield from compared(layers, "nn.LSTM", (BATCH, steps, units))


def delta(batch: int) -> Iterator[list[str]]:
    def layer(form: str) -> nn.Module:
        return DeltaFastWeights(DELTA_UNITS, DELTA_UNITS, batch_first=True, form=form)

    layers = {"delta, step by step": layer("recurrent"), "delta, by chunks": layer("chunked")}
    yield from compared(layers, "delta, step by step", (batch, DELTA_STEPS, DELTA_UNITS))


def compared(
    layers: dict[str, nn.Module], peer: str, shape: tuple[int, int, int]
) -> Iterator[list[str]]:
    x_BTI = torch.randn(shape, requires_grad=True)

    def passes(layer: nn.Module) -> Callable[[], None]:
        return lambda: layer(x_BTI)[0].sum().backward()

    times = interleaved([passes(layer) for layer in layers.values()])
    taken = dict(zip(layers, times, strict=True))
    for name, seconds in taken.items():
        ratio = median(ours / theirs for ours, theirs in zip(seconds, taken[peer], strict=True))
        yield [
            name,
            *map(str, shape),
            median_and_spread([1e3 * one for one in seconds]),
            "" if name == peer else f"{ratio:.2f}",
            "" if name == peer else peer,
        ]


def interleaved(candidates: Sequence[Callable[[], None]]) -> list[list[float]]:
    """Seconds of one call of each, for each round."""
    calls = [max(1, round(LEAST_S / timed(candidate, 3))) for candidate in candidates]
    rounds = [
        [timed(candidate, count) for candidate, count in zip(candidates, calls, strict=True)]
        for _ in range(ROUNDS)
    ]
    return [list(times) for times in zip(*rounds, strict=True)]


def timed(candidate: Callable[[], None], calls: int) -> float:
    begun_s = time.perf_counter()
    for _ in range(calls):
        candidate()
    return (time.perf_counter() - begun_s) / calls


if __name__ == "__main__":
    main()
