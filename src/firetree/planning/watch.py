"""Whether sums still take what was planned; all ranks ask it with the same numbers, and act alike."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

WINDOW = 5
"""Passes over which a median is taken."""

_CHANGE = 1.5
"""Predictions of sums are off by 15 % where they matter, and a busy host adds to that."""

_MOVED = 1.25
"""Links have changed where a plan's sums are now priced 1.25 times as long, or as short."""

_WORTH, _WORTH_S = 0.1, 0.01
"""A difference below this part of a pass, or below these seconds, as a busy host makes, is none."""

_FIRST_PAUSE = 20


@dataclass(slots=True)
class Watch:
    """Compares what the sums of a pass take with what they should.

    Attributes:
        usual: how many times as long as planned sums take while nothing changes; None where the first
            passes are to say.
        unsure: half of the width of the probe's widest interval, as a part of its figure.
    """

    usual: float | None = 1.0
    unsure: float = 0.0
    _seen: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _quiet: int = 0
    _pause: int = _FIRST_PAUSE
    _learned: bool = False

    def add(self, took_s: float, planned_s: float, pass_s: float) -> None:
        """Add a pass: what its sums took and should take, and how long it was from start to start."""
        self._seen.append((took_s, planned_s, pass_s))
        self._quiet = max(0, self._quiet - 1)
        if self.usual is None and len(self._seen) == WINDOW:
            self._adopt()

    @property
    def times(self) -> float:
        """How many times as long as usual sums take; 1 while too little is known."""
        if self.usual is None or len(self._seen) < WINDOW:
            return 1.0
        return self._ratio / self.usual

    @property
    def has_changed(self) -> bool:
        """Whether to measure the links again."""
        if self._quiet or self.usual is None or len(self._seen) < WINDOW:
            return False
        took_s, planned_s, pass_s = (median(values) for values in zip(*self._seen, strict=True))
        difference_s = abs(took_s - self.usual * planned_s)
        least_s = max(_WORTH_S, _WORTH * pass_s)
        return not self._is_within(self.times) and difference_s > least_s

    @property
    def news(self) -> str:
        """`sums take 6.7 times as long as planned`; or `as before`, where a pass has said what is usual."""
        than = "before" if self._learned else "planned"
        return f"sums take {self.times:.2g} times as long as {than}"

    def explain(self, before_s: float, now_s: float) -> bool:
        """Whether links explain a change, where the sums were priced `before_s` and are now `now_s`.

        What they do not explain is usual from here on. The next change counts after a pause, which is
        twice as long each time.
        """
        moved = now_s / before_s
        slower = self.times > 1
        explained = moved > _MOVED if slower else moved < 1 / _MOVED
        if explained:
            left = self._ratio * before_s / now_s
            self.usual = 1.0 if self._is_within(left) else left
            self._learned = self.usual != 1.0
            self._seen.clear()
        else:
            self._adopt()
        self.rest()
        return explained

    def rest(self) -> None:
        """Let no change count for a while."""
        self._quiet, self._pause = self._pause, 2 * self._pause

    @property
    def _ratio(self) -> float:
        return median(took_s / planned_s for took_s, planned_s, _ in self._seen)

    def _is_within(self, times: float) -> bool:
        band = _CHANGE * (1 + self.unsure)
        return 1 / band < times < band

    def _adopt(self) -> None:
        self.usual, self._learned = self._ratio, True
        self._seen.clear()
