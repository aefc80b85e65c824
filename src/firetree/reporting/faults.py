"""Which link holds the sums back: a port, a pair, or what a rack shares.

Flows tell what each way carries now, and a probe what each port could. In a ring, host a sends to b alone: if
that is slow, it may be a's upload or b's download. Another flow that is fast clears one of them, and so
does the probe; else the fault is told as the link's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from firetree.reporting.flows import Flow, Place, Route
from firetree.reporting.thresholds import (
    BUSY_SHARE,
    LARGE_SHARE,
    LONG_QUEUE,
    LOST_SHARE,
    OUTLIER,
    OWN_QUEUE_BYTES,
    OWN_QUEUE_S,
    SHORT_QUEUE,
    SWING,
    UNKNOWN_SAVING,
)
from firetree.reporting.values import Cause


@dataclass(frozen=True, slots=True)
class LinkFault:
    """A slow link: the places at fault, and what it carries where it would usually carry more.

    `usual_bytes_s` is None where nothing tells. `way` is the flow that tells of it; where it `may_be_either`, the sender's upload or the receiver's
    download is slow. `saved_share` is the part of the sums' time that it costs.
    """

    kind: Cause
    places: tuple[Place, ...]
    rate_bytes_s: float
    usual_bytes_s: float | None
    way: Route | None = None
    saved_share: float = 0.0
    may_be_either: bool = False


def fault_of(
    flows: Mapping[Route, Flow], usual: Mapping[Route, float] | None = None
) -> LinkFault | None:
    """What the flows tell; None where all ways are alike, or none was busy.

    Args:
        flows: of all ways over which anything went.
        usual: what each way carries beside the others as a probe has it; else they tell what is usual.
    """
    least = LARGE_SHARE * max((flow.size_bytes for flow in flows.values()), default=0.0)
    rates = {
        way: flow.rate_bytes_s * (flow.shared if usual is None else 1.0)
        for way, flow in flows.items()
        if flow.size_bytes >= least
    }
    busy = {way for way in rates if flows[way].busy_share >= BUSY_SHARE}
    expected = usual if usual is not None else _expected(rates)
    slow = {way for way in busy if way in expected and expected[way] >= OUTLIER * rates[way]}
    if not slow:
        return _hidden_uplink(flows, rates, busy)
    worst = min(slow, key=rates.__getitem__)
    # A way nearer to what is usual than to the worst is not limited by the same thing.
    alike = {way for way in rates if rates[way] < math.sqrt(rates[worst] * expected[worst])}
    fast, dull = _hints(flows, rates, worst)
    if alike == rates.keys() and len(rates) > 1:
        return None  # all are slower than the probe has it, and none stands out
    kind, places, either = _blame(slow & alike, ({*rates} - alike) | fast, alike | dull, worst)
    if either:
        kind, places, either = _by_queue(worst, flows[worst])
    fixed = min((rates[way] for way in busy - alike), default=expected[worst])
    saved = max(0.0, 1 - rates[worst] / min(expected[worst], fixed))
    rate, usual_rate = rates[worst], expected[worst]
    if kind == "thin_uplink":
        rate, usual_rate = rate * _leaving(slow & alike, places), usual_rate * len(places)
    return LinkFault(kind, places, rate, usual_rate, worst, saved, either)


def _leaving(ways: Iterable[Route], places: Sequence[Place]) -> int:
    """How many ways out of a rack share its uplink."""
    return max(1, sum(a in places and b not in places for a, b in ways))


def _expected(rates: Mapping[Route, float]) -> Mapping[Route, float]:
    """What every way would carry were it like the fast ones; nothing where all are alike.

    The rates are cut where neighbours differ most.
    """
    ordered = sorted(rates.values())
    steps = [(above / below, above) for below, above in pairwise(ordered)]
    factor, fast = max(steps, default=(1.0, 0.0))
    if factor < OUTLIER:
        return {}
    return dict.fromkeys(rates, median(rate for rate in ordered if rate >= fast))


def _hints(
    flows: Mapping[Route, Flow], rates: Mapping[Route, float], worst: Route
) -> tuple[set[Route], set[Route]]:
    """The ways of small flows that do not wait in the queue in which the worst one does, and that do.

    Small flows are seldom at full speed, but each of their packets waits in every queue on its way.
    """
    queue_s = flows[worst].queue_s
    if queue_s is None or not _is_beyond(flows[worst]):
        return set(), set()
    waits_s = {
        way: flow.queue_s
        for way, flow in flows.items()
        if way not in rates and flow.queue_s is not None
    }
    fast = {way for way, wait_s in waits_s.items() if wait_s <= SHORT_QUEUE * queue_s}
    return fast, {way for way, wait_s in waits_s.items() if wait_s >= LONG_QUEUE * queue_s}


def _hidden_uplink(
    flows: Mapping[Route, Flow], rates: Mapping[Route, float], busy: set[Route]
) -> LinkFault | None:
    """An uplink that all large flows cross: only small ones within a rack do not wait for it."""
    if not busy:
        return None
    worst = min(busy, key=rates.__getitem__)
    fast, dull = _hints(flows, rates, worst)
    if not (fast and dull):
        return None
    kind, places, _ = _blame(busy, fast, {*rates} | dull, worst)
    if kind != "thin_uplink":
        return None
    rate = rates[worst] * _leaving(busy, places)
    return LinkFault(kind, places, rate, None, worst, UNKNOWN_SAVING)


def _blame(
    slow: set[Route], fast: set[Route], dull: set[Route], worst: Route
) -> tuple[Cause, tuple[Place, ...], bool]:
    """The one thing that explains all slow ways, and that no fast way contradicts.

    `dull` are all ways that are as slow, busy or not. The last value says whether either end may be at fault.
    """
    sends, receives = {a for a, _ in fast}, {b for _, b in fast}
    senders, receivers = {a for a, _ in slow}, {b for _, b in slow}
    if len(slow) == 1:
        return _blame_one(worst, fast, dull)
    if len(senders) == 1 and not senders & sends:
        return "slow_upload", (*senders,), False
    if len(receivers) == 1 and not receivers & receives:
        return "slow_download", (*receivers,), False
    everywhere = [place for place in senders & receivers if all(place in way for way in slow)]
    if len(everywhere) == 1:
        return "slow_port", (everywhere[0],), False
    groups = _groups(slow | fast, fast)
    group_of = {place: k for k, group in enumerate(groups) for place in group}
    racks = [group for group in groups if len(group) > 1]
    if racks and all(group_of[a] != group_of[b] for a, b in slow):
        return "thin_uplink", min(racks, key=lambda it: (len(it), -it[0])), False
    return _blame_one(worst, fast, dull)


def _blame_one(
    way: Route, fast: set[Route], dull: set[Route]
) -> tuple[Cause, tuple[Place, ...], bool]:
    """Whether it is the sender's upload, the receiver's download, or what lies between them."""
    sender, receiver = way
    sends = any(a == sender for a, _ in fast)
    receives = any(b == receiver for _, b in fast)
    if sends and receives:
        return "slow_link", way, False
    # Small flows may be slow of themselves: one tells only where another of its kind is fast.
    sends_slowly = any(
        a == sender and c != receiver and any(b == c for _, b in fast) for a, c in dull
    )
    receives_slowly = any(
        b == receiver and c != sender and any(a == c for a, _ in fast) for c, b in dull
    )
    if receives or (sends_slowly and not receives_slowly and not sends):
        return "slow_upload", (sender,), False
    if sends or (receives_slowly and not sends_slowly):
        return "slow_download", (receiver,), False
    return "slow_link", way, True


def _by_queue(way: Route, flow: Flow) -> tuple[Cause, tuple[Place, ...], bool]:
    """Whose port it is by where packets wait.

    A kernel gives its own port no more than it sends within a millisecond or two, and loses nothing there.
    Before any other slow point TCP fills a queue until packets are lost.
    """
    if flow.queue_s is None or flow.retransmitted is None:
        return "slow_link", way, True
    if _is_beyond(flow):
        return "slow_download", (way[1],), False
    if flow.queue_s <= _own_queue_s(flow):
        return "slow_upload", (way[0],), False
    return "slow_link", way, True


def _own_queue_s(flow: Flow) -> float:
    """How long the queue before the sender's own port may be."""
    return OWN_QUEUE_S + OWN_QUEUE_BYTES / flow.rate_bytes_s


def _is_beyond(flow: Flow) -> bool:
    """Whether packets wait, or are lost, beyond the sender's own port.

    What short messages fill swings: a message goes out at once, and the queue is empty before the next.
    """
    lost = flow.retransmitted is not None and flow.retransmitted > LOST_SHARE
    swings = flow.swing is not None and flow.swing >= SWING
    return lost or swings or (flow.queue_s is not None and flow.queue_s >= 2 * _own_queue_s(flow))


def _groups(ways: Iterable[Route], fast: Iterable[Route]) -> Sequence[tuple[Place, ...]]:
    """The places that fast ways connect."""
    group_of = {place: {place} for way in ways for place in way}
    for a, b in fast:
        joined = group_of[a] | group_of[b]
        for place in joined:
            group_of[place] = joined
    return sorted({tuple(sorted(group)) for group in group_of.values()})
