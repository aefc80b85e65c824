"""The watch over this process: one recorder for all its models, and the way of its steps to rank 0."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path

from torch import nn
from torch.distributed import GradBucket, ProcessGroup
from torch.nn.parallel import DistributedDataParallel

from firetree.errors import ArgumentError
from firetree.observing.connections import TcpConnections
from firetree.observing.layers import LayerNames, largest_layers
from firetree.observing.marks import ModelMarks, mark_process
from firetree.observing.recorder import Recorder, Sums
from firetree.observing.telemetry import Telemetry, open_telemetry
from firetree.observing.trackers import Trackers
from firetree.observing.worth import Worth
from firetree.peers.reach import host_name, known_address
from firetree.trace import (
    EventKind,
    OpenBucket,
    StepTrace,
    TraceHeader,
)
from firetree.wires.mesh import Gather


class BucketMarks:
    """Tells a recorder of a model's buckets."""

    def __init__(self, recorder: Recorder, number: int, model: nn.Module):
        self._recorder, self._number = recorder, number
        self._names = LayerNames(model)

    def hand_over(self, bucket: GradBucket) -> Callable[[object], None]:
        """A bucket's last gradient was computed; call what it gives once the sum is there."""
        index, number, recorder = bucket.index(), self._number, self._recorder
        layers = self._names.of(bucket) if recorder.detailed else ()
        recorder.hand_over(OpenBucket(index, time.monotonic(), None, layers, number))
        return lambda _: recorder.summed(number, index)


@dataclass(frozen=True, slots=True)
class _Watch:
    run_dir: Path
    recorder: Recorder
    telemetry: Telemetry
    trackers: Trackers


_watch: _Watch | None = None


def watched_run() -> Path | None:
    """The folder of the run that this process writes, if it is watched."""
    return _watch.run_dir if _watch else None


def watch_model(
    model: nn.Module, group: ProcessGroup, sums: Sums, run_dir: Path, gather: Gather
) -> BucketMarks:
    """Record the steps of a model; all its ranks call it together, for their first model and later ones.

    Args:
        model: in DDP, or sharded.
        group: its ranks.
        sums: of its gradients.
        run_dir: where rank 0 writes the run; one for all models of a process.
        gather: over the model's ranks.

    Raises:
        UserError: this process writes another run already, or rank 0 cannot write to the folder.
    """
    global _watch
    if _watch is None:
        about, group_rank = {"command": sys.argv, "sync": sums.algorithm}, group.rank()
        telemetry = open_telemetry(run_dir, _header(model, group, sums), about, gather)
        trackers, worth = Trackers(), Worth(group.size())

        def tell(step: StepTrace) -> None:
            telemetry.add(step)
            trackers.add(step)
            if group_rank == 0 and (slower := worth.add(step)):
                logging.getLogger("firetree").warning("%s", slower)
                telemetry.tell("slower", step.step, slower)

        recorder = Recorder(tell, TcpConnections())
        telemetry.now = recorder.now
        mark_process(recorder)
        # As by atexit, but in processes too that the script has started by multiprocessing.
        Finalize(None, end_watch, exitpriority=1)
        _watch = _Watch(run_dir, recorder, telemetry, trackers)
    elif _watch.run_dir != run_dir:
        raise ArgumentError(
            "run_dir",
            f"is {run_dir}, but this process writes {_watch.run_dir} already; use one for all models",
        )
    number = _watch.recorder.add_sums(sums)
    ModelMarks(_watch.recorder, model)
    return BucketMarks(_watch.recorder, number, _inner(model))


def tell_run(kind: EventKind, text: str) -> None:
    """Add an event to the run that this process writes, if it is watched."""
    if _watch:
        _watch.telemetry.tell(kind, _watch.recorder.step, text)


def end_watch(failure: str | None = None) -> None:
    """Write the last step, and where this rank is if it ends by a failure."""
    global _watch
    watch, _watch = _watch, None
    if watch:
        watch.recorder.end()
        watch.telemetry.close(failure)
        watch.trackers.tell()


def _inner(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model


def _header(model: nn.Module, group: ProcessGroup, sums: Sums) -> TraceHeader:
    return TraceHeader(
        rank=group.rank(),
        world_size=group.size(),
        algorithm=sums.algorithm,
        bytes_counted_by=sums.bytes_counted_by,
        gradient_bytes=sum(it.nbytes for it in model.parameters() if it.requires_grad),
        formula_bytes=None,
        host=host_name(),
        address=known_address() or "",
        layers=largest_layers(_inner(model)),
        script=Path(sys.argv[0]).name,
    )
