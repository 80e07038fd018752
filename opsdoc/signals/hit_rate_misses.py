"""Misses of a window by what accounts for them, as far as that was counted."""

from __future__ import annotations

from collections.abc import Iterator

from opsdoc.model import Unknown, known
from opsdoc.signals.hit_rate_facts import HitRate, MissPart


def miss_parts(rate: HitRate) -> tuple[MissPart, ...]:
    """The misses by cause, in the order in which a verdict looks for one; together they are all misses.

    A cause has at most what was counted of it, and at most what those before it leave: a key may have been evicted and
    not be filled either. `counted` is the number of keys or reads that the share is taken from. What could not be
    counted is Unknown, and its misses are among the others.
    """
    misses = known(rate.misses)
    if not misses:
        return ()
    left, parts = misses, []
    for cause, counted in _accounts(rate, misses):
        if isinstance(counted, Unknown):
            parts.append(MissPart(cause, counted))
        elif counted is not None:
            part = min(left, counted)
            left -= part
            parts.append(MissPart(cause, part, counted))
    return (*parts, MissPart("other", left))


def _accounts(rate: HitRate, misses: int) -> Iterator[tuple[str, int | Unknown | None]]:
    """What may account for misses, with how much of it there was; None where its product does not have it."""
    lost = [("evicted", rate.evicted), ("expired", rate.expired)]
    yield from sorted(lost, key=lambda one: -(known(one[1]) or 0))
    yield "bypassed", rate.bypassed
    checks, hits = known(rate.checks), known(rate.hits)
    if checks and hits is not None:
        yield "only checked", max(0, checks - hits)  # even if every hit was one
    if rate.filled is not None:
        yield "never filled", max(0, misses - round(misses * rate.filled))
    else:
        yield "never filled", rate.sets if isinstance(rate.sets, Unknown) else None
