"""A run as its report and a curve of its accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isfinite

from firetree.commands.pages import report
from firetree.errors import UserError
from firetree.metrics import Metrics
from firetree.runs import Run

_WIDTH, _HEIGHT = 360, 120


def fragment(run: Run) -> str:
    """The report, or the reason why there is none yet, and the curve."""
    try:
        told = report.fragment(run.report())
    except UserError as error:
        told = f"<p>{escape(str(error))}</p>"
    return told + (_curve(run.evaluations) if run.evaluations else "")


def _curve(evaluations: Sequence[Metrics]) -> str:
    """Accuracy, 0 to 1, against the step; the test loss where there is none."""
    last, losses = evaluations[-1], [it.test_loss for it in evaluations]
    most = 1.0 if last.accuracy is not None else max(filter(isfinite, losses), default=1.0)
    heights = [
        min(it.test_loss if it.accuracy is None else it.accuracy, most) / most for it in evaluations
    ]
    points = [
        (_WIDTH * it.step / last.step, _HEIGHT * (1 - height))
        for it, height in zip(evaluations, heights, strict=True)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in points)
    return (
        f'<figure><svg width="{_WIDTH}" height="{_HEIGHT}" style="border:1px solid #ddd">'
        f'<polyline points="{line}" fill="none" stroke="#4c78a8"/>{dots}</svg>'
        f"<figcaption>0 to {most:.3g}, over {last.step} steps: "
        f"{last.scored} at the end</figcaption></figure>"
    )
