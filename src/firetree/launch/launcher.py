"""Start local workers through torch's own elastic launcher, and say once why one failed.

Each worker is the same command with the same arguments; `place` tells it which one it is.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from firetree.collectives import CollectiveError
from firetree.errors import RunFailedError, UserError
from firetree.launch.place import master_port, port_in_use
from firetree.processes import end_with_parent

_SHUTDOWN_S = 5
"""How long workers may take to end after a signal, before they are killed."""

_HEARING_S = 1.0
"""How long a worker that lost a peer stays: the first to end ends all, and others may know more."""

_RUN_ID = "firetree"
"""Tells a worker that it was started by `launch`, and not by torchrun itself."""


class Interrupted(KeyboardInterrupt):
    """The command was asked to end by a signal."""

    def __init__(self, number: int):
        super().__init__(number)
        self.exit_code = 128 + number


def launch(workers: int, arguments: Sequence[str]) -> None:
    """Run `firetree arguments…` as `workers` local processes and wait for all of them.

    Raises:
        UserError: the first worker's own failure, or the port in MASTER_PORT is in use.
        Interrupted: a signal ended the job.
    """
    port = master_port(os.environ, default=0)
    _check_port(port)
    logging.disable(logging.CRITICAL)  # the launcher's account of a failure; ours is one line
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_SHUTDOWN_S))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a host's own name may not resolve
    with tempfile.TemporaryDirectory(prefix="firetree-") as log_dir:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=workers,
            run_id=_RUN_ID,
            rdzv_backend="c10d",
            rdzv_endpoint=f"127.0.0.1:{port}",
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=log_dir),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "firetree", *arguments)
        except ChildFailedError as error:
            raise _first_cause(error.failures) from error
        except SignalException as error:
            raise Interrupted(error.sigval) from error


def _check_port(port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise port_in_use(port) from error


def _first_cause(failures: Mapping[int, ProcessFailure]) -> UserError:
    """The failure that the others followed from.

    A worker without a report of its own that was told to end failed because of another one, and so
    did one that lost a peer which itself reports a failure.
    """
    reports = {
        rank: f.error_file_data for rank, f in failures.items() if "kind" in f.error_file_data
    }

    def consequence(rank: int) -> tuple[bool, bool, int, bool]:
        told_to_end = rank not in reports and failures[rank].exitcode == -signal.SIGTERM
        report = reports.get(rank, {})
        lost_a_peer = report.get("kind") == CollectiveError.__name__
        return told_to_end, report.get("peer") in reports, failures[rank].timestamp, lost_a_peer

    rank = min(failures, key=consequence)
    failure = failures[rank]
    if rank in reports:
        ours = failure.exitcode == UserError.exit_code
        return (UserError if ours else RunFailedError)(str(reports[rank]["message"]))
    if failure.exitcode < 0:
        name = failure.signal_name()
        return RunFailedError(f"worker {rank} was killed by {name}; the other workers were ended")
    return RunFailedError(f"worker {rank} ended with exit code {failure.exitcode}")


def follow_launcher() -> None:
    """In a worker of an elastic launcher: end at once when told to, and never outlive it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent(signal.SIGKILL)


def tell_launcher(error: BaseException, message: str) -> bool:
    """Leave the reason of this worker's end to the launcher; False where `launch` does not look."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path is None:
        return False
    report = {
        "message": message,
        "timestamp": str(int(time.time())),
        "kind": type(error).__name__,
        "peer": error.peer if isinstance(error, CollectiveError) else None,
    }
    Path(path).write_text(json.dumps(report), encoding="utf-8")
    if isinstance(error, CollectiveError):
        time.sleep(_HEARING_S)
    return os.environ.get("TORCHELASTIC_RUN_ID") == _RUN_ID
