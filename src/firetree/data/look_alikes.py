"""Class names that look alike: they differ only in case, blanks, or how Unicode writes an accent."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that look alike, written so that their differences show."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[_look(name)].append(name)
    return [_distinct(alike) for alike in groups.values() if len(alike) > 1]


def hint(unknown: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: the names that look like it, if any."""
    alike = [name for name in names if _look(name) == _look(unknown)]
    if not alike:
        return ""
    other, *same = _distinct([unknown, *alike])
    return f"; {other} looks like {' and '.join(same)}, but is another name"


def _look(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _distinct(alike: Sequence[str]) -> list[str]:
    """The names quoted, in ASCII where two differ only in how their letters are composed."""
    composed = {unicodedata.normalize("NFC", name) for name in alike}
    return [*map(repr if len(composed) == len(alike) else ascii, alike)]
