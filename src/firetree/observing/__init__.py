"""Watches a training script that firetree has never seen, and writes its trace.

On each rank, in the script's own process:

    marks on models, optimisers, loaders, files ──► Recorder ──► StepTrace
                                                                    │ telemetry: a thread, off the
    BucketMarks ◄── sync: each bucket, ready and summed             ▼ training's path
    TcpConnections ◄── the kernel                             rank 0: the run's folder
"""

from firetree.observing.watch import (
    BucketMarks,
    end_watch,
    largest_layers,
    watch_model,
    watched_run,
)

__all__ = ["BucketMarks", "end_watch", "largest_layers", "watch_model", "watched_run"]
