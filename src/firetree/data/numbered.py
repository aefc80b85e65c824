"""What names of files with many images each say: which of a numbered set are missing or there twice."""

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
"""What browsers and desktops put behind the name of a copy."""
_NAMED = 3
"""Missing files that a remark names before it only counts."""


class _Set(NamedTuple):
    """Files that differ in a number alone: what stands around it, and how many they say to be, or 0."""

    before: str
    behind: str
    told: int = 0

    def span(self, numbers: set[int]) -> range:
        """The numbers of the whole set, which begin with 0 or 1."""
        first = int(min(numbers) == 1 and (not self.told or self.told in numbers))
        return range(first, first + self.told if self.told else max(numbers) + 1)


def remarks_on_numbers(files: Sequence[Parts], suffixes: Sequence[str]) -> list[str]:
    """A line for files that are one by their names, for a set that lacks some, and for two sets in one.

    Where names do not say how many there are, a set of which half is missing is taken for none.

    Args:
        files: of one split.
        suffixes: what their names end in.
    """
    places = {"/".join(parts): _places("/".join(parts), suffixes) for parts in files}
    sizes = Counter(one for found in places.values() for one in found)
    sets: defaultdict[_Set, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, found in places.items():
        one = max(found, key=sizes.__getitem__)
        sets[one][found[one]].append(printable(name))
    counts: defaultdict[str, set[int]] = defaultdict(set)
    for one in sets:
        counts[one.before].add(one.told)
    mixed = {before: sorted(told - {0}) for before, told in counts.items()}
    return [
        *(remark for one, names in sets.items() for remark in _remarks(one, names)),
        *(
            f"{printable(before)}* are files of {' and of '.join(map(str, told))}; each is read"
            for before, told in mixed.items()
            if len(told) > 1
        ),
    ]


def _places(name: str, suffixes: Sequence[str]) -> dict[_Set, str]:
    """The sets that a file may be of, by its last number first, and the number in each."""
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
    if missing and (one.told or missing < len(numbers)):
        width = max((len(number) for number in names if number.startswith("0")), default=1)
        lacking = (f"{n:0{width}}" for n in whole if n not in numbers)
        some = [printable(one.before + n + one.behind) for n in islice(lacking, _NAMED)]
        more = f" and {missing - len(some):,} more" if missing > len(some) else ""
        yield f"numbered files are missing: {missing:,} of {len(whole):,} ({', '.join(some)}{more})"
