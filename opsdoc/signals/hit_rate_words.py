"""Causes of misses in words: what was counted, and the one thing to do next."""

from __future__ import annotations

from collections.abc import Mapping

from opsdoc.model import known
from opsdoc.signals import cache_zone
from opsdoc.signals.amounts import duration, number, percent
from opsdoc.signals.cache_case import Case
from opsdoc.signals.cache_words import of_limit, reads
from opsdoc.signals.hit_rate_cause import Cause, is_over, ttl_jumped
from opsdoc.signals.hit_rate_facts import HitRate

NEXT_STEPS: Mapping[Cause, str] = {
    "oom": "free memory or raise its limit now; if it is a cache and no store, give it a policy that evicts",
    "eviction": "raise its memory limit or keep less in it: look for big keys and for times to live that are longer "
    "than anybody needs; more memory elsewhere does not help",
    "expiry-wave": "hold back the load on what stands behind until the keys are back; then spread the times to live "
    "by a random tenth, and let one caller fill a key while the others wait",
    "expired": "give what is read often a longer time to live, or refresh it before it ends",
    "bypass": "see why these requests go round the cache: a cookie, an authorization, or a rule that is too wide",
    "checks": "judge it without them: locks and existence checks are meant to miss",
    "penetration": "see which keys are asked for and who asks: a scanner, a bug in how keys are made, or a fill that "
    "fails; refuse what cannot exist before the look-up, and cache `not found` for a short time",
    "cold": "hold back the load on what stands behind until it is filled, or warm it; look again in a few minutes",
    "pattern-shift": "see what changed in which keys are read: a deploy that renames keys, a crawler, a report; or "
    "whether the keys were flushed or expired just before the window",
    "low": "let it be seen what is written, evicted and expired: without that no cause can be told from another",
}


def next_step(cause: Cause, rate: HitRate | None) -> str:
    """What to do about it, in the words of the product where it has words of its own."""
    special = cache_zone.NEXT_STEPS if rate is not None and rate.product == cache_zone.PRODUCT else {}
    return special.get(cause) or NEXT_STEPS[cause]


def told(rate: HitRate) -> str:
    """`hits in 10 % of 6,000 reads in 2.0 s (99 % over its lifetime)`."""
    share, count = rate.miss_share, rate.reads or 0
    if share is None:
        return "was not read in the window"
    lifetime = known(rate.lifetime_ratio)
    over = "" if lifetime is None else f" ({percent(lifetime)} over its lifetime)"
    stale = known(rate.stale)
    late = f", {stale:,} of them on what was over its time" if stale else ""
    return f"hits in {percent(1 - share)} of {reads(count, rate.window_seconds)}{over}{late}"


def why(cause: Cause, case: Case) -> str:
    """The cause with its counts, to follow a colon."""
    rate = case.rate
    if rate is None:
        return ""
    said = {
        "eviction": _evicted,
        "expiry-wave": _wave,
        "expired": _expired,
        "bypass": _bypassed,
        "checks": _checks,
        "penetration": _unfilled,
        "cold": _cold,
        "pattern-shift": _shifted,
    }.get(cause)
    return "the cause is not told by what could be counted" if said is None else said(case, rate)


def _evicted(case: Case, rate: HitRate) -> str:
    written = known(rate.sets)
    beside = f" while {written:,} were written" if written else ""
    evicted, unread = known(rate.evicted) or 0, known(rate.evicted_unread)
    never = f", {percent(unread / evicted)} of them never read" if unread and evicted else ""
    if rate.product == cache_zone.PRODUCT:  # which counts none: the folder tells, and what is missed again
        return f"it is too small, about {number(evicted, 'answer was', 'answers were')} evicted{_memory(case)}"
    return f"it is too small, {number(evicted, 'key was', 'keys were')} evicted{beside}{never}{_memory(case)}"


def _memory(case: Case) -> str:
    """`; 4.0 of 4.0 MiB used (allkeys-lru)`."""
    health = case.health
    used, limit = (known(health.memory_used), known(health.memory_limit)) if health else (None, None)
    if health is not None and health.product == cache_zone.PRODUCT:
        return cache_zone.too_small(health)
    if health is None or used is None or not limit:
        return ""
    policy = known(health.policy)
    return f"; {of_limit(used, limit)} used{f' ({policy})' if policy else ''}"


def _wave(case: Case, rate: HitRate) -> str:
    expired, before, total = known(rate.expired) or 0, known(rate.keys_before), known(rate.expired_total)
    if is_over(rate):
        return f"many keys expired at once shortly before, {total or 0:,} since it started, and are filled again"
    of = f" of {before:,}" if before and before >= expired else ""
    ttl, ttl_before = known(rate.avg_ttl), known(rate.avg_ttl_before)
    average = (
        f", average time to live {duration(ttl_before)} before and {duration(ttl)} now"
        if ttl is not None and ttl_before is not None and ttl_jumped(rate)
        else ""
    )
    return f"many keys expire at once, {expired:,}{of} in the window{average}"


def _expired(case: Case, rate: HitRate) -> str:
    misses, expired = known(rate.misses) or 0, known(rate.expired) or 0
    if rate.product == cache_zone.PRODUCT:
        return f"{expired:,} of {misses:,} misses were for answers that were kept, and over their time"
    return f"keys are over their time when they are read, {expired:,} expired beside {number(misses, 'miss', 'misses')}"


def _bypassed(case: Case, rate: HitRate) -> str:
    return f"{known(rate.bypassed) or 0:,} of {known(rate.misses) or 0:,} misses were told to go round the cache"


def _checks(case: Case, rate: HitRate) -> str:
    return f"{known(rate.checks) or 0:,} of the reads only ask whether a key exists, and are meant to miss"


def _unfilled(case: Case, rate: HitRate) -> str:
    misses, written = known(rate.misses) or 0, known(rate.sets)
    fills = (
        f"{number(written, 'write')} for {number(misses, 'miss', 'misses')}"
        if written is not None
        else f"{number(misses, 'miss', 'misses')} and hardly a new key"
    )
    lost = (known(rate.evicted) or 0) + (known(rate.expired) or 0)
    return f"nobody fills what is missed, {fills}; {'nothing' if not lost else f'only {lost:,}'} evicted or expired"


def _cold(case: Case, rate: HitRate) -> str:
    uptime = known(rate.uptime) or 0.0
    return f"it started {duration(uptime)} ago and is filling{_keys(rate)}"


def _shifted(case: Case, rate: HitRate) -> str:
    return f"keys are read that were not there before and are filled now{_keys(rate)}; hardly any evicted or expired"


def _keys(rate: HitRate) -> str:
    now, before = known(rate.keys), known(rate.keys_before)
    if now is not None and before is not None and now > before:
        return f", from {before:,} to {number(now, 'key')} in the window"
    filled = known(rate.sets)
    return f", {number(filled, 'write')} for {known(rate.misses) or 0:,} misses" if filled is not None else ""


def confidence(case: Case, cause: Cause | None = None) -> str:
    """By how many reads it is judged, and what makes it less sure."""
    rate = case.rate
    if rate is None:
        return "told by the node itself"
    said = [reads(rate.reads, rate.window_seconds) if rate.reads is not None else "reads are not known"]
    if cause == "eviction" and rate.product == cache_zone.PRODUCT:
        said.append("evictions told by the folder of the zone and by URLs that are missed again")
    if cause == "penetration" and known(rate.fill_ratio) is None:
        said.append("fills told by the number of keys alone")
    if known(rate.keys) and case.expires == 0:
        said.append("lower: no key has a time to live, so it may be a store and no cache")
    return ", ".join(said)
