"""The trace of a run: for every rank one line a step, with its time and bytes.

A trace is data: `train` and a watched script write it, `report` reads it, and a person can too.
"""

from firetree.trace.encoding import as_json
from firetree.trace.events import Event, EventKind, OpenBucket, OpenStep
from firetree.trace.files import (
    TRACE_VERSION,
    RankTrace,
    Trace,
    add_event,
    append_step_lines,
    append_steps,
    begin_trace,
    files,
    is_of_this_run,
    read_trace,
    write_now,
)
from firetree.trace.growing import GrowingTrace
from firetree.trace.steps import (
    MOST_LAYERS,
    MOST_TRANSFERS,
    SHARDED,
    BucketSpan,
    ChannelSpan,
    Communication,
    ConnectionSpan,
    LayerBytes,
    LayerSpan,
    PassSpan,
    Phase,
    PhaseSpan,
    StepTrace,
    TraceHeader,
    TransferSpan,
    WireSpan,
    is_detailed,
    shift,
)

__all__ = [
    "MOST_LAYERS",
    "MOST_TRANSFERS",
    "SHARDED",
    "TRACE_VERSION",
    "BucketSpan",
    "ChannelSpan",
    "Communication",
    "ConnectionSpan",
    "Event",
    "EventKind",
    "GrowingTrace",
    "LayerBytes",
    "LayerSpan",
    "OpenBucket",
    "OpenStep",
    "PassSpan",
    "Phase",
    "PhaseSpan",
    "RankTrace",
    "StepTrace",
    "Trace",
    "TraceHeader",
    "TransferSpan",
    "WireSpan",
    "add_event",
    "append_step_lines",
    "append_steps",
    "as_json",
    "begin_trace",
    "files",
    "is_detailed",
    "is_of_this_run",
    "read_trace",
    "shift",
    "write_now",
]
