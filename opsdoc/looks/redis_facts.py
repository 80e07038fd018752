"""What a Redis node counted over the window, and how it is: from its looks to the facts that are judged."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from opsdoc.host import Answer
from opsdoc.looks.redis_node import ALL, Look, Node
from opsdoc.looks.redis_nodes import Found, master_of
from opsdoc.looks.redis_watch import SLOW_LOG
from opsdoc.model import ProbeError, TimedOut, Unknown, Unreachable
from opsdoc.parsers.redis_info import Info
from opsdoc.signals.cache_facts import CacheNode, SlowCommand
from opsdoc.signals.hit_rate_facts import HitRate, Role
from opsdoc.signals.hit_rate_samples import Count, Counters, hit_rate, was_reset, without_window

LATELY = 300.0  # seconds: what of the slow log may have to do with now
ELSEWHERE = "the address that others tell of it is not reachable from here"
ONLY_TOTALS = "without a window (--window 0) only totals are seen"

_FILLS = frozenset("set setex psetex getset mset hset hmset restore json.set".split())  # write whole values
_CHECKS = frozenset({"exists"})
_OLD = Unknown("versions before 6.2 do not count it")
_ROLES: Mapping[str | None, Role] = {"master": "master", "slave": "replica"}
_TOLD_BY_INFO = (
    "memory_used memory_limit policy oom_errors evicted_total clients max_clients rejected blocked persistence "
    "readonly_errors"
).split()


# ── the hit rate ─────────────────────────────────────────────────────────────────────────────────


def rate_of(node: Node, no_window: str = "") -> HitRate:
    """The hit rate of a node that answered at least once; Unknown with the reason where it did not tell.

    With `no_window`, which says why there was none, only that over its lifetime is known.
    """
    first, last = node.looks[0], node.looks[-1]
    by_hand = (node.by_hand("INFO", "stats"), node.by_hand("INFO", "commandstats"))
    if first.info is None or last.info is None:
        return unknown_rate(node, node.why(ALL))
    before, after = _counters(first, last.info), _counters(last, last.info)
    rate = hit_rate(
        node.name,
        before,
        after,
        [_glance(look) for look in node.between],
        seconds=_seconds(first, last),
        product=_product(last.info),
        role=_role(node),
        asked=node.named,
        keys=sum(one.keys for one in last.info.databases),
        keys_before=sum(one.keys for one in first.info.databases),
        expires=sum(one.expires for one in last.info.databases),
        avg_ttl=_average_ttl(last.info),
        avg_ttl_before=_average_ttl(first.info),
        expired_stale=_share(last.info.number("expired_stale_perc")),
        by_hand=by_hand,
    )
    return without_window(rate, no_window) if no_window else rate


def unknown_rate(node: Node, why: str) -> HitRate:
    """The hit rate of a node that does not tell it."""
    untold = Unknown(why)
    return HitRate(
        subject=node.name,
        node=node.name,
        product="redis",
        role=_role(node),
        asked=node.named,
        ratio=untold,
        hits=untold,
        misses=untold,
        by_hand=(node.by_hand("INFO", "stats"),),
    )


def _counters(look: Look, latest: Info) -> Counters:
    info = look.info or latest
    has_calls = bool(info.commands or latest.commands)  # a server that was never asked anything has none yet
    cpu = [info.number("used_cpu_sys_main_thread"), info.number("used_cpu_user_main_thread")]
    return Counters(
        at=look.at,
        hits=_counted(info, "keyspace_hits"),
        misses=_counted(info, "keyspace_misses"),
        sets=_calls(info, _FILLS) if has_calls else Unknown("its INFO has no statistics of commands"),
        evicted=_counted(info, "evicted_keys"),
        expired=_counted(info, "expired_keys"),
        ops=_counted(info, "total_commands_processed"),
        checks=_calls(info, _CHECKS) if has_calls else None,
        expire_capped=info.whole("expired_time_cap_reached_count"),
        cpu=sum(part for part in cpu if part is not None) if None not in cpu else None,
        uptime=info.whole("uptime_in_seconds"),
        run=info.text("run_id") or "",
    )


def _glance(look: Look) -> Counters:
    """What is seen of the course between the two."""
    hits, misses = (look.info.whole(name) if look.info else None for name in ("keyspace_hits", "keyspace_misses"))
    return Counters(at=look.at, hits=hits, misses=misses)


def _counted(info: Info, field: str) -> int | Unknown:
    value = info.whole(field)
    return Unknown(f"its INFO has no {field}") if value is None else value


def _calls(info: Info, names: frozenset[str]) -> int:
    """Calls that did what they say: those that failed are counted by the server, too."""
    return sum(max(0, one.calls - (one.failed or 0)) for one in info.commands if one.name in names)


def _seconds(first: Look, last: Look) -> float:
    """The time between two looks, by the server's clock where it did not jump meanwhile."""
    here = max(0.0, last.at - first.at)
    ends = [look.info.whole("server_time_usec") if look.info else None for look in (first, last)]
    if ends[0] is None or ends[1] is None:
        return here
    there = (ends[1] - ends[0]) / 1e6
    return there if abs(there - here) <= 0.5 + here / 2 and there > 0 else here


