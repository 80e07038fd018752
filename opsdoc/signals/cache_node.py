"""One node of a cache: memory, clients, slow commands, latency, saving to disk, and what it does not tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, Unknown, known
from opsdoc.signals.amounts import duration, listed, number, percent
from opsdoc.signals.cache_case import Case
from opsdoc.signals.cache_facts import CacheNode
from opsdoc.signals.cache_findings import finding, graded, in_window
from opsdoc.signals.cache_replication import judge_replication
from opsdoc.signals.cache_words import MIB, of_limit, size, window
from opsdoc.signals.cache_zone import judge_zone

if TYPE_CHECKING:
    from opsdoc.signals.cache_health import Limits

EMPTY = 5 * MIB  # MEMORY DOCTOR calls what uses less an empty instance, and says nothing of it
BARE = 12 * MIB  # a server without any data holds that for itself (11 MiB were measured), which is no fragmentation


def judge_node(case: Case, limits: Limits, *, told_elsewhere: bool = False) -> Iterator[Finding]:
    """What is wrong with a node. One that does not answer has one finding, which may be `told_elsewhere`."""
    node = case.health
    if node is None:
        return
    if not node.reachable:
        if not told_elsewhere:
            yield _dead(case, node)
        return
    if node.loading:
        yield _loading(case, node)
    found = [
        _memory(case, node, limits),
        _system_memory(case, node, limits),
        _fragmentation(case, node, limits),
        _rejected(case, node, limits),
        _clients(case, node, limits),
        _blocked(case, node, limits),
        _slow(case, node, limits),
        _latency(case, node, limits),
        _persistence(case, node),
        _unknown(case, node),
    ]
    yield from (one for one in found if one is not None)
    yield from judge_replication(case, node, limits)
    yield from judge_zone(case, node, limits)


def _dead(case: Case, node: CacheNode) -> Finding:
    role = "the replica " if node.role == "replica" else ""
    return finding(
        "cache.node-dead",
        case,
        Severity.WARNING if role else Severity.CRITICAL,
        f"{role}{node.name} does not answer{f' ({node.why})' if node.why else ''}: "
        + ("its master has one copy less" if role else "what it holds is missed, or waited for"),
        "see whether its process lives or stands still (state T or D), and whether its port is open from here",
    )._replace(confidence="one attempt, with a deadline")


def _loading(case: Case, node: CacheNode) -> Finding:
    return finding(
        "cache.loading",
        case,
        Severity.CRITICAL,
        f"{node.name} loads its data and refuses every command until it has",
        "wait until it is loaded, and see why it was started",
    )


# ── memory ───────────────────────────────────────────────────────────────────────────────────────


def _memory(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    """Full where nothing is evicted; that a cache that evicts is full is no finding."""
    share, used, limit = node.memory_share, known(node.memory_used), known(node.memory_limit)
    if share is None or used is None or limit is None or case.evicts or isinstance(node.policy, Unknown):
        return None
    if case.refused:  # the hit rate tells
        return None
    policy = known(node.policy)
    refuses = f" and nothing can be evicted ({policy})" if policy and case.evicts is False else ""
    total = known(node.oom_total)
    before = (
        f"; {number(total, 'write was', 'writes were')} refused since it started, none in the window" if total else ""
    )
    return graded(
        "cache.memory",
        case,
        limits.memory,
        "memory",
        share,
        f"{node.name} is {percent(min(share, 1.0))} full, {of_limit(used, limit)} used{refuses}{before}",
        "raise the limit or keep less in it before it is full; if it is a cache and no store, let it evict",
    )


def _system_memory(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    held = max((value for value in (known(node.rss), known(node.memory_used)) if value is not None), default=None)
    whole = known(node.system_memory)
    if held is None or not whole:
        return None
    limit = known(node.memory_limit)
    unlimited = ", and it has no limit of its own" if node.memory_limit is None else ""
    return graded(
        "cache.system-memory",
        case,
        limits.system_memory,
        "system_memory",
        held / whole,
        f"{node.name} has {of_limit(held, whole)} of the machine's memory{unlimited}: when it saves to disk or grows, "
        "the kernel may kill it",
        "give it a limit that leaves room for saving and for the rest of the machine"
        if limit is None
        else "lower its limit, or move it to a machine with more memory",
    )


def _fragmentation(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    ratio, beside, used = known(node.fragmentation_ratio), known(node.fragmentation_bytes), known(node.memory_used)
    if ratio is None or beside is None or used is None or used < EMPTY:
        return None
    lost = beside - BARE
    if limits.fragmentation_bytes.grade(lost) is Severity.OK:
        return None
    return graded(
        "cache.fragmentation",
        case,
        limits.fragmentation_ratio,
        "fragmentation_ratio",
        ratio,
        f"{node.name} holds {ratio:.2f} times the memory that it uses: about {size(lost)} are lost to fragmentation",
        "turn active defragmentation on, or restart a replica and fail over to it, when there is time for it",
    )


# ── clients ──────────────────────────────────────────────────────────────────────────────────────


def _rejected(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    rejected = known(node.rejected)
    if rejected is None:
        return None
    return graded(
        "cache.rejected",
        case,
        limits.rejected,
        "rejected",
        rejected,
        f"{node.name} turned {number(rejected, 'connection')} away{in_window(node)}: it has as many clients as it "
        f"may{_clients_of(node)}",
        "see which application opens so many connections (a pool without a limit, a leak); then raise the limit",
    )


def _clients(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    clients, most = known(node.clients), known(node.max_clients)
    rejected = known(node.rejected) or 0
    if clients is None or not most or rejected:
        return None
    total = known(node.rejected_total)
    before = f"; {total:,} were turned away since it started" if total else ""
    return graded(
        "cache.clients",
        case,
        limits.clients,
        "clients",
        clients / most,
        f"{node.name} has {clients:,} of {number(most, 'client')} that it may have{before}",
        "see which application opens so many connections before the next ones are turned away",
    )


def _blocked(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    blocked, clients = known(node.blocked), known(node.clients)
    if not blocked or not clients:
        return None
    return graded(
        "cache.blocked",
        case,
        limits.blocked,
        "blocked",
        blocked / max(clients, blocked),
        f"{blocked:,} of {number(max(clients, blocked), 'client')} of {node.name} wait in a blocking command",
        "if they are consumers of a queue that is empty, it is as it should be; else see what they wait for",
    )


def _clients_of(node: CacheNode) -> str:
    clients, most = known(node.clients), known(node.max_clients)
    return f", {clients:,} of {most:,}" if clients is not None and most else ""


# ── time ─────────────────────────────────────────────────────────────────────────────────────────


def _slow(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    slowest, count = known(node.slowest), known(node.slow)
    if slowest is None:
        return None
    period = f" in the last {window(node.slow_seconds)}" if node.slow_seconds else ""
    many = f", the slowest of {count:,} slow commands{period}" if count and count > 1 else period
    return graded(
        "cache.slow",
        case,
        limits.slowest,
        "slowest",
        slowest.seconds,
        f"{slowest.command} took {duration(slowest.seconds)} on {node.name}{many}: all other clients waited for it",
        "find who sends it, and ask for less at a time: SCAN in place of KEYS, ranges in place of whole collections",
    )


def _latency(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    latency = known(node.latency)
    if latency is None:
        return None
    return graded(
        "cache.latency",
        case,
        limits.latency,
        "latency",
        latency,
        f"{node.name} takes {duration(latency)} for a PING, the median of a few",
        "see whether a slow command holds it up, whether its machine has CPU and memory left, and how far away it is",
    )


def _persistence(case: Case, node: CacheNode) -> Finding | None:
    trouble = known(node.persistence)
    if not trouble:
        return None
    return finding(
        "cache.persistence",
        case,
        Severity.WARNING,
        f"{node.name} cannot save to disk: {trouble}; it may refuse writes until it can",
        "see whether its disk is full, whether it may write there, and whether there is memory for a copy",
    )


# ── what is not known ────────────────────────────────────────────────────────────────────────────

_TITLES: Mapping[str, str] = {
    "memory_used": "what it holds",
    "memory_limit": "its limit",
    "policy": "what it does when full",
    "oom_errors": "refused writes",
    "clients": "clients",
    "rejected": "refused connections",
    "slowest": "slow commands",
    "latency": "latency",
    "persistence": "saving to disk",
    "role": "role",
    "link": "replication",
    "readonly_errors": "writes to a replica",
}


def _unknown(case: Case, node: CacheNode) -> Finding | None:
    """What it was asked and did not tell."""
    unknown = {name: value for name in _TITLES if isinstance(value := getattr(node, name), Unknown)}
    if not unknown:
        return None
    reasons = listed(list(dict.fromkeys(value.reason for value in unknown.values())), 2)
    return finding(
        "cache.unknown",
        case,
        Severity.UNKNOWN,
        f"{listed([_TITLES[name] for name in unknown], 4)} of {node.name} unknown: {reasons}",
        "let it be read; until then it is not known to be well",
    )
