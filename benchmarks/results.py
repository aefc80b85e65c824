"""Each benchmark keeps a section of its own in RESULTS.md, with the machine that measured it."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from firetree.durable import write_durably
from firetree.environment import describe_environment

RESULTS = Path(__file__).with_name("RESULTS.md")


def write_section(
    title: str, command: str, text: str, rows: Sequence[Sequence[str]], page: Path = RESULTS
) -> None:
    """Replace, or add, the section of this title; the first row is the heading."""
    machine = describe_environment(seed=0, world_size=1)
    heading, *body = rows
    lines = [
        f"## {title}",
        "",
        f"`{command}` on {machine['CPU']}, {machine['platform']}, torch {machine['torch']}, "
        f"{machine['started'][:10]}.",
        "",
        text,
        "",
        "| " + " | ".join(heading) + " |",
        "|" + "---|" * len(heading),
        *("| " + " | ".join(row) + " |" for row in body),
    ]
    section = "\n".join(lines)
    old = page.read_text(encoding="utf-8") if page.exists() else "# Results"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    found = pattern.search(old)
    before, after = (old[: found.start()], old[found.end() :]) if found else (old, "")
    parts = [part.strip("\n") for part in (before, section, after)]
    write_durably(page, ("\n\n".join(filter(None, parts)) + "\n").encode())
    print(section)


def write_points(path: Path, points: Sequence[Mapping[str, Any]]) -> None:
    """A CSV with a line for each point; the first one's keys are the heading."""
    page = io.StringIO()
    writer = csv.DictWriter(page, fieldnames=list(points[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(points)
    write_durably(path, page.getvalue().encode())


def tell(what: str) -> None:
    """Say on standard error what takes its time."""
    print(f"{what} …", file=sys.stderr, flush=True)


def median_and_spread(values: Sequence[float], digits: int = 2) -> str:
    """`median (least to most)`."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
