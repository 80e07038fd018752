"""What secrets look like, and where they stand in a text: keys, flags of tools, tokens.

A span is where a secret begins and ends. All patterns are linear: a quantifier is bounded or ends its pattern, no
unbounded prefix comes before a keyword, and what one match has consumed is not read again.
"""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]


def words(text: str) -> frozenset[str]:
    """A table of words."""
    return frozenset(text.split())


def shortest(names: Iterable[str]) -> tuple[str, ...]:
    """`mysql` finds `mysqldump` too."""
    kept: list[str] = []
    for name in sorted(names, key=len):
        if not any(other in name for other in kept):
            kept.append(name)
    return tuple(kept)
