"""memcached servers as they were watched: what each counted, how it is, and its slab classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opsdoc.looks.memcached_watch import Look, Seen, Watched
from opsdoc.model import Observation, Total, Unknown, Unseen, Window, known
from opsdoc.parsers import memcached
from opsdoc.signals.cache_facts import CacheNode, Slab
from opsdoc.signals.hit_rate_facts import HitRate
from opsdoc.signals.hit_rate_samples import Count, Counters, hit_rate, was_reset, with_shares, without_window

ONLY_TOTALS = "without a window (--window 0) only totals are seen"

_COMMANDS = "cmd_get cmd_set cmd_touch cmd_flush cmd_meta delete_hits delete_misses incr_hits incr_misses".split()
_TOLD = "memory_used memory_limit policy clients max_clients rejected".split()


def items(seen: Seen, window: float, rows: int) -> Iterator[Observation | Unseen | Total | Window]:
    """Hit rates, servers and slab classes: those that evict or refuse, with the largest beside them, and `rows` more.

    What is judged is never cut.
    """
    watched, cut_short = seen
    no_window = cut_short.detail if cut_short else "" if window else ONLY_TOTALS
    rates = with_shares([_rate(one, no_window) for one in watched if not one.is_dead])
    if not no_window:
        yield Window(round(max((rate.window_seconds for rate in rates), default=window), 3))
    yield from rates
    for one in watched:
        yield _health(one)
    slabs = [slab for one in watched if not one.is_dead and one.looks for slab in _slabs(one)]
    quiet = 0
    for slab, matters in slabs:
        quiet += not matters
        if matters or not rows or quiet <= rows:
            yield slab
    if slabs:
        yield Total("slab", len(slabs))
    if cut_short is not None:
        yield cut_short.unseen("the end of the window")
    for one in watched:
        if one.error is not None and not one.is_dead:
            yield one.error.unseen(one.name)


def _rate(one: Watched, no_window: str) -> HitRate:
    if one.error is not None or not one.looks:
        return _unknown_rate(one, one.error.detail if one.error else "it was not asked")
    first, last = one.looks[0], one.looks[-1]
    if refused := first.refused or last.refused:
        return _unknown_rate(one, refused)
    before, after = first.of(""), last.of("")
    rate = hit_rate(
        one.name,
        _counters(first),
        _counters(last),
        [_counters(look) for look in one.between],
        product="memcached",
        keys=after.whole("curr_items"),
        keys_before=before.whole("curr_items"),
        by_hand=(one.by_hand(),),
    )
    return without_window(rate, no_window) if no_window else rate


def _unknown_rate(one: Watched, why: str) -> HitRate:
    untold = Unknown(why)
    name = one.name
    return HitRate(subject=name, node=name, product="memcached", ratio=untold, hits=untold, misses=untold)


def _counters(look: Look) -> Counters:
    stats = look.of("")
    ops = [value for name in _COMMANDS if (value := stats.whole(name)) is not None]
    return Counters(
        at=look.at,
        hits=_counted(stats, "get_hits"),
        misses=_counted(stats, "get_misses"),
        sets=_counted(stats, "cmd_set"),
        evicted=_counted(stats, "evictions"),
        expired=stats.whole("get_expired"),  # misses of what was there and is over its time
        ops=sum(ops) if ops else None,
        evicted_unread=stats.whole("evicted_unfetched"),
        uptime=stats.whole("uptime"),
        run=stats.text("pid") or "",
    )


def _counted(stats: memcached.Stats, name: str) -> int | Unknown:
    value = stats.whole(name)
    return Unknown(f"its stats have no {name}") if value is None else value


def _health(one: Watched) -> CacheNode:
    base: dict[str, Any] = {"subject": one.name, "node": one.name, "product": "memcached"}
    if one.is_dead and one.error is not None:
        return CacheNode(**base, reachable=False, why=one.error.detail, by_hand=(one.by_hand(),))
    why = one.error.detail if one.error else one.looks[-1].refused
    if why:
        untold: dict[str, Any] = dict.fromkeys(_TOLD, Unknown(why))
        return CacheNode(**base, **untold)
    first, last = one.looks[0], one.looks[-1]
    stats, settings = last.of(""), last.of("settings")
    evicts = settings.text("evictions")
    rejected = _rejected(stats)
    policy: str | Unknown = Unknown("its settings do not tell whether it evicts")
    if evicts is not None:
        policy = "none" if evicts == "off" else "lru"
    return CacheNode(
        **base,
        version=stats.text("version"),
        window_seconds=last.at - first.at,
        memory_used=_counted(stats, "bytes"),
        memory_limit=_counted(stats, "limit_maxbytes") or None,
        policy=policy,
        oom_errors=_refused_items(one) if evicts == "off" else None,
        evicted_total=stats.whole("evictions"),
        clients=_counted(stats, "curr_connections"),
        max_clients=settings.whole("maxconns") or stats.whole("max_connections"),
        rejected=_grown(one, rejected, _rejected(first.of(""))),
        rejected_total=rejected,
        by_hand=(one.by_hand(), one.by_hand("settings")),
    )


def _rejected(stats: memcached.Stats) -> int | None:
    """Connections turned away, and how often it stopped to take any, which is what it does by default."""
    told = [
        value for name in ("rejected_connections", "listen_disabled_num") if (value := stats.whole(name)) is not None
    ]
    return sum(told) if told else None


def _grown(one: Watched, now: int | None, before: int | None) -> int | None:
    """What was counted in the window; after a restart that is all that is counted now."""
    if now is None or before is None or was_reset(*map(_counters, (one.looks[0], one.looks[-1]))):
        return now
    return max(0, now - before)


def _refused_items(one: Watched) -> Count:
    ends = [[slab.out_of_memory for slab in look.of("items").slabs] for look in (one.looks[0], one.looks[-1])]
    before, now = (sum(value or 0 for value in values) for values in ends)
    return _grown(one, now, before)


# ── slab classes ─────────────────────────────────────────────────────────────────────────────────


def _slabs(one: Watched) -> list[tuple[Slab, bool]]:
    """Its classes, those that matter first, and whether each does."""
    first, last = one.looks[0], one.looks[-1]
    now = memcached.Stats({**last.of("items").fields, **last.of("slabs").fields}).slabs
    before = {slab.number: slab for slab in first.of("items").slabs}
    now = tuple(sorted(now, key=lambda slab: -(slab.memory or 0)))
    total = sum(slab.memory or 0 for slab in now)
    made = [_slab(one, slab, before.get(slab.number), total) for slab in now]
    pairs = [
        (slab, index == 0 or bool(known(slab.evicted) or known(slab.out_of_memory))) for index, slab in enumerate(made)
    ]
    return sorted(pairs, key=lambda pair: not pair[1])


def _slab(one: Watched, now: memcached.Slab, before: memcached.Slab | None, total: int) -> Slab:
    def grown(name: str) -> int | None:
        return _grown(one, getattr(now, name), getattr(before, name) if before is not None else 0)

    evicted = grown("evicted")
    return Slab(
        subject=f"{one.name} slab {now.number}",
        node=one.name,
        slab=now.number,
        evicted=Unknown("its stats have no evictions by class") if evicted is None else evicted,
        item_size=now.chunk_bytes,
        items=now.items,
        memory=now.memory,
        memory_share=now.memory / total if now.memory is not None and total else None,
        evicted_unread=grown("evicted_unfetched"),
        evicted_age=now.evicted_age,
        out_of_memory=grown("out_of_memory"),
        window_seconds=one.looks[-1].at - one.looks[0].at,
        by_hand=(one.by_hand("items"), one.by_hand("slabs")),
    )
