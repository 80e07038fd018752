"""From the counters of two looks at a cache to its hit rate: differences, resets and restarts, and sums over nodes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from opsdoc.model import Point, Unknown, known
from opsdoc.signals.hit_rate_facts import HitRate
from opsdoc.signals.hit_rate_misses import miss_parts

Count = int | Unknown | None  # Unknown: it could not be read; None: this product has no such counter
FEW_BETWEEN = 25  # reads from one look to the next: four times as many are as few as a whole window may have
RESET = Unknown("its counters were reset in the window")


class Counters(NamedTuple):
    """What a cache has counted since it began, at one time in seconds. Counters only ever grow until they are reset."""

    at: float
    hits: Count = None
    misses: Count = None
    sets: Count = None
    evicted: Count = None
    expired: Count = None
    ops: Count = None
    checks: Count = None
    bypassed: Count = None
    evicted_unread: Count = None
    expire_capped: Count = None
    cpu: float | Unknown | None = None
    uptime: float | Unknown | None = None
    run: str = ""  # changes with each start, where the product tells


_COUNTED = ("sets", "evicted", "expired", "ops", "checks", "bypassed", "evicted_unread", "expire_capped")


def was_reset(before: Counters, after: Counters) -> bool:
    """Whether any counter, or the uptime, went down, or another process answers: then no difference means anything."""
    if before.run and after.run and before.run != after.run:
        return True
    for name in ("hits", "misses", *_COUNTED, "cpu", "uptime"):
        first, last = known(getattr(before, name)), known(getattr(after, name))
        if first is not None and last is not None and last < first:
            return True
    return False


def hit_rate(
    node: str,
    before: Counters,
    after: Counters,
    between: Sequence[Counters] = (),
    *,
    seconds: float | None = None,
    **more: Any,
) -> HitRate:
    """The hit rate between two looks; `more` are fields that no difference tells, such as `role` and `keys`.

    The commands that the second look itself takes must be after it. Nothing is negative: after a reset all differences
    are Unknown and `reset` is set. Looks in `between` need no more than the time, hits and misses. `seconds` is the
    time from one to the other where a better clock than ours tells it.
    """
    seconds = max(0.0, after.at - before.at) if seconds is None else seconds
    reset = was_reset(before, after)

    def grown(name: str) -> Any:
        first, last = getattr(before, name), getattr(after, name)
        unknown = next((one for one in (last, first) if isinstance(one, Unknown)), None)
        if unknown is not None or first is None or last is None:
            return unknown
        return RESET if reset else last - first

    hits, misses = grown("hits"), grown("misses")
    lifetime = _sum(after.hits, after.misses)
    made: dict[str, Any] = {
        "hits": Unknown("it counts no hits") if hits is None else hits,
        "misses": Unknown("it counts no misses") if misses is None else misses,
        "ratio": _share(hits, misses),
        "window_seconds": seconds,
        "reset": reset,
        "uptime": after.uptime,
        "lifetime_reads": lifetime,
        "lifetime_ratio": _share(after.hits, after.misses),
        "expired_total": after.expired,
        **{name: grown(name) for name in _COUNTED},
        "course": () if reset else course((before, *between, after)),
    }
    made["reads_per_second"] = _per(_sum(hits, misses), seconds)
    made["fill_ratio"] = _per(made["sets"], misses)
    made["cpu"] = _per(grown("cpu"), seconds)
    rate = HitRate(**{"subject": node, "node": node, **made, **more})
    return rate.replaced(misses_by_cause=miss_parts(rate))


def without_window(rate: HitRate, why: str) -> HitRate:
    """The same where there was no window, which `why` explains: only that over its lifetime is known."""
    untold = Unknown(why)
    unknown = dict.fromkeys(("hits", "misses", "ratio", "reads_per_second", "fill_ratio"), untold)
    return rate.replaced(**unknown, course=(), misses_by_cause=())


def course(seen: Sequence[Counters]) -> tuple[Point, ...]:
    """The hit rate from each look to the next, at the time of the latter; none where fewer than FEW_BETWEEN were read.

    Nothing where there are but two looks, or none of it is known: a line of one point tells nothing.
    """
    points = [Point(round(after.at, 3), _ratio(before, after)) for before, after in itertools.pairwise(seen)]
    return tuple(points) if len(points) > 1 and any(point.value is not None for point in points) else ()


def _ratio(before: Counters, after: Counters) -> float | None:
    ends = [known(value) for value in (before.hits, after.hits, before.misses, after.misses)]
    if None in ends:
        return None
    hits, misses = (ends[1] or 0) - (ends[0] or 0), (ends[3] or 0) - (ends[2] or 0)
    reads = hits + misses
    return round(hits / reads, 6) if min(hits, misses) >= 0 and reads >= FEW_BETWEEN else None


def with_shares(rates: Sequence[HitRate]) -> list[HitRate]:
    """The same, each with its share of the commands of all."""
    total = sum(known(rate.ops) or 0 for rate in rates)
    return [rate.replaced(ops_share=_per(rate.ops, total)) for rate in rates]


def together(rates: Sequence[HitRate]) -> HitRate:
    """All nodes whose reads are known as one: sums, and the lifetime rate by how much was read of each."""
    told = [rate for rate in rates if rate.reads is not None]
    hits, misses = (sum(known(getattr(rate, name)) or 0 for rate in told) for name in ("hits", "misses"))
    summed: dict[str, Any] = {name: _total(told, name) for name in (*_COUNTED, "keys", "keys_before", "expires")}
    ages = [age for rate in told if (age := known(rate.uptime)) is not None]
    return HitRate(
        subject="all",
        node="all",
        product=told[0].product if told else "cache",
        hits=hits,
        misses=misses,
        ratio=_share(hits, misses),
        window_seconds=max((rate.window_seconds for rate in told), default=0.0),
        reads_per_second=sum(rate.per_second or 0.0 for rate in told),
        lifetime_ratio=_lifetime(told),
        fill_ratio=_per(summed["sets"], misses),
        uptime=min(ages, default=None),
        expired_stale=max((known(rate.expired_stale) or 0.0 for rate in told), default=None),
        by_hand=told[0].by_hand if told else (),
        **summed,
    )


def _sum(one: Count, two: Count) -> Count:
    if isinstance(one, int) and isinstance(two, int):
        return one + two
    return next((unknown for unknown in (one, two) if isinstance(unknown, Unknown)), None)


def _share(hits: Count, misses: Count) -> float | Unknown | None:
    """The hit rate; None where nothing was read."""
    return _per(hits, _sum(hits, misses))


def _per(part: float | Unknown | None, whole: float | Unknown | None) -> float | Unknown | None:
    unknown = next((one for one in (part, whole) if isinstance(one, Unknown)), None)
    if unknown is not None:
        return unknown
    value, by = known(part), known(whole)
    return value / by if value is not None and by else None


def _total(rates: Sequence[HitRate], name: str) -> int | None:
    """The sum, where all nodes tell."""
    values = [known(getattr(rate, name)) for rate in rates]
    told = [value for value in values if value is not None]
    return sum(told) if told and len(told) == len(values) else None


def _lifetime(rates: Sequence[HitRate]) -> float | None:
    weighed = [
        (ratio, reads)
        for rate in rates
        if (ratio := known(rate.lifetime_ratio)) is not None and (reads := known(rate.lifetime_reads))
    ]
    total = sum(reads for _, reads in weighed)
    return sum(ratio * reads for ratio, reads in weighed) / total if total and len(weighed) == len(rates) else None
