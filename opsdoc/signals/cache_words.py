"""Amounts of caches in words: sizes, reads of a window, and nodes."""

from __future__ import annotations

from collections.abc import Sequence

from opsdoc.signals.amounts import duration, listed, number, percent

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def size(octets: float) -> str:
    """`820 bytes`, `95 KiB`, `4.0 MiB`, `12 GiB`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if octets >= unit:
            value = octets / unit
            return f"{value:.1f} {name}" if value < 10 else f"{value:,.0f} {name}"
    return number(int(octets), "byte")


def of_limit(used: int, limit: int) -> str:
    """`4.0 of 4.0 MiB`, or both with their units where these differ."""
    one, two = size(used), size(limit)
    (amount, unit), (_, other) = one.rsplit(" ", 1), two.rsplit(" ", 1)
    return f"{amount} of {two}" if unit == other else f"{one} of {two}"


def window(seconds: float) -> str:
    """A window: `2.0 s`, `60 s`, `10 min`."""
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def reads(count: int, seconds: float) -> str:
    """`1,204 reads in 2.0 s`."""
    return f"{number(count, 'read')} in {window(seconds)}"


def share_of(part: int, whole: int) -> str:
    """`5,462 of 16,384 slots (33 %)`, without the noun."""
    return f"{part:,} of {whole:,} ({percent(part / whole)})" if whole else f"{part:,}"


def all_of(count: int, noun: str = "node") -> str:
    """`both nodes`, `all 6 nodes`."""
    return f"both {noun}s" if count == 2 else f"all {count:,} {noun}s"


def so_far(answer: int, silent: Sequence[str], hits: int, misses: int, seconds: float) -> str:
    """What is known before the window: who does not answer, and the hit rate over the lifetime of those that do."""
    said = [f"{listed(silent)} {'does' if len(silent) == 1 else 'do'} not answer"] if silent else []
    if answer:
        over = f"at a hit rate of {percent(hits / (hits + misses))} over the lifetime" if hits + misses else "unread"
        said.append(f"{number(answer, 'node')} {'answers' if answer == 1 else 'answer'}, {over}")
    return f"{'; '.join(said)}; the hit rate of now is known in {window(seconds)}"
