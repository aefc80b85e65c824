"""What every host does during a probe: it carries out rank 0's orders, which `team` sends."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import asdict
from pathlib import Path

from firetree.errors import RunFailedError
from firetree.peers import reach
from firetree.probing.costs import Costs, measure_costs
from firetree.probing.orders import (
    Connect,
    Connected,
    Drain,
    Drained,
    Echo,
    Echoes,
    End,
    Fail,
    Introduction,
    MeasureCosts,
    MeasureMessages,
    MessageCost,
    Order,
    Ping,
    Replied,
    Stream,
    Streamed,
    Wait,
    encode,
    read_order,
)
from firetree.probing.rendezvous import Rendezvous, connect
from firetree.probing.result import Probe
from firetree.probing.streams import Streams

SILENCE_S = 30.0
"""Rank 0 sends something to every host more often than this."""
_MOST_NAME = 64

Finding = Connected | Costs | MessageCost | Streamed | Drained | Echoes


def take_part(rendezvous: Rendezvous, rank: int, limit_s: float) -> Probe:
    """Serve rank 0 as host `rank` until it sends the result, which is returned.

    Raises:
        RunFailedError: rank 0 is lost, or has left this host out.
    """
    with contextlib.closing(connect(rendezvous, rank, limit_s)) as control:
        control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        control.settimeout(max(SILENCE_S, limit_s))
        address = control.getsockname()[0]
        with contextlib.closing(Streams(rank, rendezvous.token, address)) as streams:
            # Rank 0 has published all addresses where it cannot tell which of them others use.
            streams.listen("" if rank == 0 and len(rendezvous.addresses) > 1 else address)
            return _serve(control, streams)


def _serve(control: socket.socket, streams: Streams) -> Probe:
    rank = streams.rank
    try:
        cores = len(os.sched_getaffinity(0))
        interface = reach.interface_of(streams.address) or ""
        here = Introduction(
            rank,
            _own_name(),
            streams.address,
            streams.port,
            _boot_id(),
            cores,
            interface,
            reach.is_wireless(interface),
        )
        control.sendall(encode(here))
        with control.makefile("rb") as file:
            while line := file.readline():
                order, number, limit_s = read_order(line)
                match order:
                    case End(probe):
                        return Probe.from_json(probe)
                    case Fail(why):
                        raise RunFailedError(why)
                    case Wait():
                        continue
                control.settimeout(SILENCE_S)
                answer = _obey(order, limit_s, streams)
                control.sendall(encode(Replied(number, asdict(answer))))
    except TimeoutError as error:
        raise RunFailedError(
            f"rank {rank} heard nothing of rank 0 for {SILENCE_S:.0f} s; the probe ends"
        ) from error
    except OSError as error:
        raise RunFailedError(f"rank {rank} lost rank 0; the probe ends") from error
    raise RunFailedError(
        f"rank {rank} lost rank 0, or was left out because it did not answer in time; the probe ends"
    )


def _obey(order: Order, limit_s: float, streams: Streams) -> Finding:
    match order:
        case Connect(peers):
            streams.connect({peer.rank: (peer.address, peer.port) for peer in peers}, limit_s)
            return Connected(tuple(streams.sending))
        case MeasureCosts():
            return measure_costs()
        case MeasureMessages(to, take_from, count):
            return MessageCost(streams.message_s(to, take_from, count, limit_s))
        case Stream(to, take_from, span_s, most_bytes, add_up):
            sent, rates = streams.stream(dict(to), take_from, span_s, most_bytes, add_up)
            return Streamed(tuple(sent.items()), tuple(rates.items()))
        case Drain(totals):
            streams.drain(dict(totals), limit_s)
            return Drained()
        case Ping(peer, count):
            return Echoes(tuple(streams.ping(peer, count, limit_s)))
        case Echo(peer, count):
            streams.echo(peer, count, limit_s)
            return Echoes()
    raise AssertionError(order)


def _own_name() -> str:
    """This host's name as far as it can stand in a sentence, which other hosts print."""
    return "".join(sign for sign in reach.host_name() if sign.isprintable())[:_MOST_NAME]


def _boot_id() -> str:
    """The same text for hosts that share one machine, such as containers and the lab's hosts."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()
