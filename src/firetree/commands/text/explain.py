"""A schedule as lines of text: the transfers of each step, and what each rank holds after it."""

from __future__ import annotations

from firetree.collectives.schedule import Schedule, busiest_sent_chunks
from firetree.collectives.steps import Message, Step, steps

MOST_TRANSFERS_IN_TEXT = 200
MOST_BARS = 16
TEXT_COLUMNS = 96
LABEL_COLUMNS = 10

ADD = "the receiver adds the chunk to its own (reduce)"
COPY = "the receiver overwrites its own chunk (broadcast)"
NOTE = "Each transfer is shown in its earliest possible step; a rank may do several in one step."
MARKS = "▁▂▃▄▅▆▇█"


def as_text(name: str, schedule: Schedule) -> str:
    """The schedule in lines of at most 100 columns.

    Raises:
        UserError, ScheduleError: as `steps`.
    """
    told = steps(schedule)
    lines = [
        headline(name, schedule, told),
        NOTE,
        "  a ─(c)→ b     rank a sends chunk c to rank b",
        f"  add           {ADD}",
        f"  copy          {COPY}",
        "  ▁ … █         how many ranks' contributions a chunk of this rank includes: few … all",
        "",
    ]
    left = sum(len(step.messages) for step in told)
    enough = left - MOST_TRANSFERS_IN_TEXT
    for step in told:
        if 0 < left <= enough:
            rest = len(told) - step.number
            lines.append(f"\n… and {left} more transfers in {rest} more steps: see the HTML page")
            break
        left -= len(step.messages)
        if step.messages:
            lines += ["", _filled(f"step {step.number}", [_arrow(m) for m in step.messages])]
        lines.append(_filled("held" if step.messages else "at first", _holdings(schedule, step)))
    return "\n".join(lines)


def headline(name: str, schedule: Schedule, told: tuple[Step, ...]) -> str:
    transfers = sum(len(step.messages) for step in told)
    sent = busiest_sent_chunks(schedule) / schedule.chunks
    counts = (
        _number(schedule.world_size, "rank"),
        _number(schedule.chunks, "chunk"),
        _number(len(told) - 1, "step"),
        _number(transfers, "transfer"),
    )
    return f"{name}: {', '.join(counts)}; the busiest rank sends {sent:.3g} × the buffer"


def _number(how_many: int, what: str) -> str:
    return f"{how_many} {what}{'' if how_many == 1 else 's'}"


def _filled(label: str, pieces: list[str]) -> str:
    width = max(map(len, pieces)) + 3
    a_line = max(1, (TEXT_COLUMNS - LABEL_COLUMNS) // width)
    rows = [
        "".join(piece.ljust(width) for piece in pieces[first : first + a_line]).rstrip()
        for first in range(0, len(pieces), a_line)
    ]
    return label.ljust(LABEL_COLUMNS) + ("\n" + " " * LABEL_COLUMNS).join(rows)


def _arrow(message: Message) -> str:
    what = "copy" if not message.adds else "add later" if message.waits else "add"
    return f"{message.sender} ─({message.chunk})→ {message.receiver} {what}"


def _holdings(schedule: Schedule, step: Step) -> list[str]:
    whole = full_bar(schedule)
    rows = []
    for rank, held in enumerate(step.held):
        bars = bars_of(held)
        marks = "".join(MARKS[share * (len(MARKS) - 1) // whole] for share in bars)
        rows.append(f"{rank} {marks}" + (f" {bars[0]}/{whole}" if len(bars) == 1 else ""))
    return rows


def bars_of(held: tuple[int, ...]) -> tuple[int, ...]:
    """One bar for each chunk, or one for all chunks if there are more than MOST_BARS."""
    return held if len(held) <= MOST_BARS else (sum(held),)


def full_bar(schedule: Schedule) -> int:
    """The value of a full bar."""
    return schedule.world_size * (1 if schedule.chunks <= MOST_BARS else schedule.chunks)
