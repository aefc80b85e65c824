"""The words and tables of a report's page, from a diagnosis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from firetree.commands.pages.report.curve import FEW_FIELDS, PARTS
from firetree.commands.pages.report.marks import NONE, bar, legend, name, table, text
from firetree.commands.pages.report.moments import PHASES
from firetree.commands.text.report import STEP_PARTS, bucket_name
from firetree.network import format_duration
from firetree.network.units import format_bytes
from firetree.reporting import Diagnosis, Gain, RankReport, StepParts
from firetree.trace import Event

MOST_BUCKETS, MOST_RANKS, MOST_EVENTS = 8, 64, 200

_GOOD, _BAD = ("compute",), ("hang", "death")


def tone(found: Diagnosis) -> str:
    """The colour of the verdict: `good`, `bad` for a run that died, else `warn`."""
    kind = found.verdict.kind
    return "good" if kind in _GOOD else "bad" if kind in _BAD else "warn"


def verdict(found: Diagnosis) -> str:
    """What the run is, what holds it back, why, and what to do."""
    told = found.verdict
    hosts = {it.host for it in found.ranks if it.host}
    facts = [
        name(found.run),
        *([name(found.script)] if found.script else []),
        _count(found.world_size, "rank") + (f" on {_count(len(hosts), 'host')}" if hosts else ""),
        name(found.algorithm),
        _count(found.steps, "step"),
    ]
    since = f'<p class="since">Since step {told.since_step}.</p>' if told.since_step else ""
    why = "".join(f"<li>{text(it)}</li>" for it in told.why)
    return (
        f'<header><p class="facts">{" <span>·</span> ".join(facts)}</p><h1>{text(told.sentence)}</h1>{since}'
        f"{_figures(found)}</header>"
        f'<div class="answer">{f"<section><h2>Why</h2><ul>{why}</ul></section>" if why else ""}{_next(found)}</div>'
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _next(found: Diagnosis) -> str:
    told = found.verdict
    if not (told.advice or told.command or told.gain):
        return ""
    gain = _gain(told.gain) if told.gain else ""
    return (
        f'<section class="next"><h2>Do next</h2>{to_do(told.advice, told.command)}{gain}</section>'
    )


def to_do(advice: str, command: str) -> str:
    """What to do, and a command to copy; either may be empty."""
    told = f"<p>{text(advice)}</p>" if advice else ""
    if not command:
        return told
    return (
        f'{told}<div class="command"><code dir="ltr">{text(command)}</code>'
        '<button type="button" hidden>Copy</button></div>'
    )


def _gain(told: Gain) -> str:
    now_s = told.step_s * told.speedup
    return (
        f'<p class="gain"><b>{told.speedup:.2f}×</b> the samples a second: '
        f"{format_duration(told.step_s)} a step in place of {format_duration(now_s)}</p>"
    )


def _figures(found: Diagnosis) -> str:
    parts = found.parts
    waits_s = parts.data_s + parts.others_wait_s + parts.network_wait_s
    figures = [
        ("a step", format_duration(found.step_s)),
        ("samples a second", f"{found.samples_per_s:,.0f}"),
        ("of a step spent waiting", f"{waits_s / (found.step_s or 1.0):.0%}"),
        ("gradients summed a step", format_bytes(found.gradient_bytes)),
    ]
    if found.evaluation:
        figures += found.evaluation.results.items()
    items = "".join(f"<div><dt>{what}</dt><dd>{value}</dd></div>" for what, value in figures)
    return f'<dl class="figures">{items}</dl>'


def _layers(layers: Sequence[str], most: int = 3) -> str:
    if not layers:
        return ""
    shown = ", ".join(map(name, layers[:most]))
    more = f" and {len(layers) - most} more" if len(layers) > most else ""
    return f"<small>layers</small> {shown}{more}"


def ranks(found: Diagnosis) -> str:
    """A row for each rank, its mean step as a bar."""
    shown = found.ranks[:MOST_RANKS]
    most_s = max((it.parts.step_s for it in shown), default=0.0)
    culprits = found.verdict.culprit.ranks
    headings = (
        "Rank",
        "Where a step goes",
        "A step",
        "Last to arrive",
        "CPU in use",
        "Starved",
        "Sent a step",
    )
    rows = [_rank(it, most_s, it.rank in culprits) for it in shown]
    left = len(found.ranks) - len(shown)
    more = f'<p class="quiet">and {left} more ranks</p>' if left else ""
    seen = {kind: PHASES[kind] for kind, field in STEP_PARTS.items() if _any(shown, field)}
    return legend(seen) + table(headings, rows, "ranks") + more


def _any(shown: Sequence[RankReport], field: str) -> bool:
    return any(getattr(it.parts, field) for it in shown)


def _rank(it: RankReport, most_s: float, is_culprit: bool) -> tuple[str, ...]:
    host = f" {name(it.host)}" if it.host else ""
    mark = ' <span class="mark">look here</span>' if is_culprit else ""
    address = f"<small>{text(it.address)}</small>" if it.address else ""
    return (
        f"<b>{it.rank}</b>{host}{mark}{address}",
        bar(_bar_parts(it.parts), most_s),
        format_duration(it.parts.step_s),
        f"{it.last_share:.0%}",
        NONE if it.cpu_share is None else f"{it.cpu_share:.2g} cores",
        format_duration(it.starved_s) if it.starved_s else NONE,
        format_bytes(it.sent_bytes),
    )


def _bar_parts(parts: StepParts) -> dict[str, tuple[str, float]]:
    return {kind: (PHASES[kind], getattr(parts, field)) for kind, field in STEP_PARTS.items()}


def _few_parts(parts: StepParts) -> dict[str, tuple[str, float]]:
    """As the picture of steps over time has them."""
    return {
        name: (words, sum(getattr(parts, field) for field in FEW_FIELDS[name]))
        for name, words in PARTS.items()
    }


def stretches(found: Diagnosis) -> str:
    """A row for each stretch; the one that the verdict is of is marked."""
    most_s = max((it.parts.step_s for it in found.stretches), default=0.0)
    rows = [
        (
            f"{it.first_step:,} to {it.last_step:,}"
            + (' <span class="mark">verdict</span>' if number == found.judged else ""),
            name(it.algorithm),
            bar(_few_parts(it.parts), most_s),
            f"{format_duration(it.median_s)} <small>± {it.noise:.1%}</small>",
            format_duration(it.p95_s),
            text(it.began) or ("the first steps" if it.is_start else NONE),
        )
        for number, it in enumerate(found.stretches)
    ]
    headings = (
        "Steps",
        "Algorithm",
        "Where a step goes",
        "Median",
        "95 % within",
        "What set it apart",
    )
    return table(headings, rows, "stretches")


def buckets(found: Diagnosis) -> str:
    """The buckets for which ranks wait longest."""
    order = sorted(found.buckets, key=lambda it: (-it.exposed_s, -it.sum_s))
    most_s = max((it.sum_s for it in order), default=0.0)
    rows = [
        (
            f"<b>{bucket_name(it.index, it.model)}</b> {_layers(it.layers)}",
            bar(
                {
                    "network": ("waited for", it.exposed_s),
                    "sum": ("while computing", max(0.0, it.sum_s - it.exposed_s)),
                },
                most_s,
            ),
            format_duration(it.sum_s),
            format_duration(it.exposed_s),
            format_bytes(it.size_bytes),
        )
        for it in order[:MOST_BUCKETS]
    ]
    left = len(order) - len(rows)
    more = f'<p class="quiet">and {left} buckets that take less</p>' if left else ""
    return (
        table(("Bucket", "When it is summed", "Its sum", "Waited for", "Size"), rows, "buckets")
        + more
    )


def gains(found: Diagnosis) -> str:
    """What changes would bring, the most first."""
    order = sorted(found.gains, key=lambda it: -it.speedup)
    most = max([1.0, *(it.speedup for it in order)])
    rows = [
        (
            text(it.change),
            f'<span class="bar {"less" if it.speedup < 1 else "more"}">'
            f'<i style="width:{100 * it.speedup / most:.1f}%"></i>'
            f'<em style="left:{100 / most:.1f}%"></em></span>',
            f"{it.speedup:.2f}×",
            format_duration(it.step_s),
            f"{it.machines_now:.2g} → {it.machines:.2g}",
        )
        for it in order
    ]
    headings = (
        "Change",
        "Samples a second; the line is now",
        "Speed-up",
        "A step",
        "Machines’ worth",
    )
    return table(headings, rows, "gains")


Happening = tuple[int, str, str, str]
"""What happened: before which step, its kind, its tone, and its words."""

_TONES = {"failed": "bad", "waiting": "bad", "slower": "warn", "pause": "warn"}


def happenings(found: Diagnosis, events: Sequence[Event]) -> list[Happening]:
    """Events and gaps by step."""
    return sorted(_happenings(found, events), key=lambda it: it[0])


def _happenings(found: Diagnosis, events: Sequence[Event]) -> Iterator[Happening]:
    for event in events[:MOST_EVENTS]:
        yield event.step, event.kind, _TONES.get(event.kind, "calm"), event.text
    for gap in found.gaps[:MOST_EVENTS]:
        who = f"{gap.host or f'rank {gap.rank}'}: " if gap.rank is not None else ""
        words = f"{who}{gap.text} ({format_duration(gap.seconds)})"
        yield gap.step, "pause", "warn", words


def event_list(told: Sequence[Happening]) -> str:
    """The events with the numbers that they have in the picture."""
    items = "".join(
        f'<li class="is-{mood}"><span>step {step:,}</span> <b>{kind}</b> {text(words)}</li>'
        for step, kind, mood, words in told
    )
    return f'<ol class="events">{items}</ol>' if told else ""
