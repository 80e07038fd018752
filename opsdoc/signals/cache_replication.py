"""Replicas of a cache node: a lost link, how far one is behind, and clients that write to one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, known
from opsdoc.signals.amounts import duration, number
from opsdoc.signals.cache_case import Case
from opsdoc.signals.cache_facts import CacheNode
from opsdoc.signals.cache_findings import finding, graded, in_window
from opsdoc.signals.cache_words import size

if TYPE_CHECKING:
    from opsdoc.signals.cache_health import Limits


def judge_replication(case: Case, node: CacheNode, limits: Limits) -> Iterator[Finding]:
    """What is wrong between a node and its master, by the word of the node."""
    found = (_link(case, node, limits), _lag(case, node, limits), _readonly(case, node, limits))
    yield from (one for one in found if one is not None)


def _link(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    if node.link != "down":
        return None
    down = known(node.link_down_seconds)
    grade = limits.link_down.grade(down) if down is not None else Severity.WARNING
    found = finding(
        "cache.replica-link",
        case,
        max(Severity.WARNING, grade),
        f"the replica {node.name} has lost its master{f' {node.master}' if node.master else ''}"
        f"{f', {duration(down)} ago' if down else ''}: what is read there grows old, and it may not take over",
        "see whether the master lives and reaches it, and what the replica's log says of the last attempt",
    )
    crossed = down is not None and grade is not Severity.OK
    return found._replace(
        threshold=limits.link_down.crossed("cache_health.link_down", down or 0.0) if crossed else None
    )


def _lag(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    behind = known(node.lag_bytes)
    if behind is None or node.link == "down":
        return None
    return graded(
        "cache.replica-lag",
        case,
        limits.lag_bytes,
        "lag_bytes",
        behind,
        f"the replica {node.name} is {size(behind)} behind its master{f' {node.master}' if node.master else ''}",
        "see whether the network between the two or the replica's one thread is busy",
    )


def _readonly(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    refused = known(node.readonly_errors)
    if refused is None:
        return None
    master = f" {node.master}" if node.master else ""
    return graded(
        "cache.read-only",
        case,
        limits.readonly,
        "readonly",
        refused,
        f"clients write to {node.name}, which is a replica{f' of{master}' if master else ''}: "
        f"{number(refused, 'write')} refused (READONLY){in_window(node)}",
        f"let them ask for the master (Sentinel, the cluster) or point them to{master or ' it'}: after a failover an "
        "address written down stays the old one",
    )
