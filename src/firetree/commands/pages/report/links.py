"""Links as matrices, in colours of an absolute scale: the same rate has the same colour on every page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import permutations

from firetree.commands.pages.report.marks import name, table, text
from firetree.network import format_duration, format_rate
from firetree.reporting import Diagnosis, LinkReport
from firetree.reporting.probed import ProbedNetwork

MOST_HOSTS = 64
_MANY = 10
"""With more hosts, a phone shows colours without numbers."""

_STEPS_MBIT_S = (10, 50, 200, 500, 2000, 8000)
_SCALE = ("under 10 Mbit/s", "to 50", "to 200", "to 500", "to 2 Gbit/s", "to 8", "more")


@dataclass(frozen=True, slots=True)
class _Cell:
    """A rate, what it was before it changed, and all that is known of it in words."""

    rate_bytes_s: float
    words: str
    at_least: bool = False
    has_changed: bool = False


_Cells = Mapping[tuple[int, int], _Cell]


def links(found: Diagnosis, probed: ProbedNetwork | None) -> str:
    """What the probe measured, what was seen while training, and which links changed."""
    matrices = [
        _matrix(found, cells, title)
        for cells, title in (
            (_probed(found, probed) if probed else {}, "Measured by the probe"),
            (_seen(found), "Seen while training"),
        )
        if cells
    ]
    if not matrices:
        return '<p class="quiet">No link was measured.</p>'
    return f'{_scale()}<div class="matrices">{"".join(matrices)}</div>{_changes(found)}{_uplinks(found)}'


def _probed(found: Diagnosis, probed: ProbedNetwork) -> _Cells:
    network, ranks = probed.network, probed.ranks
    if network.size > MOST_HOSTS:
        return {}
    rates = {(a, b): network.rate_alone(a, b) for a, b in permutations(range(network.size), 2)}
    return {
        (ranks[a], ranks[b]): _Cell(rate, _way(found, ranks[a], ranks[b], format_rate(rate)))
        for (a, b), rate in rates.items()
    }


def _seen(found: Diagnosis) -> _Cells:
    seen = (it for it in found.network.links if it.source != "probe")
    return {
        (it.sender, it.receiver): _Cell(
            it.rate_bytes_s, _words(found, it), it.at_least, bool(it.earlier_bytes_s)
        )
        for it in seen
    }


def _way(found: Diagnosis, sender: int, receiver: int, told: str) -> str:
    return f"{_host(found, sender)} to {_host(found, receiver)}: {told}"


def _host(found: Diagnosis, rank: int) -> str:
    host = found.ranks[rank].host if rank < len(found.ranks) else ""
    return host or f"rank {rank}"


def shade(rate_bytes_s: float) -> int:
    """The place of a rate on the absolute scale, 0 for the slowest."""
    return sum(rate_bytes_s * 8e-6 >= step for step in _STEPS_MBIT_S)


def _scale() -> str:
    items = "".join(
        f'<li><i class="r{place}"></i>{escape(words)}</li>' for place, words in enumerate(_SCALE)
    )
    return f'<ul class="legend scale">{items}</ul>'


def _matrix(found: Diagnosis, cells: _Cells, title: str) -> str:
    ranks = sorted({rank for pair in cells for rank in pair})
    if len(ranks) > MOST_HOSTS:
        return f"<p>{title}: no matrix of over {MOST_HOSTS} hosts.</p>"
    heads = "".join(f'<th scope="col">{rank}</th>' for rank in ranks)
    rows = "".join(
        f'<tr><th scope="row"><b>{a}</b> {name(_host(found, a))}</th>'
        f"{''.join(_cell(cells.get((a, b)), a == b) for b in ranks)}</tr>"
        for a in ranks
    )
    return (
        f'<figure class="matrix{" many" if len(ranks) > _MANY else ""}">'
        f"<figcaption>{title}: rows send, columns receive</figcaption>"
        f'<table><thead><tr><th scope="col"><span class="hidden">from, to</span></th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></figure>"
    )


def _cell(cell: _Cell | None, is_own: bool) -> str:
    if cell is None:
        return "<td></td>" if is_own else '<td class="none" title="not measured">·</td>'
    changed = ' class="changed"' if cell.has_changed else ""
    return (
        f'<td{changed}><span class="r{shade(cell.rate_bytes_s)}" title="{text(cell.words)}">'
        f"{'≥' if cell.at_least else ''}{_short(cell.rate_bytes_s)}</span></td>"
    )


def _words(found: Diagnosis, link: LinkReport) -> str:
    least = "at least " if link.at_least else ""
    rate = f"{least}{format_rate(link.rate_bytes_s)}"
    told = [_way(found, link.sender, link.receiver, rate)]
    if link.earlier_bytes_s:
        told.append(f"{format_rate(link.earlier_bytes_s)} before step {link.since_step}")
    if link.busy_share is not None:
        told.append(f"busy for {link.busy_share:.0%} of a step")
    if link.rtt_s is not None:
        told.append(f"round trip {format_duration(link.rtt_s)}")
    if link.retransmitted:
        told.append(f"{link.retransmitted:.2%} sent again")
    return ", ".join(told)


def _short(rate_bytes_s: float) -> str:
    """Four signs at most: 94M, 9.4G."""
    mbit_s = rate_bytes_s * 8e-6
    if mbit_s >= 999.5:
        return f"{_two(mbit_s / 1e3)}G"
    return f"{_two(mbit_s)}M"


def _two(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")


def _changes(found: Diagnosis) -> str:
    changed = [it for it in found.network.links if it.earlier_bytes_s]
    items = "".join(f"<li>{text(_words(found, it))}</li>" for it in changed[:8])
    more = f"<li>and {len(changed) - 8} more</li>" if len(changed) > 8 else ""
    return f'<p class="lead">Links that changed</p><ul>{items}{more}</ul>' if changed else ""


def _uplinks(found: Diagnosis) -> str:
    rows = [
        (
            ", ".join(name(_host(found, rank)) for rank in it.ranks),
            format_rate(it.out_bytes_s),
            format_rate(it.in_bytes_s),
        )
        for it in found.network.uplinks
    ]
    return table(("Hosts that share an uplink", "Out", "In"), rows, "narrow") if rows else ""
