"""Watches a training script that firetree has never seen, and writes its trace.

On each rank, in the script's own process:

    marks on models, optimisers, loaders, files ──► Recorder ──► StepTrace
                                                                    │ telemetry: a thread, off the
    BucketMarks ◄── sync: each bucket, ready and summed             ▼ training's path
    TcpConnections ◄── the kernel                             rank 0: the run's folder
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firetree.lazy import lazily

if TYPE_CHECKING:
    from firetree.observing.watch import (
        BucketMarks,
        end_watch,
        tell_run,
        watch_model,
        watched_run,
    )

__all__ = ["BucketMarks", "end_watch", "tell_run", "watch_model", "watched_run"]

# The collector does without torch.
__getattr__ = lazily(__name__, dict.fromkeys(__all__, "watch"))
