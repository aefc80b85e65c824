"""When buckets were summed, and what went over the wires for them, until someone asks.

Marks are kept as they are made; spans are made of them when asked for, outside of the sums.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed import GradBucket
from torch.futures import Future

from firetree.collectives.executor import Carried, Channel
from firetree.sync.clocks import Clock
from firetree.torch_private import sparse_parts
from firetree.trace import (
    MOST_TRANSFERS,
    BucketSpan,
    ChannelSpan,
    Communication,
    TransferSpan,
    WireSpan,
)
from firetree.wires import Mesh
from firetree.wires.tcp_info import TcpInfo, read_tcp_info

_MOST_BUCKETS = 1024
"""Buckets that are kept until someone asks; older ones are dropped. On 64 ranks a ring's take 16 MB."""

_Summed = tuple[int, int, tuple[Any, Any, Any], Carried]
"""A bucket's index and bytes, the clock's marks (ready, sum begun, sum ended), and what moved."""

CommHook = Callable[[GradBucket], Future[Tensor] | Future[list[Tensor]]]
"""What sums a bucket in place of DDP; a backend's own future has a list of one tensor."""

_Moved = tuple[Channel, list[float]]


class Record:
    """The newest buckets of a synchroniser, and its wires.

    Args:
        clock: whose marks the buckets have.
        over: what carries the sums.
    """

    def __init__(self, clock: Clock, over: Mesh | dist.ProcessGroup):
        self._clock = clock
        self._names, self._wires = (over.names, over.wires) if isinstance(over, Mesh) else ((), {})
        self._buckets: deque[_Summed] = deque(maxlen=_MOST_BUCKETS)
        self._read_s, self._infos = time.monotonic(), self._read()

    @property
    def count(self) -> int:
        """How many buckets were summed since `take`."""
        return len(self._buckets)

    def add(
        self, index: int, size_bytes: int, marks: tuple[Any, Any, Any], carried: Carried
    ) -> None:
        """Keep a bucket whose sum is over; the marks are ready, sum begun and sum ended."""
        self._buckets.append((index, size_bytes, marks, carried))

    def measure(
        self, hook: CommHook, bucket: GradBucket, summed: Callable[[object], None] | None
    ) -> Future[Tensor]:
        """Let a hook sum a bucket of DDP's, and keep when; `summed` is called once it has."""
        index, size_bytes, ready = bucket.index(), size_of(bucket.buffer()), self._clock.mark()

        def end(future: Future[Any]) -> Tensor:
            self.add(index, size_bytes, (ready, ready, self._clock.mark()), ((), ()))
            if summed:
                summed(future)
            found: Tensor | list[Tensor] = future.value()
            return found[0] if isinstance(found, list) else found

        return hook(bucket).then(end)

    def take(self, detailed: bool = False) -> Communication:
        """The newest buckets since the last call, with channels; call it after the backward pass.

        In detail, buckets have their transfers, and wires what the kernel says of them since it was
        last asked. Peers are called by the names that messages give them.
        """
        # Averages of local steps may go on in the synchroniser's thread meanwhile.
        buckets = [self._buckets.popleft() for _ in range(len(self._buckets))]
        return Communication(
            tuple(self._spans(buckets, MOST_TRANSFERS if detailed else 0)),
            tuple(self._channels(buckets)),
            tuple(self._read_wires()) if detailed else (),
        )

    def _spans(self, buckets: Sequence[_Summed], most_transfers: int) -> Iterator[BucketSpan]:
        seconds = iter(self._clock.seconds([mark for *_, marks, _ in buckets for mark in marks]))
        left = most_transfers
        for index, size_bytes, _, carried in buckets:
            left -= sum(len(channel.operations) for channel, _ in _moved(carried))
            transfers = tuple(self._transfers(carried)) if left >= 0 else ()
            moments_s = next(seconds), next(seconds), next(seconds)
            yield BucketSpan(index, size_bytes, *moments_s, transfers)

    def _transfers(self, carried: Carried) -> Iterator[TransferSpan]:
        for channel, moments_s in _moved(carried):
            peer, moments = self._names[channel.peer], (moments_s[::2], moments_s[1::2])
            each = zip(channel.operations, channel.sizes_bytes, *moments, strict=True)
            for op, size_bytes, start_s, end_s in each:
                yield TransferSpan(peer, op.kind, op.chunk, size_bytes, start_s, end_s)

    def _channels(self, buckets: Sequence[_Summed]) -> Iterator[ChannelSpan]:
        channels = defaultdict[tuple[int, bool], list[_Moved]](list)
        for *_, carried in buckets:
            for channel, moments_s in _moved(carried):
                channels[channel.peer, channel.is_sent].append((channel, moments_s))
        for (peer, is_sent), parts in sorted(channels.items()):
            yield ChannelSpan(
                peer=self._names[peer],
                direction="to" if is_sent else "from",
                transfers=sum(len(channel.operations) for channel, _ in parts),
                size_bytes=sum(channel.size_bytes for channel, _ in parts),
                start_s=min(moments_s[0] for _, moments_s in parts),
                end_s=max(moments_s[-1] for _, moments_s in parts),
            )

    def _read_wires(self) -> Iterator[WireSpan]:
        start_s, earlier = self._read_s, self._infos
        self._read_s, self._infos = time.monotonic(), self._read()
        for peer in sorted(earlier.keys() & self._infos):
            now = self._infos[peer].since(earlier[peer])
            if now.sent_bytes or now.received_bytes:  # late acknowledgements alone tell nothing
                yield WireSpan(self._names[peer], start_s, self._read_s, now)

    def _read(self) -> dict[int, TcpInfo]:
        infos = {peer: read_tcp_info(wire.outgoing) for peer, wire in self._wires.items()}
        return {peer: info for peer, info in infos.items() if info is not None}


def _moved(carried: Carried) -> Iterator[_Moved]:
    """The channels whose moments are told."""
    return zip(*carried, strict=False)


def size_of(buffer: Tensor) -> int:
    """The bytes of a bucket, dense or sparse."""
    if buffer.is_sparse:
        return sum(part.nbytes for part in sparse_parts(buffer))
    return buffer.nbytes
