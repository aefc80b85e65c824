"""Find files that are missing from a numbered set, or are there twice, by their names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from firetree.data.listing import Parts
from firetree.output import printable

_NUMBER = re.compile(r"\d{1,18}")
_COUNTED = re.compile(r"(\d{1,18})-of-(\d{1,18})")
_COPY = re.compile(r"( ?\(\d+\)| - Copy| copy( \d+)?)+$")
"""Endings that browsers and desktops give the name of a copy."""
_NAMED = 3
"""How many missing files a remark names; it only counts the others."""


class _Set(NamedTuple):
    """Files whose names differ only in a number: the text around it, and their stated count or 0."""

    before: str
    behind: str
    stated: int = 0

    def span(self, numbers: set[int]) -> range:
        """The numbers of the whole set, which start at 0 or 1."""
        first = int(min(numbers) == 1 and (not self.stated or self.stated in numbers))
        return range(first, first + self.stated if self.stated else max(numbers) + 1)


def remarks_on_numbers(files: Sequence[Parts], suffixes: Sequence[str]) -> list[str]:
    """Remarks on copies of one file, on sets that lack files, and on two sets with one name.

    Where names do not state a count, files are no set if half of it would be missing.

    Args:
        files: of one split.
        suffixes: the endings of their names.
    """
    candidates = {"/".join(parts): _sets_of("/".join(parts), suffixes) for parts in files}
    sizes = Counter(one for number_in in candidates.values() for one in number_in)
    sets: defaultdict[_Set, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, number_in in candidates.items():
        one = max(number_in, key=sizes.__getitem__)
        sets[one][number_in[one]].append(printable(name))
    counts: defaultdict[str, set[int]] = defaultdict(set)
    for one in sets:
        counts[one.before].add(one.stated)
    mixed = {before: sorted(totals - {0}) for before, totals in counts.items()}
    return [
        *(remark for one, names in sets.items() for remark in _remarks(one, names)),
        *(
            f"{printable(before)}* are files of {' and of '.join(map(str, totals))}; each is read"
            for before, totals in mixed.items()
            if len(totals) > 1
        ),
    ]


def _sets_of(name: str, suffixes: Sequence[str]) -> dict[_Set, str]:
    """The sets that a file may belong to, and its number in each; that of its last number comes first."""
    suffix = max((end for end in suffixes if name.lower().endswith(end)), key=len, default="")
    stem = _COPY.sub("", name[: len(name) - len(suffix)])
    if counted := _COUNTED.search(stem):
        number, count = counted.groups()
        return {_Set(stem[: counted.start()], f"-of-{count}", int(count)): number}
    numbers = [*_NUMBER.finditer(stem)][::-1]
    return {_Set(stem[: n.start()], stem[n.end() :]): n[0] for n in numbers} or {_Set(stem, ""): ""}


def _remarks(one: _Set, names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for several in names.values():
        if len(several) > 1:
            yield f"{' and '.join(several)} are one file by their names; each is read"
    numbers = {int(number or 0) for number in names}
    whole = one.span(numbers)
    missing = len(whole) - sum(number in whole for number in numbers)
    if missing and (one.stated or missing < len(numbers)):
        width = max((len(number) for number in names if number.startswith("0")), default=1)
        lacking = (f"{n:0{width}}" for n in whole if n not in numbers)
        some = [printable(one.before + n + one.behind) for n in islice(lacking, _NAMED)]
        more = f" and {missing - len(some):,} more" if missing > len(some) else ""
        yield f"numbered files are missing: {missing:,} of {len(whole):,} ({', '.join(some)}{more})"
