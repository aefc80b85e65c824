"""The diagnosis of one run as lines, of several runs as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap

from firetree.commands import tables
from firetree.commands.text.classes import classes
from firetree.network.units import format_bytes, format_duration, format_rate
from firetree.output import printable
from firetree.reporting import BucketReport, Diagnosis, Gain, LinkReport, RankReport, Stretch

_WIDTH = 100
_MOST_GAINS, _MOST_LINKS, _MOST_BUCKETS, _MOST_RANKS, _MOST_STRETCHES = 4, 8, 3, 32, 12
_LEAST_SHARE = 0.005
"""A column of seconds is left out where no rank spends this part of a step in it."""

STEP_PARTS = {
    "data": "data_s",
    "forward": "forward_s",
    "backward": "backward_s",
    "others": "others_wait_s",
    "network": "network_wait_s",
    "optimizer": "optimizer_s",
    "evaluation": "evaluation_s",
    "saving": "saving_s",
    "other": "other_s",
}
"""What a column of seconds is called, and its field of `StepParts`."""


def as_text(found: Sequence[Diagnosis]) -> str:
    """One diagnosis as lines, several as a table."""
    return _lines(found[0]) if len(found) == 1 else _table(found)


def in_short(found: Diagnosis) -> str:
    """The verdict of one run, and what to do next."""
    verdict = found.verdict
    lines = [headline(found), *wrap(printable(verdict.sentence), _WIDTH)]
    if verdict.advice:
        lines += _indented("next", verdict.advice)
    if verdict.command:
        lines += _indented("", f"$ {verdict.command}", wrapped=False)
    return "\n".join(lines)


def _lines(found: Diagnosis) -> str:
    blocks = [
        [headline(found)],
        [*_verdict(found)],
        [*learning(found)],
        classes(found),
        [f"Milliseconds of a step, by rank ({_judged(found)}):", ranks_table(found)],
        _stretches(found),
        _network(found),
        _buckets(found),
        [f"note: {printable(note)}" for note in found.notes],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def headline(found: Diagnosis) -> str:
    """The run, its workers, and what a step takes and brings."""
    hosts = len({rank.host for rank in found.ranks})
    where = f"{found.world_size} worker{'s' * (found.world_size > 1)}"
    if any(rank.address for rank in found.ranks):
        where += f" on {hosts} host{'s' * (hosts > 1)}"
    results = ", ".join(("", *found.evaluation.parts)) if found.evaluation else ""
    script = f"{printable(found.script)}, " if found.script else ""
    return (
        f"{printable(found.run)}: {script}{where}, {printable(found.algorithm)}; {found.steps} steps "
        f"of {format_duration(found.step_s)}, {found.samples_per_s:,.0f} samples/s{results}"
    )


def _verdict(found: Diagnosis) -> Iterator[str]:
    verdict = found.verdict
    yield from wrap(printable(verdict.sentence), _WIDTH)
    yield ""
    for name, sentences in (
        ("why", verdict.why),
        ("next", (verdict.advice,)),
        ("gain", _gains(found)),
    ):
        for k, sentence in enumerate(filter(None, sentences)):
            yield from _indented("" if k else name, sentence)
        if name == "next" and verdict.command:
            yield from _indented("", f"$ {verdict.command}", wrapped=False)


def learning(found: Diagnosis) -> Iterator[str]:
    """How the run learned, and what to do."""
    if told := found.learning:
        yield from wrap(printable(told.sentence), _WIDTH)
        yield from _indented("next", told.advice) if told.advice else ()
        yield from _indented("", f"$ {told.command}", wrapped=False) if told.command else ()


def _indented(name: str, sentence: str, wrapped: bool = True) -> Iterator[str]:
    lines = wrap(printable(sentence), _WIDTH - 6) if wrapped else [printable(sentence)]
    for k, line in enumerate(lines):
        yield f"{'' if k else name:<6}{line}"


def _gains(found: Diagnosis) -> Sequence[str]:
    return [gain_words(gain) for gain in found.gains[:_MOST_GAINS]]


def gain_words(gain: Gain) -> str:
    """`1.4 times: gradients as int8 (2.3 in place of 1.6 machines' worth)`."""
    return (
        f"{gain.speedup:.2f} times: {gain.change} ({_machines(gain.machines)} in place of "
        f"{_machines(gain.machines_now)} machines' worth)"
    )


def _machines(count: float) -> str:
    return f"{count:.1f}" if count >= 0.95 else f"{count:.2f}"


def _judged(found: Diagnosis) -> str:
    stretch = found.stretches[found.judged]
    return f"means over steps {stretch.first_step} to {stretch.last_step}"


def ranks_table(found: Diagnosis) -> str:
    """A row a rank: where a step's time goes."""
    names = [name for name in STEP_PARTS if _is_told(found, name)]
    has_cpu = any(rank.cpu_share is not None for rank in found.ranks)
    headings = ["rank", "host", *names, *(["CPU", "starved"] if has_cpu else []), "last", "sent"]
    rows = [_rank_cells(rank, names, has_cpu) for rank in found.ranks[:_MOST_RANKS]]
    table = tables.as_text(headings, rows, left=("host",))
    more = len(found.ranks) - len(rows)
    return f"{table}\n… and {more} more ranks" if more else table


def _is_told(found: Diagnosis, name: str) -> bool:
    field = STEP_PARTS[name]
    seconds = max(getattr(rank.parts, field) for rank in found.ranks)
    return name in ("data", "forward", "backward", "others", "network") or (
        seconds >= _LEAST_SHARE * found.parts.step_s > 0
    )


