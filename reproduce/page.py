"""Tables of reproductions go to `reproduce/RESULTS.md`; they and images are written as in `benchmarks/`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

from firetree.durable import write_durably
from images import drawn_as, save_figure
from results import tell, write_section

__all__ = ["drawn_as", "median_and_each", "save_figure", "tell", "write_lines", "write_table"]

RESULTS = Path(__file__).with_name("RESULTS.md")


def write_table(title: str, command: str, text: str, rows: Sequence[Sequence[str]]) -> None:
    """Replace, or add, the section of this title; the first row is the heading."""
    write_section(title, command, text, rows, page=RESULTS)


def median_and_each(values: Sequence[float]) -> str:
    """With two digits; nothing of nothing."""
    each = ", ".join(f"{value:.2f}" for value in values)
    return f"{median(values):.2f} ({each})" if values else ""


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Replace a page that holds one table."""
    write_durably(path, ("\n".join(lines) + "\n").encode())