def _average_ttl(info: Info) -> float | None:
    """Over all keys that have a time to live, in seconds."""
    weighed = [(one.average_ttl, one.expires) for one in info.databases if one.average_ttl is not None and one.expires]
    total = sum(count for _, count in weighed)
    return sum(ttl * count for ttl, count in weighed) / total if total else None


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


# ── the node itself ──────────────────────────────────────────────────────────────────────────────


def health_of(found: Found, node: Node) -> CacheNode:
    """How a node is, by its own word; why it does not answer, where it is dead."""
    base: dict[str, Any] = {
        "subject": node.name,
        "node": node.name,
        "product": "redis",
        "role": _role(node),
        "master": master_of(found, node),
    }
    if found.is_dead(node) and node.error is not None:
        return CacheNode(**base, reachable=False, why=node.error.detail, by_hand=(node.by_hand("PING"),))
    if node.error is not None or not node.looks:
        return CacheNode(**base, **_untold(node.error.detail if node.error else "it was not asked"))
    first, last = node.looks[0], node.looks[-1]
    base |= {**_latency(node), **_slow(node, last), "window_seconds": _seconds(first, last)}
    if last.info is None:
        by_hand = (node.by_hand("INFO"),)
        return CacheNode(**base, **_untold(node.why(ALL)), by_hand=by_hand)
    base |= {"product": _product(last.info), "version": last.info.text("redis_version")}
    told = {**_memory(last.info), **_counts(first, last, last.info), **_replication(found, node, last.info)}
    return CacheNode(**base, **told, by_hand=(node.by_hand("INFO"), node.by_hand("SLOWLOG", "GET", "16")))


def _untold(why: str) -> dict[str, Any]:
    return dict.fromkeys(_TOLD_BY_INFO, Unknown(why))


def _role(node: Node) -> Role | Unknown:
    return _ROLES.get(node.role_told) or Unknown("it did not tell")


def _product(info: Info) -> str:
    return "valkey" if info.text("server_name") == "valkey" else "redis"


def _memory(info: Info) -> dict[str, Any]:
    return {
        "memory_used": _counted(info, "used_memory"),
        "memory_limit": _counted(info, "maxmemory") or None,
        "policy": info.text("maxmemory_policy") or Unknown("its INFO has no maxmemory_policy"),
        "evicted_total": _counted(info, "evicted_keys"),
        "fragmentation_ratio": info.number("mem_fragmentation_ratio"),
        "fragmentation_bytes": info.whole("mem_fragmentation_bytes"),
        "rss": info.whole("used_memory_rss"),
        "system_memory": info.whole("total_system_memory"),
        "loading": bool(info.flag("loading")),
        "persistence": _persistence(info),
    }


def _persistence(info: Info) -> str | None:
    """What is wrong with saving to disk."""
    wrong = []
    if info.text("rdb_last_bgsave_status") not in (None, "ok"):
        wrong.append("the last snapshot failed (rdb_last_bgsave_status)")
    if info.flag("aof_enabled"):
        for field, what in (("aof_last_write_status", "write"), ("aof_last_bgrewrite_status", "rewrite")):
            if info.text(field) not in (None, "ok"):
                wrong.append(f"the last {what} of the append-only file failed ({field})")
    return "; ".join(wrong) or None


