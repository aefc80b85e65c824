"""What a message costs a CPU: within one host alone, and while all hosts send at once.

It is measured with the executor itself, which sends around a ring and waits for what comes before it
sends again.
"""

from __future__ import annotations

import socket
import time
from contextlib import closing
from statistics import fmean, median

import torch

from firetree.collectives.over_wires import OverWires
from firetree.collectives.schedule import Schedule, recv, send
from firetree.errors import CollectiveError
from firetree.wires import Mesh, Wire

_TINY_BYTES, _LARGE_BYTES, _POOL_BYTES = 4, 1 << 18, 1 << 24
_TINY, _LARGE = 100, 40
"""Messages in one repeat."""
_REPEATS = 5
RING_BYTES = 1 << 15
"""A message between all hosts. Tiny ones would keep all CPUs busy with waiting for them."""


def ring_message_s(
    outgoing: socket.socket, incoming: socket.socket, count: int, limit_s: float
) -> float | None:
    """CPU seconds on this host for an end of one of `count` messages of RING_BYTES.

    Each host calls this, with its connection to the next one of a ring and that from the one before.
    None if one of the two does not take part.
    """
    wire = Wire(outgoing, incoming)
    ring, buffer = _ring(wire, limit_s, 1), torch.zeros(RING_BYTES // 2)
    messages_s = []
    try:
        for _ in range(count):
            start_s = time.process_time()
            ring.carry(buffer)
            messages_s.append((time.process_time() - start_s) / 2)
    except CollectiveError:
        return None
    finally:
        wire.release()
    return fmean(messages_s[count // 8 :])


def message_costs() -> tuple[float, float, float]:
    """`message_s`, `byte_s` and `software_s` (see `Costs`) of a host that sends to itself."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        outgoing = socket.create_connection(listening.getsockname())
        incoming, _ = listening.accept()
    with closing(Wire.over(outgoing)), closing(Wire.over(incoming)):
        costs = {
            size_bytes: _round_costs(outgoing, incoming, size_bytes, count)
            for size_bytes, count in ((_TINY_BYTES, _TINY), (_LARGE_BYTES, _LARGE))
        }
    (tiny_s, wall_s), (large_s, _) = costs[_TINY_BYTES], costs[_LARGE_BYTES]
    byte_s = max(0.0, large_s - tiny_s) / _LARGE_BYTES
    return tiny_s, byte_s, max(0.0, wall_s - 2 * tiny_s)


def _round_costs(
    outgoing: socket.socket, incoming: socket.socket, size_bytes: int, count: int
) -> tuple[float, float]:
    """CPU seconds of an end of a message, and seconds of the clock for both."""
    ring = _ring(Wire(outgoing, incoming), 5.0, count)
    # Together no cache holds the large ones, as it would not in training.
    number = max(1, _POOL_BYTES // size_bytes // _REPEATS) if size_bytes > _TINY_BYTES else 1
    buffers = [torch.zeros(size_bytes // 2) for _ in range(number)]
    ring.carry(buffers[0])
    cpu, wall = list[float](), list[float]()
    for repeat in range(_REPEATS):
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        ring.carry(buffers[repeat % number])
        cpu.append((time.process_time() - cpu_s) / (2 * count))
        wall.append((time.perf_counter() - wall_s) / count)
    return median(cpu), median(wall)


def _ring(wire: Wire, limit_s: float, count: int) -> OverWires:
    """Sends so many times to the next host, each time what came from the one before.

    One chunk comes while the other goes, so that neither end waits for room in the kernel.
    """
    program = tuple(op for k in range(count) for op in (send(1, k % 2), recv(1, (k + 1) % 2)))
    mesh = Mesh(0, (0, 1), {1: wire}, limit_s)
    return OverWires(Schedule(2, 2, (program, ())), mesh)
