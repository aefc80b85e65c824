"""The numbers of a watched script for TensorBoard, beside its trace: rank 0's, as it tells them."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from queue import SimpleQueue

from firetree.documents import from_document
from firetree.observing.thinning import Joined
from firetree.trace import StepTrace

_NAMES = (
    *("step_s", "data_wait_s", "forward_s", "backward_s", "communication_s", "optimizer_s"),
    *("evaluation_s", "saving_s", "other_s", "cpu_s", "starved_s", "sent_bytes"),
)


def numbers(step: StepTrace) -> dict[str, float]:
    """What is shown of a step, by its name there."""
    return {f"firetree/{name}": getattr(step, name) for name in _NAMES}


class Board:
    """TensorBoard events in a run's folder; none where TensorBoard is not installed.

    A thread writes them, which imports TensorBoard first: the trace does not wait for it.
    """

    def __init__(self, run_dir: Path):
        self._folder = str(run_dir / "tensorboard")
        self._points: SimpleQueue[Sequence[str] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="firetree-board", daemon=True)
        self._thread.start()

    def add(self, lines: Sequence[str]) -> None:
        """Add one point: the means over the steps of these lines of the trace."""
        self._points.put(lines)

    def close(self) -> None:
        """Wait until all points are written."""
        self._points.put(None)
        self._thread.join()

    def _write(self) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError:
            return
        writer = Writer(self._folder)
        for lines in iter(self._points.get, None):
            mean = reduce(Joined.with_next, (Joined.of(_plain(line)) for line in lines)).line()
            for name, number in numbers(mean).items():
                writer.add_scalar(name, number, mean.step)
            writer.flush()
        writer.close()


def _plain(line: str) -> StepTrace:
    """The step without its buckets and other lists, which take long to read."""
    told = {name: it for name, it in json.loads(line).items() if not isinstance(it, list)}
    return from_document(StepTrace, {**told, "buckets": []}, "a line of the trace")
