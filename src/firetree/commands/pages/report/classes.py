"""What became of each class, as HTML: recalls as bars, the confusion matrix, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence

from firetree.commands.pages.report.marks import NONE, name, table, text
from firetree.commands.text.classes import worst_first
from firetree.confusion import MOST_WORST, Confusion, Confusions, WorstImage
from firetree.reporting import ClassReport
from firetree.reporting.classes import class_reports

MOST_BARS, MOST_CELLS = 20, 30
_MANY = 12
"""With more classes, a phone shows colours without counts."""
_SHORT = 3
"""Names of so many letters stand upright above their columns."""
_SHADES_RIGHT = ((0.9, 6), (0.7, 5), (0.0, 4))
_SHADES_WRONG = ((0.2, 0), (0.05, 1), (0.0, 2))
"""From which share of a row on a cell has which colour."""


def classes(told: Confusions) -> str:
    """The newest evaluation, and the best one folded, where that is another."""
    newest = _evaluation(told.classes, told.newest)
    if told.best is None:
        return newest
    best = _evaluation(told.classes, told.best)
    place = f"epoch {told.best.epoch}, step {told.best.step:,}"
    return f"{newest}<details><summary>The same at the best evaluation, {place}</summary>{best}</details>"


def _evaluation(names: Sequence[str], found: Confusion) -> str:
    reports = class_reports(tuple(names), found)
    right, total = sum(found.right), sum(found.total)
    lead = (
        f'<p class="quiet">Epoch {found.epoch}, step {found.step:,}: {right:,} of {total:,} test images '
        f"are recognised. The mean of the classes’ recalls is {found.macro_recall:.2%}.</p>"
    )
    return f"{lead}{_bars(reports)}{_matrix(names, found)}{_worst(names, found.worst)}"


def _bars(reports: Sequence[ClassReport]) -> str:
    """The classes with the lowest recall first."""
    order = worst_first(reports)
    rows = [
        (name(it.name), _bar(it.right / it.total), f"{it.right:,} of {it.total:,}", _taken(it))
        for it in order[:MOST_BARS]
    ]
    left = len(order) - len(rows)
    more = f'<p class="quiet">and {left:,} classes of more recall</p>' if left else ""
    headings = ("Class", "Recall", "Recognised", "Mostly taken for")
    return table(headings, rows, "classes") + more


def _bar(recall: float) -> str:
    return (
        f'<span class="recall"><span class="bar" role="img" aria-label="{recall:.0%}">'
        f'<i class="k-accuracy" style="width:{100 * recall:.1f}%"></i></span><b>{recall:.0%}</b></span>'
    )


def _taken(it: ClassReport) -> str:
    return f"{name(it.taken_for)} <small>{it.taken:,} of {it.total:,}</small>" if it.taken else NONE


def _matrix(names: Sequence[str], found: Confusion) -> str:
    """Of many classes, those with the most mistakes."""
    wrong = [total - right for right, total in zip(found.right, found.total, strict=True)]
    most = sorted(range(len(names)), key=lambda it: -wrong[it])[:MOST_CELLS]
    shown = sorted(most)
    counts = {(label, other): count for label, other, count in found.confused}
    counts |= {(label, label): right for label, right in enumerate(found.right)}
    heads = "".join(
        f'<th scope="col" title="{text(names[it])}"><b>{name(names[it])}</b></th>' for it in shown
    )
    rows = "".join(
        f'<tr><th scope="row" title="{text(names[a])}">{name(names[a])}</th>'
        + "".join(_cell(names, (a, b), counts.get((a, b), 0), found.total[a]) for b in shown)
        + "</tr>"
        for a in shown
    )
    kind = " many" if len(shown) > _MANY else ""
    kind += " short" if max(map(len, names)) <= _SHORT else ""
    of = "" if len(shown) == len(names) else f"The {len(shown)} classes with the most mistakes. "
    return (
        f'<figure class="matrix confusion{kind}" style="max-width:{12 + 3 * len(shown)}rem">'
        f"<figcaption>{of}Rows are what images show, columns what they are taken for.</figcaption>"
        f'<table><thead><tr><th scope="col"><span class="hidden">shown, taken for</span></th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></figure>"
    )


def _cell(names: Sequence[str], place: tuple[int, int], count: int, total: int) -> str:
    if not count:
        return "<td></td>"
    label, other = place
    share = count / total
    shades = _SHADES_RIGHT if label == other else _SHADES_WRONG
    shade = next(shade for least, shade in shades if share >= least)
    verb = "recognised" if label == other else f"taken for {names[other]}"
    words = f"{text(f'{names[label]}, {verb}')}\n{count:,} of {total:,} ({share:.1%})"
    return f'<td data-words="{words}"><span class="r{shade}">{count}</span></td>'


def _worst(names: Sequence[str], found: Sequence[WorstImage]) -> str:
    figures = "".join(_picture(names, it) for it in found[:MOST_WORST])
    return (
        f'<p class="lead">The worst mistakes</p><div class="worst">{figures}</div>'
        if figures
        else ""
    )


def _picture(names: Sequence[str], it: WorstImage) -> str:
    label, other = names[it.label], names[it.predicted]
    alt = text(f"{label}, taken for {other}")
    source = f'<img alt="{alt}" src="data:image/jpeg;base64,{it.jpeg}">' if it.jpeg else ""
    return (
        f"<figure>{source}<figcaption>{name(label)} → {name(other)} <small>{it.probability:.0%}</small>"
        f"<small>{name(it.name)}</small></figcaption></figure>"
    )
