"""How links divide among flows that last: max-min fairly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Link = tuple[str, int]
"""What kind of link, and of which host or rack: `("up", 3)`."""


def fair_rates(flows: Sequence[Sequence[Link]], rates_bytes_s: Mapping[Link, float]) -> list[float]:
    """The rate of each flow, which is given by the links that it crosses."""
    rates = [0.0] * len(flows)
    left = {link: rates_bytes_s[link] for links in flows for link in links}
    open_flows = {index for index, links in enumerate(flows) if links}
    while open_flows:
        count = {link: sum(link in flows[index] for index in open_flows) for link in left}
        share, tightest = min(
            ((left[link] / count[link], link) for link in left if count[link]),
            key=lambda found: found[0],
        )
        for index in [index for index in open_flows if tightest in flows[index]]:
            rates[index] = share
            open_flows.remove(index)
            for link in flows[index]:
                left[link] = max(0.0, left[link] - share)
    return rates
