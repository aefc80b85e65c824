"""TensorBoard reads what a watched script's steps took."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from firetree.observing.board import Board
from firetree.trace import BucketSpan, StepTrace, as_json


def step(number: int, forward_s: float, sent_bytes: int, count: int = 1) -> str:
    bucket = BucketSpan(0, 40, 0.0, 0.0, 1.0)
    return as_json(
        StepTrace(number, 0.0, 0.5, forward_s, 2.0, 0.25, 8, sent_bytes, (bucket,), count=count)
    )


def points(run_dir: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run_dir / "tensorboard"))
    events.Reload()
    found = events.Tensors(f"firetree/{name}")
    return [(it.step, float(make_ndarray(it.tensor_proto))) for it in found]


def test_each_point_is_the_mean_of_its_steps(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.add([step(0, 1.0, 300)])
    board.add([step(1, 1.0, 300), step(4, 2.0, 700, count=3)])
    board.close()
    assert points(tmp_path, "forward_s") == [(0, 1.0), (4, pytest.approx(1.75))]
    assert points(tmp_path, "step_s") == [(0, 3.75), (4, pytest.approx(4.5))]
    assert points(tmp_path, "sent_bytes") == [(0, 300), (4, 600)]


def test_without_tensorboard_there_is_none_and_no_failure(tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["tensorboard"] = None
from pathlib import Path
from firetree.observing.board import Board
from firetree.trace import StepTrace, as_json
board = Board(Path({str(tmp_path)!r}))
board.add([as_json(StepTrace(0, 0.0, 0.5, 1.0, 2.0, 0.25, 8, 0, ()))])
board.close()
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(tmp_path.iterdir())
