"""What of a cache is well: nodes, the cluster, the Sentinels, each in one line with what was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsdoc.model import Finding, Severity, known
from opsdoc.signals import cache_zone
from opsdoc.signals.amounts import duration, listed, number, percent
from opsdoc.signals.cache_case import Case
from opsdoc.signals.cache_facts import SLOTS, CacheCluster, CacheNode, KeySample, SentinelView
from opsdoc.signals.cache_items import coverage


def judge_fine(
    well: Sequence[Case],
    clusters: Sequence[CacheCluster],
    sentinels: Sequence[SentinelView],
    samples: Sequence[KeySample],
    found: Sequence[Finding],
) -> Iterator[Finding]:
    """One finding for the nodes that nothing was found about, and one for each cluster and each watched master."""
    nodes = [case.health for case in well if case.health is not None]
    if nodes:
        yield _nodes(nodes, samples, found)
    cited = {one for finding in found for one in finding.evidence}
    for cluster in clusters:
        if cluster.id not in cited and known(cluster.state) == "ok":
            yield _cluster(cluster)
    for view in sentinels:
        if view.id not in cited and known(view.quorum_ok) and known(view.agreed):
            yield _sentinels(view)


def _nodes(nodes: Sequence[CacheNode], samples: Sequence[KeySample], found: Sequence[Finding]) -> Finding:
    shares = [share for node in nodes if (share := node.memory_share) is not None]
    latencies = [latency for node in nodes if (latency := known(node.latency)) is not None]
    clients = [count for node in nodes if (count := known(node.clients)) is not None]
    told = []
    if shares:
        evict = all(node.evicts() for node in nodes if node.memory_share is not None)
        told.append(f"memory {percent(min(1.0, max(shares)))} of its limit{', where it evicts' if evict else ''}")
    told += [number(sum(clients), "client")] if clients else []
    told += [f"PING {_time(max(latencies))}"] if latencies else []
    if samples and not any(finding.rule == "cache.big-key" for finding in found):
        told.append(f"no big key ({coverage(samples)})")
    if nodes[0].product == cache_zone.PRODUCT:
        told = [cache_zone.well(max(nodes, key=lambda node: node.memory_share or 0.0))]
    who = nodes[0].name if len(nodes) == 1 else f"{len(nodes):,} nodes"
    said = f"{who} {'is' if len(nodes) == 1 else 'are'} well"
    return _fine(
        "cache.healthy",
        "nodes",
        listed([node.name for node in nodes]),
        ": ".join(filter(None, (said, ", ".join(told)))),
        tuple(node.id for node in nodes[:5] if node.id),
    )


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.2g} ms" if seconds < 0.01 else duration(seconds)


def _cluster(cluster: CacheCluster) -> Finding:
    served = known(cluster.slots_ok)
    slots = f", {served:,} of {SLOTS:,} slots served" if served is not None else ""
    return _fine(
        "cache.cluster-fine",
        "cluster",
        cluster.subject,
        f"the cluster is ok: {number(cluster.nodes, 'node')} answered{slots}, {number(cluster.masters, 'master')}, "
        "each with a replica",
        (cluster.id,) if cluster.id else (),
    )


def _sentinels(view: SentinelView) -> Finding:
    usable, total = known(view.usable), known(view.sentinels)
    count = f"{usable:,} of {number(total, 'Sentinel')}" if usable is not None and total else "the Sentinels"
    return _fine(
        "cache.sentinel-fine",
        f"sentinel/{view.name}",
        view.name,
        f"{count} of {view.name} can do a failover, and name the same master"
        f"{f', {view.addresses[0]}' if view.addresses else ''}",
        (view.id,) if view.id else (),
    )


def _fine(rule: str, which: str, subject: str, summary: str, evidence: tuple[str, ...]) -> Finding:
    return Finding(
        rule=rule, key=f"{rule}:{which}", severity=Severity.OK, subject=subject, summary=summary, evidence=evidence
    )
