"""Amounts in words, as findings about requests and servers say them."""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float) -> str:
    """A share: `38 %`, `4.2 %`, `0.02 %`; never a hundred for what is not all of it."""
    value = share * 100
    if value in {0, 100}:
        return f"{value:.0f} %"
    if value > 99.5:
        return "over 99 %"
    if value >= 9.95:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 0.095 else f"{value:.1g} %" if value >= 0.001 else "under 0.001 %"


def number(count: int, noun: str, plural: str | None = None) -> str:
    """So many of a thing: `1 server`, `48,210 attempts`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def duration(seconds: float) -> str:
    """Seconds as people say them: `501 ms`, `1.6 s`, `60 s`, `3 min`, `2 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes = seconds / 60
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} d"


def listed(items: Sequence[str], most: int = 3) -> str:
    """`a`, `a and b`, `a, b and c`, `a, b, c and 4 more`."""
    shown = list(items[:most])
    if len(items) > most:
        shown.append(f"{len(items) - most:,} more")
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))
