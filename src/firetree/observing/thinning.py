"""Fewer lines for a long run: a line stands for several steps, with their means.

So a trace grows with the logarithm of the run's length, and what waits for a slow rank 0 is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from firetree.trace import StepTrace, is_detailed

MOST_LINES = 1024
"""Lines that wait for rank 0; where more come, neighbours are joined."""

_SECONDS = (
    *("data_wait_s", "forward_s", "backward_s", "optimizer_s", "communication_s"),
    *("evaluation_s", "saving_s", "other_s", "cpu_s", "starved_s"),
)
_WHOLE = ("samples", "sent_bytes")


def is_kept(step: int) -> bool:
    """Whether a step ends a line of its own, which stands for the steps since the line before too.

    These are the first 4,096 steps, every 2nd to step 8,192, every 4th to step 16,384, and so on. So a
    run of a million steps has 20,000 lines. Detailed steps are among them.
    """
    return step % (1 << max(0, step.bit_length() - 12)) == 0


@dataclass(frozen=True, slots=True)
class Joined:
    """Some steps in a row, of which the last is told; `sums` are over all of them."""

    last: StepTrace
    count: int
    sums: tuple[float, ...]

    @staticmethod
    def of(step: StepTrace) -> Joined:
        """A step alone, or one that stands for several already."""
        each = (getattr(step, name) * step.count for name in _SECONDS + _WHOLE)
        return Joined(step, step.count, tuple(each))

    def with_next(self, later: Joined) -> Joined:
        """This part and the one after it."""
        sums = tuple(one + other for one, other in zip(self.sums, later.sums, strict=True))
        return Joined(later.last, self.count + later.count, sums)

    def joins(self, later: Joined) -> bool:
        """Whether a mean over both says what each was, and no detail is lost."""
        return self.last.algorithm == later.last.algorithm and not is_detailed(self.last.step)

    def line(self) -> StepTrace:
        """The steps as one, with means; those of samples and bytes are rounded to whole ones."""
        if self.count == self.last.count:
            return self.last
        means: dict[str, Any] = {
            name: total / self.count for name, total in zip(_SECONDS, self.sums, strict=False)
        }
        rest = zip(_WHOLE, self.sums[len(_SECONDS) :], strict=True)
        means |= {name: round(total / self.count) for name, total in rest}
        return replace(self.last, count=self.count, **means)


class Backlog:
    """The steps of a rank that wait to be told, thinned; no more than `MOST_LINES` lines wait."""

    def __init__(self) -> None:
        self._whole: deque[Joined] = deque()
        self._growing: Joined | None = None

    def add(self, step: StepTrace) -> None:
        """The step after the last one."""
        new, earlier = Joined.of(step), self._growing
        if earlier and not earlier.joins(new):  # as after a new plan
            self.end()
            earlier = None
        self._growing = earlier.with_next(new) if earlier else new
        if is_kept(step.step):
            self.end()

    def end(self) -> None:
        """Let the steps after the last kept one be a line, too."""
        if self._growing:
            self._whole.append(self._growing)
        self._growing = None
        if len(self._whole) > MOST_LINES:
            self._whole = deque(_paired(self._whole))
        if len(self._whole) > MOST_LINES:  # few neighbours were alike
            self._whole = deque(_paired(self._whole, regardless=True))

    def next(self) -> StepTrace | None:
        """The oldest line that waits, which then waits no more."""
        return self._whole.popleft().line() if self._whole else None


def _paired(parts: Iterable[Joined], regardless: bool = False) -> Iterator[Joined]:
    """Half as many parts: each with its neighbour."""
    earlier: Joined | None = None
    for part in parts:
        if earlier is None:
            earlier = part
        elif regardless or earlier.joins(part):
            yield earlier.with_next(part)
            earlier = None
        else:
            yield earlier
            earlier = part
    if earlier:
        yield earlier
