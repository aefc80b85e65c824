"""Opens the telemetry of all ranks together: rank 0's folder, the collector, a connection of each rank."""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any
from weakref import WeakSet

from firetree.documents import from_document
from firetree.errors import CollectiveError, UserError
from firetree.observing.collector import Assignment
from firetree.observing.script_folder import open_script_folder
from firetree.observing.sending import Telemetry
from firetree.peers import Json, reach
from firetree.trace import TraceHeader
from firetree.wires import TOKEN_BYTES, dial, given_secret, greeting

__all__ = ["Telemetry", "open_telemetry"]

_MEET_S = 15.0
"""How long ranks have to reach the collector."""
_COLLECTOR = (sys.executable, "-P", "-m", "firetree.observing.collector")

_OPEN: WeakSet[Telemetry] = WeakSet()


def open_telemetry(
    run_dir: Path,
    header: TraceHeader,
    about: Mapping[str, Any],
    gather: Callable[[Json], list[Json]],
) -> Telemetry:
    """Open the way of all ranks' traces to rank 0's folder; all ranks call it together.

    Args:
        run_dir: the folder, which holds no run yet; rank 0's counts.
        header: of this rank, which counts the ranks that `gather` tells.
        about: what script.json says; rank 0's counts.
        gather: tells all ranks a value, as `peers.gather_json`.

    Raises:
        UserError: on all ranks alike: rank 0's folder holds a run, is in use, or cannot be written.
        CollectiveError: on all ranks alike: a rank cannot reach rank 0's host.
    """
    address = reach.address_for_all(gather)
    headers = tuple(
        from_document(TraceHeader, it, f"the header of rank {rank}")
        for rank, it in enumerate(gather(asdict(header)))
    )
    process, begun = None, None
    if header.rank == 0:
        try:
            process, begun = _start_collector(run_dir, headers, about, address)
        except UserError as error:
            begun = {"failure": str(error)}
    begun = gather(begun)[0]
    if "failure" in begun:
        raise UserError(begun["failure"])
    telemetry, failure = None, None
    until_s = time.monotonic() + _MEET_S
    hello = greeting(bytes.fromhex(begun["token"]), header.rank)
    try:
        stream = dial(begun["address"], begun["port"], hello, until_s, given_secret())
        telemetry = Telemetry(stream, header, process)
        _OPEN.add(telemetry)
        Finalize(None, telemetry.close, exitpriority=0)
        telemetry.begin(until_s)
    except OSError as error:
        failure = (
            f"{header.name} cannot reach {begun['address']}, port {begun['port']}, where rank 0 takes "
            f"the trace: {error.strerror or error}"
        )
    failures = [it for it in gather(failure) if it]
    if telemetry and not failures:
        return telemetry
    if telemetry:
        telemetry.leave()
    raise CollectiveError(failures[0])


def _start_collector(
    run_dir: Path, headers: tuple[TraceHeader, ...], about: Mapping[str, Any], address: str
) -> tuple[subprocess.Popen[bytes], dict[str, Json]]:
    """Begin the folder, and start the process that writes there; gives where it listens."""
    folder, remark = open_script_folder(run_dir, headers, about)
    if remark:
        logging.getLogger("firetree").warning(remark)
    logging.getLogger("firetree").info("run folder: %s", run_dir)
    token = secrets.token_hex(TOKEN_BYTES)
    try:
        with closing(reach.listen_at(address)) as listening:
            where: tuple[str, int] = listening.getsockname()[:2]
            inherited = folder, listening.fileno()
            asked = Assignment(str(run_dir.absolute()), *inherited, token, headers, _MEET_S)
            process = subprocess.Popen(
                _COLLECTOR,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # whoever reads ours waits for its end
                stderr=subprocess.DEVNULL,
                pass_fds=inherited,
                start_new_session=True,  # it ends after the ranks, whatever ends them
            )
        with process.stdin as assignment:  # type: ignore[union-attr]
            assignment.write(json.dumps(asdict(asked)).encode())
    except OSError as error:
        raise UserError(f"cannot start what writes the trace at {address}: {error}") from error
    finally:
        os.close(folder)
    return process, {"address": where[0], "port": where[1], "token": token}


def _leave_all() -> None:
    """A process that a rank forks, as to load data, would keep its connection open."""
    for telemetry in _OPEN:
        telemetry.leave()


os.register_at_fork(after_in_child=_leave_all)
