"""What a synchroniser keeps of its buckets, until someone asks."""

from __future__ import annotations

from collections.abc import Sequence

from firetree.collectives.executor import Carried, Channel
from firetree.collectives.schedule import Operation, recv_reduce, send
from firetree.sync.clocks import HostClock
from firetree.sync.record import Record
from firetree.trace import MOST_TRANSFERS, ChannelSpan, TransferSpan
from firetree.wires import Mesh


def record() -> Record:
    """Of the second of three ranks, which messages call 4, 5 and 6."""
    return Record(HostClock(), Mesh(1, (4, 5, 6), {}, 1.0))


def carried(*channels: tuple[Sequence[Operation], list[float]]) -> Carried:
    """Operations of ten bytes each, with the start and end of each in turn."""
    made = [
        Channel(
            *(operations[0].peer, operations[0].kind == "send", tuple(operations)),
            *((10,) * len(operations), 10 * len(operations)),
        )
        for operations, _ in channels
    ]
    return made, [moments_s for _, moments_s in channels]


def test_a_bucket_has_its_transfers_and_each_channel_their_sum() -> None:
    kept = record()
    two_sent = [send(0, 0), send(0, 1)], [1.0, 2.0, 2.5, 3.0]
    received = [recv_reduce(2, 0)], [1.5, 2.5]
    kept.add(0, 100, (0.0, 0.5, 4.0), carried(two_sent, received))
    kept.add(1, 50, (3.0, 4.0, 6.0), carried(([send(0, 0)], [4.5, 5.0])))
    found = kept.take(detailed=True)
    assert [(it.index, it.size_bytes) for it in found.buckets] == [(0, 100), (1, 50)]
    assert [(it.ready_s, it.start_s, it.end_s) for it in found.buckets][1] == (3.0, 4.0, 6.0)
    assert found.buckets[0].transfers == (
        TransferSpan(4, "send", 0, 10, 1.0, 2.0),
        TransferSpan(4, "send", 1, 10, 2.5, 3.0),
        TransferSpan(6, "recv_reduce", 0, 10, 1.5, 2.5),
    )
    assert found.channels == (
        ChannelSpan(4, "to", 3, 30, 1.0, 5.0),
        ChannelSpan(6, "from", 1, 10, 1.5, 2.5),
    )
    assert kept.take(detailed=True).buckets == ()


def test_the_first_buckets_have_transfers_as_long_as_they_are_few_and_channels_count_all() -> None:
    kept, many = record(), MOST_TRANSFERS - 1
    for index, number in enumerate((1, many, 1)):
        sent = [send(0, 0)] * number, [1.0, 2.0] * number
        kept.add(index, 10, (0.0, 0.5, 4.0), carried(sent))
    found = kept.take(detailed=True)
    assert [len(it.transfers) for it in found.buckets] == [1, many, 0]
    assert [it.transfers for it in found.channels] == [MOST_TRANSFERS + 1]


def test_without_detail_there_are_only_channels() -> None:
    kept = record()
    kept.add(0, 100, (0.0, 0.5, 4.0), carried(([send(0, 0)], [1.0, 2.0])))
    found = kept.take()
    assert (found.buckets[0].transfers, found.wires) == ((), ())
    assert found.channels == (ChannelSpan(4, "to", 1, 10, 1.0, 2.0),)
