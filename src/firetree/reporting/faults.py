"""Which link holds the sums back: a port, a pair, or what a rack shares.

Flows tell what each way carries now, and a probe what each port could. In a ring, host a sends to b alone: if
that is slow, it may be a's upload or b's download. Another flow that is fast clears one of them, and so
does the probe; else the fault is told as the link's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from firetree.reporting.flows import Flow, Place, Route
from firetree.reporting.thresholds import BUSY_SHARE, OUTLIER
from firetree.reporting.values import Cause


@dataclass(frozen=True, slots=True)
class LinkFault:
    """A slow link: the places at fault, and what it carries where it would usually carry more.

    `way` is the flow that tells of it; where it `may_be_either`, the sender's upload or the receiver's
    download is slow. `saved_share` is the part of the sums' time that it costs.
    """

    kind: Cause
    places: tuple[Place, ...]
    rate_bytes_s: float
    usual_bytes_s: float
    way: Route | None = None
    saved_share: float = 0.0
    may_be_either: bool = False


def fault_of(
    flows: Mapping[Route, Flow], usual: Mapping[Route, float] | None = None
) -> LinkFault | None:
    """What the flows tell; None where all ways are alike, or none was busy.

    Args:
        flows: of all ways over which anything went.
        usual: what each way carries as a probe has it; else the others tell what is usual.
    """
    rates = {way: flow.rate_bytes_s * flow.shared for way, flow in flows.items()}
    busy = {way for way, flow in flows.items() if flow.busy_share >= BUSY_SHARE}
    expected = usual if usual is not None else _expected(rates, busy)
    slow = {way for way in busy if way in expected and expected[way] >= OUTLIER * rates[way]}
    if not slow:
        return None
    fast = {way for way in rates if way in expected and expected[way] < OUTLIER * rates[way]}
    if not fast & busy and usual is not None:
        return None  # all are slower than the probe has it: no link stands out
    worst = min(slow, key=rates.__getitem__)
    usual_bytes_s = median(expected[way] for way in slow)
    fixed = min((rates[way] for way in busy - slow), default=usual_bytes_s)
    saved = max(0.0, 1 - rates[worst] / min(usual_bytes_s, fixed))
    kind, places, either = _blame(slow, fast, {*rates} - fast, worst)
    return LinkFault(kind, places, rates[worst], usual_bytes_s, worst, saved, either)


def _expected(rates: Mapping[Route, float], busy: set[Route]) -> Mapping[Route, float]:
    """What every way would carry were it like the fast ones; nothing where all are alike.

    The busy ones are cut where neighbours differ most.
    """
    ordered = sorted(rates[way] for way in busy)
    steps = [(above / below, above) for below, above in pairwise(ordered)]
    factor, least = max(steps, default=(1.0, 0.0))
    if factor < OUTLIER:
        # In a ring the slow one keeps the others waiting, so they are fast but seldom busy.
        idle = [rate for way, rate in rates.items() if way not in busy]
        if not ordered or not idle or median(idle) < OUTLIER * ordered[-1]:
            return {}
        return dict.fromkeys(rates, median(idle))
    return dict.fromkeys(rates, median(rate for rate in ordered if rate >= least))


def _blame(
    slow: set[Route], fast: set[Route], dull: set[Route], worst: Route
) -> tuple[Cause, tuple[Place, ...], bool]:
    """The one thing that explains all slow ways, and that no fast way contradicts.

    `dull` are all ways that are not fast. The last value says whether either end may be at fault.
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


def _groups(ways: Iterable[Route], fast: Iterable[Route]) -> Sequence[tuple[Place, ...]]:
    """The places that fast ways connect."""
    group_of = {place: {place} for way in ways for place in way}
    for a, b in fast:
        joined = group_of[a] | group_of[b]
        for place in joined:
            group_of[place] = joined
    return sorted({tuple(sorted(group)) for group in group_of.values()})
