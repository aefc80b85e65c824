"""Curves of several seeds as one: their median, in a band from the least to the most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any, TypeVar

from matplotlib.axes import Axes

Point = TypeVar("Point", bound=Any)
Name = TypeVar("Name")


def by_name(
    points: Iterable[Point], name: Callable[[Point], Name]
) -> dict[Name, list[list[Point]]]:
    """The points of each name: a list for each seed."""
    found: dict[Name, dict[int, list[Point]]] = {}
    for point in points:
        found.setdefault(name(point), {}).setdefault(point.seed, []).append(point)
    return {name: [seeds[seed] for seed in sorted(seeds)] for name, seeds in found.items()}


def band(
    panel: Axes, x: Sequence[float], curves: Sequence[Sequence[float]], label: str, colour: str
) -> None:
    """Each curve has a value for each x."""
    at_x = [*zip(*curves, strict=True)]
    panel.plot(x, [median(values) for values in at_x], c=colour, label=label)
    panel.fill_between(x, [*map(min, at_x)], [*map(max, at_x)], color=colour, alpha=0.2, lw=0)