def _rank_cells(rank: RankReport, names: Sequence[str], has_cpu: bool) -> list[str]:
    cells = [str(rank.rank), rank.host]
    cells += [_ms(getattr(rank.parts, STEP_PARTS[name])) for name in names]
    if has_cpu:
        cells += ["-" if rank.cpu_share is None else f"{rank.cpu_share:.0%}", _ms(rank.starved_s)]
    return [*cells, f"{rank.last_share:.0%}", format_bytes(rank.sent_bytes)]


def _ms(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def _stretches(found: Diagnosis) -> list[str]:
    if len(found.stretches) == 1 and not found.gaps:
        return []
    headings = ("steps", "algorithm", "median", "p95", "computing", "network", "others", "began")
    shown = found.stretches[-_MOST_STRETCHES:]
    rows = [_stretch_cells(stretch) for stretch in shown]
    lines = [tables.as_text(headings, rows, left=("steps", "algorithm", "began"))]
    if len(found.stretches) > len(shown):
        lines.append(f"… after {len(found.stretches) - len(shown)} earlier stretches")
    for gap in found.gaps[:_MOST_STRETCHES]:
        lines += wrap(
            printable(f"before step {gap.step}, {format_duration(gap.seconds)}: {gap.text}"), _WIDTH
        )
    if len(found.gaps) > _MOST_STRETCHES:
        lines.append(f"… and {len(found.gaps) - _MOST_STRETCHES} more gaps")
    return lines


def _stretch_cells(stretch: Stretch) -> tuple[str, ...]:
    parts = stretch.parts
    shares = (parts.compute_s, parts.network_wait_s, parts.others_wait_s)
    return (
        f"{stretch.first_step}-{stretch.last_step}",
        stretch.algorithm,
        format_duration(stretch.median_s),
        format_duration(stretch.p95_s),
        *(f"{share / parts.step_s:.0%}" if parts.step_s else "-" for share in shares),
        "the first steps" if stretch.is_start else stretch.began,
    )


def _network(found: Diagnosis) -> list[str]:
    network, name = found.network, _names(found)
    lines = []
    if network.ports:
        rows = [
            (name(p.rank), format_rate(p.up_bytes_s), format_rate(p.down_bytes_s))
            for p in network.ports
        ]
        lines.append(tables.as_text(("probed", "up", "down"), rows[:_MOST_RANKS], left=("probed",)))
    for uplink in network.uplinks:
        hosts = ", ".join(name(rank) for rank in uplink.ranks)
        out, into = format_rate(uplink.out_bytes_s), format_rate(uplink.in_bytes_s)
        lines += wrap(printable(f"{hosts} share {out} out, {into} in"), _WIDTH)
    links = sorted(network.links, key=lambda it: (it.at_least, it.rate_bytes_s))[:_MOST_LINKS]
    if links:
        headings = ("way", "carries", "busy", "round trip", "sent again", "before")
        cells = [_link_cells(link, name) for link in links]
        lines.append(tables.as_text(headings, cells, left=("way", "before")))
        if len(network.links) > len(links):
            lines.append(f"… and {len(network.links) - len(links)} faster ways")
    return lines


def _names(found: Diagnosis) -> Callable[[int], str]:
    return lambda rank: found.ranks[rank].host


def _link_cells(link: LinkReport, name: Callable[[int], str]) -> tuple[str, ...]:
    before = ""
    if link.earlier_bytes_s is not None:
        before = format_rate(link.earlier_bytes_s)
        before += f" before step {link.since_step}" if link.since_step is not None else ""
    return (
        f"{name(link.sender)} → {name(link.receiver)}",
        ("at least " if link.at_least else "") + format_rate(link.rate_bytes_s),
        "-" if link.busy_share is None else f"{link.busy_share:.0%}",
        "-" if link.rtt_s is None else format_duration(link.rtt_s),
        "-" if link.retransmitted is None else f"{link.retransmitted:.1%}",
        before,
    )


def _buckets(found: Diagnosis) -> list[str]:
    waited = [bucket for bucket in found.buckets if bucket.sum_s > 0]
    if found.world_size == 1 or not waited:
        return []
    rows = [_bucket_cells(bucket) for bucket in waited[:_MOST_BUCKETS]]
    headings = ("bucket", "size", "summed in", "waited for", "layers")
    return [tables.as_text(headings, rows, left=("layers",))]


def bucket_name(index: int, model: int) -> str:
    """A bucket's number, and its model's where that is not the script's first."""
    return f"{index} of model {model}" if model else f"{index}"


def _bucket_cells(bucket: BucketReport) -> tuple[str, ...]:
    layers = ", ".join(bucket.layers[:3]) + (" …" if len(bucket.layers) > 3 else "")
    return (
        bucket_name(bucket.index, bucket.model),
        format_bytes(bucket.size_bytes),
        format_duration(bucket.sum_s),
        format_duration(bucket.exposed_s),
        layers,
    )


def _table(found: Sequence[Diagnosis]) -> str:
    headings = ["algorithm", "workers", "accuracy", "steps", "ms a step", "of it network"]
    headings += ["samples/s", "busiest sends", "formula", "verdict", "run"]
    rows = [
        (
            one.algorithm,
            str(one.world_size),
            "not measured" if one.accuracy is None else f"{one.accuracy:.2%}",
            str(one.steps),
            f"{one.step_s * 1e3:.2f}",
            f"{one.parts.network_wait_s * 1e3:.2f}",
            f"{one.samples_per_s:,.0f}",
            format_bytes(one.busiest_rank_sent_bytes),
            "none" if one.formula_bytes is None else format_bytes(one.formula_bytes),
            one.verdict.kind,
            one.run,
        )
        for one in found
    ]
    return tables.as_text(headings, rows, left=("algorithm", "verdict", "run"))