def _counts(first: Look, last: Look, info: Info) -> dict[str, Any]:
    """Clients and errors. After a reset what is counted now was counted in the window."""
    begun = first.info
    reset = begun is None or was_reset(_counters(first, info), _counters(last, info))

    def grown(now: Count, before: Count) -> Count:
        if not isinstance(now, int):
            return now
        return now if reset or not isinstance(before, int) else max(0, now - before)

    def errors(of: Info | None, name: str) -> Count:
        counts_errors = of is not None and of.whole("total_error_replies") is not None
        return of.errors.get(name, 0) if of is not None and counts_errors else _OLD

    rejected = _counted(info, "rejected_connections")
    oom, readonly = errors(info, "OOM"), errors(info, "READONLY")
    return {
        "clients": _counted(info, "connected_clients"),
        "max_clients": info.whole("maxclients"),
        "blocked": info.whole("blocked_clients"),
        "rejected": grown(rejected, _counted(begun, "rejected_connections") if begun else None),
        "rejected_total": rejected,
        "oom_errors": _applies(grown(oom, errors(begun, "OOM")), may=bool(info.whole("maxmemory"))),
        "oom_total": oom,
        "readonly_errors": _applies(grown(readonly, errors(begun, "READONLY")), may=info.text("role") == "slave"),
        "readonly_total": readonly,
    }


def _applies(count: Count, *, may: bool) -> Count:
    """A count; where it is not known, but cannot be more than 0, it is left out."""
    return None if isinstance(count, Unknown) and not may else count


def _replication(found: Found, node: Node, info: Info) -> dict[str, Any]:
    if info.text("role") != "slave":
        return {"offset": info.whole("master_repl_offset"), "replicas": info.whole("connected_slaves")}
    link = info.text("master_link_status")
    down = info.whole("master_link_down_since_seconds")
    return {
        "offset": info.whole("slave_repl_offset"),
        "replicas": info.whole("connected_slaves"),
        "link": link if link in ("up", "down") else Unknown("its INFO has no master_link_status"),
        "link_down_seconds": float(down) if down is not None and down >= 0 else None,
        "lag_bytes": _lag(found, node, info),
    }


def _lag(found: Found, node: Node, info: Info) -> int | None:
    """How far behind its master it is: the smaller of two estimates, for neither is of one instant.

    One compares what both said of themselves, the other is the master's, of at most a second before.
    """
    master = found.known.get(master_of(found, node) or "")
    ahead = master.info.whole("master_repl_offset") if master and master.info else None
    mine = info.whole("slave_repl_offset")
    if master is None or master.info is None or ahead is None or mine is None:
        return None
    seen = [one.offset for one in master.info.replicas if found.known.get(one.address) is node]
    return max(0, min(ahead - offset for offset in (mine, *seen) if offset is not None))


def _latency(node: Node) -> dict[str, Any]:
    match node.latency:
        case Answer(value=[*times]) if times:
            return {"latency": statistics.median(times)}
        case ProbeError() as error:
            return {"latency": Unknown(error.detail)}
        case _:
            return {"latency": None}


def _slow(node: Node, look: Look) -> dict[str, Any]:
    """The slow log of the last minutes, by the server's clock where it tells the time."""
    if SLOW_LOG not in look.said:
        return {"slowest": Unknown(node.why(SLOW_LOG))}
    entries = look.said[SLOW_LOG]
    clock = look.info.whole("server_time_usec") if look.info else None
    now = clock / 1e6 if clock is not None else max((one["at"] for one in entries), default=0)
    lately = [one for one in entries if one["at"] >= now - LATELY]
    worst = max(lately, key=lambda one: float(one["seconds"]), default=None)
    return {
        "slow": len(lately),
        "slow_seconds": LATELY,
        "slowest": SlowCommand(worst["command"], worst["seconds"]) if worst else None,
    }


def refused(node: Node) -> str:
    """Why a node that is not dead does not tell anything."""
    if isinstance(node.error, Unreachable | TimedOut) and not node.named:
        return ELSEWHERE
    return node.error.detail if node.error is not None else "it was not asked"
