"""Trainings whose results are kept in a table, so that a reproduction goes on where it was stopped."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

Row = dict[str, str]


@dataclass(frozen=True)
class Training:
    """One run of `firetree train`: what it is called in the table, and its options."""

    key: Mapping[str, object]
    recipe: str
    options: Sequence[str]

    def run(self) -> Row:
        """Train with one thread; the row has the last accuracy, none where the loss was no number."""
        with tempfile.TemporaryDirectory() as folder:
            run_dir = Path(folder, "run")
            command = [sys.executable, "-m", "firetree", "train", self.recipe]
            done = subprocess.run(
                [*command, "--run-dir", str(run_dir), *self.options],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            if "not finite" in done.stderr:
                accuracy = ""
            else:
                done.check_returncode()
                lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
                accuracy = f"{json.loads(lines[-1])['accuracy']:.4f}"
        return {**{name: str(value) for name, value in self.key.items()}, "accuracy": accuracy}


def results(table: Path, trainings: Iterable[Training], at_once: int = 2) -> list[Row]:
    """The rows of these trainings; those that the table lacks are run, and added as they end."""
    known = read(table)
    wanted = [(training, _key(training.key)) for training in trainings]
    missing = {key: training for training, key in wanted if key not in known}
    with ThreadPoolExecutor(at_once) as pool:
        for ended in as_completed([pool.submit(training.run) for training in missing.values()]):
            row = ended.result()
            print(row, file=sys.stderr, flush=True)
            known[_key({name: value for name, value in row.items() if name != "accuracy"})] = row
            _write(table, known.values())
    return [known[key] for _, key in wanted]


def read(table: Path) -> dict[tuple[str, ...], Row]:
    """All rows of a table by what they are called."""
    if not table.exists():
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        _key({name: value for name, value in row.items() if name != "accuracy"}): row
        for row in rows
    }


def _key(key: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(str(value) for value in key.values())


def _write(table: Path, rows: Iterable[Row]) -> None:
    ordered = sorted(rows, key=lambda row: [*row.values()])
    aside = table.with_suffix(".tmp")
    with aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(ordered[0]))
        writer.writeheader()
        writer.writerows(ordered)
    aside.replace(table)
