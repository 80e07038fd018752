"""Why a cache misses, told apart by what else was counted in the window: never by the rate itself.

The signatures of eviction, mass expiry and refused writes were produced on Redis 7.0 and memcached 1.6; the others
follow from what the counters mean. That of misses which nobody fills needs no key to be looked at.
"""

from __future__ import annotations

from typing import Literal

from opsdoc.model import known
from opsdoc.signals.cache_case import Case
from opsdoc.signals.hit_rate_facts import HitRate

Cause = Literal[
    "oom", "eviction", "expiry-wave", "expired", "bypass", "checks", "penetration", "cold", "pattern-shift", "low",
]  # fmt: skip

EXPLAINS = 0.3  # of the misses: so many evicted or expired keys account for a good part of them
UNFILLED = 0.3  # fills for each miss: below it most misses are for keys that nothing brings into the cache
MOSTLY = 0.5  # of the misses, or reads: what is half of them is what they are
EMPTIED = 0.1  # of the keys: so many that expire within one window may be felt, however few of them are read yet
SHRUNK = 0.3  # of the keys: so many fewer after a window; with short times to live 0.1 was measured
STALE = 0.1  # of the keys: Redis expires as fast as it can while it believes that more have expired than that
JUMPED = 2.0  # times: an average time to live that changes so much in a window is that of other keys than before
SURGED = 3.0  # times the usual rate of expiry
MARKS = 2  # of a wave: one alone is also seen with short times to live (23 % stale keys were measured)


def cause_of(case: Case) -> Cause:
    """The cause that the counters of a node with a low hit rate speak for; `low` where they speak for none."""
    rate = case.rate
    if case.refused:
        return "oom"
    misses = known(rate.misses) if rate else None
    if rate is None or not misses:
        return "low"
    return _by_loss(rate, misses) or _by_kind(rate, misses) or _by_fill(rate)


def wave_marks(rate: HitRate) -> list[str]:
    """What speaks for many keys that expire at once, in words."""
    now, before = known(rate.keys), known(rate.keys_before)
    marks = [
        ("expiring ran out of time", (known(rate.expire_capped) or 0) > 0),
        ("expired keys are still held", _stale(rate)),
        ("the average time to live jumped", ttl_jumped(rate)),
        ("there are far fewer keys", now is not None and bool(before) and now <= (1 - SHRUNK) * (before or 0)),
        ("far more expire than usual", _surged(rate)),
    ]
    return [said for said, holds in marks if holds]


def _by_loss(rate: HitRate, misses: int) -> Cause | None:
    """Keys that were there: thrown away for want of room, or over their time."""
    evicted, expired = known(rate.evicted) or 0, known(rate.expired) or 0
    emptied = expired >= EMPTIED * (known(rate.keys_before) or float("inf"))
    wave = len(wave_marks(rate)) >= MARKS and (emptied or expired >= EXPLAINS * misses)
    if evicted >= EXPLAINS * misses and evicted >= expired:
        return "eviction"
    if wave:
        return "expiry-wave"
    return "expired" if expired >= EXPLAINS * misses else None


def _by_kind(rate: HitRate, misses: int) -> Cause | None:
    """Misses that are what the application asked for."""
    if (known(rate.bypassed) or 0) >= MOSTLY * misses:
        return "bypass"
    return "checks" if (known(rate.checks) or 0) >= MOSTLY * (rate.reads or misses) else None


def _by_fill(rate: HitRate) -> Cause:
    """Keys that were not there: nobody fills them, or they come in."""
    filled = rate.filled
    if filled is not None and filled < UNFILLED:
        return "penetration"
    if filled is not None and is_over(rate):
        return "expiry-wave"
    if rate.young:
        return "cold"
    return "low" if filled is None else "pattern-shift"


def is_over(rate: HitRate) -> bool:
    """Whether a wave has just passed: hardly anything expires now, but the share of stale keys, an average, recalls it.

    As many keys as there are now must have expired since it began.
    """
    total, now = known(rate.expired_total), known(rate.keys)
    expired, misses = known(rate.expired) or 0, known(rate.misses) or 0
    return _stale(rate) and total is not None and now is not None and total >= now and expired < EXPLAINS * misses


def ttl_jumped(rate: HitRate) -> bool:
    """Whether the average time to live is another: in a wave it falls to nothing, and comes back with the fills."""
    before, now = known(rate.avg_ttl_before), known(rate.avg_ttl)
    if before is None or now is None or before == now:
        return False
    return max(before, now) >= JUMPED * min(before, now)


def _stale(rate: HitRate) -> bool:
    return (known(rate.expired_stale) or 0.0) >= STALE


def _surged(rate: HitRate) -> bool:
    """Whether keys expire far faster than over the lifetime, without this window."""
    expired, total, uptime = known(rate.expired), known(rate.expired_total), known(rate.uptime)
    if not expired or total is None or uptime is None or uptime <= rate.window_seconds or not rate.window_seconds:
        return False
    usual = max(0, total - expired) / (uptime - rate.window_seconds)
    return expired / rate.window_seconds >= SURGED * max(usual, 1.0)
