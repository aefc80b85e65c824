"""Samples that cannot be read, and how many of them a run goes on with."""

from __future__ import annotations

from collections.abc import Mapping

from firetree.errors import RunFailedError

_ACCEPTED_PERCENT = 1


class DamagedImageError(Exception):
    """An image that cannot be decoded; the text is the reason, without the image's name."""


def check_damage(damaged: Mapping[str, str], total: int, samples: str) -> None:
    """Raise RunFailedError where more than 1 % of all samples are damaged.

    Args:
        damaged: the reason for each by its name.
        samples: what they are, as in `images`.
    """
    if 100 * len(damaged) > _ACCEPTED_PERCENT * total:
        name, reason = next(iter(damaged.items()))
        raise RunFailedError(
            f"{len(damaged)} of {total} {samples} cannot be decoded, which is more than "
            f"{_ACCEPTED_PERCENT} % ({name}: {reason}); repair or remove them"
        )
