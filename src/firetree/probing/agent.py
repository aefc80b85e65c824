"""What every host does during a probe: it measures as rank 0 says, a line of JSON at a time.

The coordinator's side of these lines is `team`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import TCPStore

from firetree.errors import RunFailedError
from firetree.probing.costs import measure_costs
from firetree.probing.meeting import Meeting, connect
from firetree.probing.messages import ring_message_s
from firetree.probing.result import Probe
from firetree.probing.streams import Streams

SILENCE_S = 30.0
"""Rank 0 says something to every host more often than that."""

Reply = dict[str, Any]


def take_part(meeting: Meeting, rank: int, limit_s: float) -> Probe:
    """Serve rank 0 as host `rank` until it has the result; gives that.

    Raises:
        RunFailedError: rank 0 is lost, or has left this host out.
    """
    with contextlib.closing(connect(meeting, rank, limit_s)) as control:
        control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        control.settimeout(max(SILENCE_S, limit_s))
        address = control.getsockname()[0]
        with contextlib.closing(Streams(rank, meeting.token, address)) as streams:
            # Where rank 0 cannot tell by which address others come, it has named them all.
            streams.listen("" if rank == 0 and len(meeting.addresses) > 1 else address)
            return _serve(control, streams)


def _serve(control: socket.socket, streams: Streams) -> Probe:
    rank = streams.rank
    try:
        control.sendall(_line(_introduction(streams)))
        with control.makefile("rb") as file:
            while line := file.readline():
                command = json.loads(line)
                if command["do"] == "end":
                    return Probe.from_json(command["probe"])
                if command["do"] == "fail":
                    raise RunFailedError(command["why"])
                if command["do"] != "wait":
                    control.settimeout(SILENCE_S)
                    reply = _obey(command, streams)
                    control.sendall(_line({"number": command["number"], **reply}))
    except TimeoutError as error:
        raise RunFailedError(
            f"rank {rank} heard nothing of rank 0 for {SILENCE_S:.0f} s; the probe ends"
        ) from error
    except OSError as error:
        raise RunFailedError(f"rank {rank} lost rank 0; the probe ends") from error
    raise RunFailedError(
        f"rank {rank} lost rank 0, or was left out because it did not answer in time; the probe ends"
    )


def _introduction(streams: Streams) -> Reply:
    return {
        "rank": streams.rank,
        "address": streams.address,
        "port": streams.port,
        "machine": _boot_id(),
        "cores": len(os.sched_getaffinity(0)),
    }


def _obey(command: Mapping[str, Any], streams: Streams) -> Reply:
    limit_s = command["limit_s"]
    match command["do"]:
        case "connect":
            peers = {int(rank): (address, port) for rank, (address, port) in command["to"].items()}
            streams.connect(peers, limit_s)
            return {"reached": [*streams.sending]}
        case "costs":
            return asdict(measure_costs())
        case "messages":
            return {"message_s": _message_s(command, streams.address)}
        case "stream":
            return _stream(command, streams)
        case "drain":
            totals = {int(rank): total_bytes for rank, total_bytes in command["totals"].items()}
            streams.drain(totals, limit_s)
            return {}
        case "ping":
            return {"times_s": streams.ping(command["peer"], command["count"], limit_s)}
        case "echo":
            streams.echo(command["peer"], command["count"], limit_s)
            return {}
    raise RunFailedError(
        f"rank 0 asks for '{command['do']}'; expected the same firetree everywhere"
    )


def _message_s(command: Mapping[str, Any], address: str) -> float | None:
    timeout = timedelta(seconds=command["limit_s"])
    with contextlib.suppress(RuntimeError):
        address_of_store, port = command["store"]
        store = TCPStore(address_of_store, port, timeout=timeout)
        among = command["place"], command["size"]
        return ring_message_s(store, address, *among, command["limit_s"])
    return None


def _stream(command: Mapping[str, Any], streams: Streams) -> Reply:
    to = {int(rank): size_bytes for rank, size_bytes in command["to"].items()}
    extent = command["span_s"], command["most_bytes"], command["add_up"]
    sent, rates = streams.stream(to, command["from"], *extent)
    return {"sent": sent, "rates": rates}


def _boot_id() -> str:
    """The same text for hosts that are one machine in truth, as containers and the lab's are."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"
