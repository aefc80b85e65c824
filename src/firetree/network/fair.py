"""Max-min fair rates of flows that share links."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Link = TypeVar("Link", bound=Hashable)


def fair_rates(flows: Sequence[Sequence[Link]], rates_bytes_s: Mapping[Link, float]) -> list[float]:
    """The rate of each flow, given as the links that it crosses; 0 if it crosses none.

    Progressive filling: all rates grow alike, and a flow stops growing when one of its links is full.
    """
    flows_on: dict[Link, list[int]] = {}
    for number, links in enumerate(flows):
        for link in links:
            flows_on.setdefault(link, []).append(number)
    left = {link: rates_bytes_s[link] for link in flows_on}
    count = {link: len(numbers) for link, numbers in flows_on.items()}
    rates: dict[int, float] = {}
    while count:
        shares = {link: left[link] / number for link, number in count.items()}
        full = min(shares, key=shares.__getitem__)
        share = shares[full]
        for number in flows_on[full]:
            if number not in rates:
                rates[number] = share
                for link in flows[number]:
                    left[link] = max(0.0, left[link] - share)
                    count[link] -= 1
                    if not count[link]:
                        del count[link]
    return [rates.get(number, 0.0) for number in range(len(flows))]
