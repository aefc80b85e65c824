"""Tables of reproductions go to `reproduce/RESULTS.md`, written as those of `benchmarks/` are, as pictures are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

from pictures import drawn_as, save_figure
from results import tell, write_section

__all__ = ["drawn_as", "save_figure", "tell", "write_table"]

RESULTS = Path(__file__).with_name("RESULTS.md")


def write_table(title: str, command: str, text: str, rows: Sequence[Sequence[str]]) -> None:
    """Replace, or add, the section of this title; the first row is the heading."""
    write_section(title, command, text, rows, page=RESULTS)
