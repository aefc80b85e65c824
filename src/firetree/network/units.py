"""Read and write rates, durations, sizes and shares with units: `200mbit`, `80us`, `5MB`, `0.1%`."""

from __future__ import annotations

import re
from fractions import Fraction
from reprlib import repr as short

from firetree.errors import UserError

_BITS = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_IN_A_SECOND = {"ns": 1e9, "us": 1e6, "ms": 1e3, "s": 1.0}
_NUMBER = r"(\d{1,17}(?:\.\d{1,20})?(?:e[+-]?\d{1,2})?)"


def parse_rate(text: str) -> float:
    """Bytes a second from a rate in bits: `200mbit`, `1gbit`, `2.5gbit`.

    Raises:
        UserError: the text is not such a rate, or it is 0.
    """
    found = re.fullmatch(_NUMBER + r"\s?([kmg]?bit)(?:/s)?", text.strip().lower())
    if not found or float(found[1]) == 0:
        raise UserError(
            f"rate {short(text)}; expected a number and kbit, mbit or gbit, as in 200mbit"
        )
    return float(found[1]) * _BITS[found[2]] / 8


def parse_rates(text: str) -> tuple[float, float]:
    """Bytes a second up and down: `50mbit:200mbit`, or one rate for both directions.

    Raises:
        UserError: one of them is not a rate.
    """
    up, colon, down = text.partition(":")
    return parse_rate(up), parse_rate(down if colon else up)


def parse_duration(text: str) -> float:
    """Seconds from a duration: `80us`, `1.5ms`, `0.1s`.

    Raises:
        UserError: the text is not such a duration.
    """
    found = re.fullmatch(_NUMBER + r"\s?([num]?s)", text.strip().lower())
    if not found:
        raise UserError(f"duration {short(text)}; expected a number and us, ms or s, as in 80us")
    return float(found[1]) / _IN_A_SECOND[found[2]]


def parse_share(text: str) -> float:
    """A part of one from a percentage: 0.001 for `0.1%`.

    Raises:
        UserError: the text is no percentage, or over 100%.
    """
    found = re.fullmatch(_NUMBER + r"\s?%", text.strip())
    if not found or float(found[1]) > 100:
        raise UserError(f"share {short(text)}; expected 0% to 100%, as in 0.1%")
    return float(found[1]) / 100


def parse_bytes(text: str) -> int:
    """Whole bytes from a size: `64kB`, `5MB`, `1MiB`.

    Raises:
        UserError: the text is not such a size.
    """
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*([kmg]?i?b)", text.strip().lower())
    if not found or found[2] not in _BYTES:
        raise UserError(f"size {short(text)}; expected a number and B, kB, MB or GB, as in 5MB")
    return int(Fraction(found[1]) * _BYTES[found[2]])


def format_bytes(size_bytes: float) -> str:
    """The size in SI units: `5 MB`, `64 kB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes:.0f} B"


def format_share(share: float) -> str:
    """The share as a percentage: `0.1 %`."""
    return f"{share * 100:.3g} %"


def format_rate(rate_bytes_s: float) -> str:
    """The rate in bits a second: `200 Mbit/s`."""
    bits = rate_bytes_s * 8
    for unit, factor in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits >= factor:
            return f"{bits / factor:.4g} {unit}"
    return f"{bits:.4g} bit/s"


def format_rounded_rate(rate_bytes_s: float) -> str:
    """The rate with three digits, as a sentence has it: `94.1 Mbit/s`."""
    return format_rate(float(f"{rate_bytes_s * 8:.3g}") / 8)


def format_duration(duration_s: float) -> str:
    """The duration in a fitting unit: `80 µs`, `1.5 ms`, `2 s`."""
    units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
    # From 999.5 on, three digits would round up to 1e+03 of the smaller unit.
    unit = next((unit for unit in units if duration_s >= 0.9995 * units[unit]), "µs")
    value = duration_s / units[unit]
    return f"{value:.0f} {unit}" if value >= 999.5 else f"{value:.3g} {unit}"
