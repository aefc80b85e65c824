"""A running job on a screen: its ranks' steps as bars, what holds it back so far, and what happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from rich.text import Text

from firetree.network import format_duration
from firetree.output import printable
from firetree.reporting import Diagnosis, StepParts
from firetree.trace import Event, Phase, Trace

_MOST_RANKS, _MOST_EVENTS, _BAR, _SPARKS = 16, 6, 36, 60

_PARTS = {
    "computing": ("█", "blue", ("forward_s", "backward_s", "optimizer_s")),
    "data": ("▒", "yellow", ("data_s",)),
    "others": ("░", "magenta", ("others_wait_s",)),
    "network": ("▓", "red", ("network_wait_s",)),
    "other": ("·", "bright_black", ("evaluation_s", "saving_s", "other_s")),
}
"""Each part with its sign, so that it is told apart without colours too."""

_WAITS: dict[Phase, str] = {"data": "waiting for data", "communication": "waiting for sums"}
_LEVELS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Look:
    """A running job at a moment: its newest steps, and what they tell.

    `still_s` is since when no step has ended, 0 while the run goes on.
    """

    found: Diagnosis
    trace: Trace
    still_s: float


def screen(look: Look) -> Text:
    """The whole view."""
    found, trace = look.found, look.trace
    still = f"no step has ended for {format_duration(look.still_s)}"
    blocks = [
        [Text(_headline(look), "bold")],
        [*_ranks(found, trace), _legend()],
        [Text(f"step time  {_spark(trace)}  {format_duration(found.step_s)}")],
        [*_verdict(found)],
        [*_events(trace.events)],
        [Text(still, "bold red")] if look.still_s else [],
    ]
    return Text("\n\n").join(Text("\n").join(block) for block in blocks if block)


def step_line(look: Look) -> str:
    """The newest steps in a line: `step 120  312 ms: computing 61 %, network 30 %`."""
    seconds = {name: _seconds(look.found.parts, name) for name in _PARTS}
    whole_s = sum(seconds.values()) or 1.0
    told = [f"{name} {it / whole_s:.0%}" for name, it in seconds.items() if it >= 0.01 * whole_s]
    still = f"; none has ended for {format_duration(look.still_s)}" if look.still_s else ""
    step = last_step(look.trace)
    return f"step {step}  {format_duration(look.found.step_s)}: {', '.join(told)}{still}"


def event_line(event: Event) -> str:
    """An event in a line."""
    return f"step {event.step}  {event.kind}: {event.text}"


def last_step(trace: Trace) -> int:
    """The newest step of any rank."""
    return max(rank.steps[-1].step for rank in trace.ranks if rank.steps)


def _headline(look: Look) -> str:
    found = look.found
    script = f"{printable(found.script)}, " if found.script else ""
    return (
        f"{printable(found.run)}: {script}{found.world_size} ranks, {printable(found.algorithm)}, "
        f"step {last_step(look.trace)}, {found.samples_per_s:,.0f} samples/s"
    )


def _ranks(found: Diagnosis, trace: Trace) -> Iterator[Text]:
    most_s = max(it.parts.step_s for it in found.ranks) or 1.0
    shown = found.ranks[:_MOST_RANKS]
    names = [printable(trace.ranks[it.rank].header.name) for it in shown]
    width = max(map(len, names))
    for it, name in zip(shown, names, strict=True):
        told = Text(f"{name:<{width}}  ")
        told.append_text(_bar(it.parts, most_s))
        told.append(f"  {format_duration(it.parts.step_s):>8}")
        now = trace.ranks[it.rank].now
        if now:
            doing = _WAITS.get(now.phase, now.phase)
            told.append(f"  {doing} for {format_duration(now.at_s - now.since_s)}", "yellow")
        yield told
    if len(found.ranks) > len(shown):
        yield Text(f"and {len(found.ranks) - len(shown)} more ranks", "bright_black")


def _seconds(parts: StepParts, name: str) -> float:
    return sum(float(getattr(parts, field)) for field in _PARTS[name][2])


def _bar(parts: StepParts, most_s: float) -> Text:
    """As long as the step, in signs and colours of its parts."""
    edges, before_s = [0], 0.0
    for name in _PARTS:
        before_s += _seconds(parts, name)
        edges.append(round(_BAR * before_s / most_s))
    told = Text()
    for (sign, colour, _), (start, end) in zip(_PARTS.values(), pairwise(edges), strict=True):
        told.append(sign * (end - start), colour)
    return told.append(" " * (_BAR - edges[-1]))


def _legend() -> Text:
    told = Text()
    for name, (sign, colour, _) in _PARTS.items():
        told.append(f"{sign} ", colour).append(f"{name}   ", "bright_black")
    return told


def _spark(trace: Trace) -> str:
    """The steps of the first rank from left to right, the slowest as the highest."""
    times_s = [step.step_s for step in trace.ranks[0].steps]
    count = min(len(times_s), _SPARKS)
    edges = [len(times_s) * k // count for k in range(count + 1)]
    medians_s = [median(times_s[a:b]) for a, b in pairwise(edges)]
    most_s = max(medians_s) or 1.0
    return "".join(_LEVELS[min(7, int(8 * it / most_s))] for it in medians_s)


def _verdict(found: Diagnosis) -> Iterator[Text]:
    told = found.verdict
    yield Text(printable(told.sentence), "bold")
    if told.advice:
        yield Text(f"next: {printable(told.advice)}")
    if told.command:
        yield Text(f"$ {printable(told.command)}", "cyan")


def _events(events: Sequence[Event]) -> Iterator[Text]:
    for event in events[-_MOST_EVENTS:]:
        yield Text(printable(event_line(event)), "bright_black")
