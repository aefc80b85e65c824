"""`firetree report --follow`: a run while it goes on, as a view on a terminal or as plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.live import Live

from firetree.commands.text import live
from firetree.commands.text.live import Look
from firetree.errors import UserError
from firetree.output import show, tell_start
from firetree.reporting import diagnose
from firetree.trace import GrowingTrace, Trace

MOST_STEPS = 512
"""Of each rank: the verdict is that of the newest steps."""

_POLL_S, _LINE_S = 1.0, 10.0
_LEAST_STILL_S, _STILL_STEPS = 10.0, 5.0
"""A run stands still once no step ends for so many seconds, and for the time of so many steps."""


def follow(run_dir: Path) -> None:
    """Show a run until it has ended.

    Raises:
        UserError: no such folder, or its trace is damaged.
    """
    if not run_dir.is_dir():
        raise UserError(f"no run folder {run_dir}; expected the folder of a run that goes on")
    if sys.stdout.isatty():
        _show_screens(_looks(run_dir))
    else:
        _show_lines(_looks(run_dir))


def _looks(run_dir: Path) -> Iterator[Look]:
    """The run now and then, the last time after its end."""
    growing = GrowingTrace(run_dir, MOST_STEPS)
    step, since_s = -1, time.monotonic()
    is_waiting = False
    while True:
        began_s = time.monotonic()
        trace = growing.look()
        if trace and _has_step_of_all(trace):
            found = diagnose(run_dir, trace)
            if (newest := live.last_step(trace)) != step:
                step, since_s = newest, began_s
            still_s = began_s - since_s
            stands = still_s > max(_LEAST_STILL_S, _STILL_STEPS * found.step_s)
            yield Look(found, trace, still_s if stands else 0.0)
        elif not is_waiting:
            tell_start("waiting for a step of all ranks")
            is_waiting = True
        if trace and _has_ended(trace):
            return
        time.sleep(max(_POLL_S, 3 * (time.monotonic() - began_s)))


def _has_step_of_all(trace: Trace) -> bool:
    return bool(set.intersection(*({step.step for step in rank.steps} for rank in trace.ranks)))


def _has_ended(trace: Trace) -> bool:
    """Whether the run ended since it last started."""
    kinds = [event.kind for event in trace.events if event.kind in ("started", "ended", "failed")]
    return bool(kinds) and kinds[-1] != "started"


def _show_screens(looks: Iterator[Look]) -> None:
    """Each in place of the one before; the last one stays."""
    with Live(auto_refresh=False, vertical_overflow="crop") as view:
        for look in looks:
            view.update(live.screen(look), refresh=True)


def _show_lines(looks: Iterator[Look]) -> None:
    """New events and another verdict at once, the steps now and then."""
    events, verdict, told_s = 0, "", float("-inf")
    look = None
    for look in looks:
        for event in look.trace.events[events:]:
            show(live.event_line(event))
        events = len(look.trace.events)
        now_s = time.monotonic()
        if now_s - told_s >= _LINE_S:
            show(live.step_line(look))
            told_s = now_s
        if look.found.verdict.kind != verdict:
            show(look.found.verdict.sentence)
            verdict = look.found.verdict.kind
    if look:
        show(live.step_line(look))
        show(look.found.verdict.sentence)
