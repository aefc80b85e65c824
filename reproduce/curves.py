"""Curves of several seeds as one: their median, in a band from the least to the most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def band(
    panel: Axes, x: Sequence[float], curves: Sequence[Sequence[float]], label: str, colour: str
) -> None:
    """Each curve has a value for each x."""
    at_x = [*zip(*curves, strict=True)]
    panel.plot(x, [median(values) for values in at_x], c=colour, label=label)
    panel.fill_between(x, [*map(min, at_x)], [*map(max, at_x)], color=colour, alpha=0.2, lw=0)


def save_svg(figure: Figure, path: Path) -> None:
    """The same figure gives the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rcParams["svg.hashsalt"] = "firetree"
    figure.savefig(path, format="svg", metadata={"Date": None})
