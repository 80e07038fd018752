"""Whether a cache itself is well: memory, clients, latency, replication, cluster, Sentinels, slabs and big keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unseen
from opsdoc.signals.alike import is_bad, summed_up
from opsdoc.signals.cache_case import Case, cases_of
from opsdoc.signals.cache_cluster import judge_clusters
from opsdoc.signals.cache_facts import (
    BigKey,
    CacheCluster,
    CacheNode,
    KeySample,
    Member,
    SentinelView,
    Slab,
    SlowCommand,
)
from opsdoc.signals.cache_fine import judge_fine
from opsdoc.signals.cache_items import judge_big_keys, judge_slabs, judge_unread
from opsdoc.signals.cache_node import judge_node
from opsdoc.signals.cache_sentinel import judge_sentinels
from opsdoc.signals.cache_words import MIB, all_of

__all__ = [
    "BigKey", "CacheCluster", "CacheNode", "KeySample", "Limits", "Member", "SentinelView", "Slab", "SlowCommand",
    "judge",
]  # fmt: skip


class Limits(NamedTuple):
    """From which share, number, time or size on it matters."""

    memory: Limit = Limit(
        0.9,
        0.99,
        "ratio",
        "of its own limit, where it makes no room: public alert rules fire at 90 %, at the limit the next write fails; "
        "a cache that evicts is always at its limit and may be",
    )
    system_memory: Limit = Limit(
        0.7,
        0.9,
        "ratio",
        "of the machine's: GitLab's runbooks stop at 70 %, for saving to disk copies what is written meanwhile; public "
        "alert rules fire at 90 %",
    )
    fragmentation_ratio: Limit = Limit(
        1.4, None, "", "the gate of MEMORY DOCTOR, together with 10 MiB: on a small instance any ratio is noise"
    )
    fragmentation_bytes: Limit = Limit(
        10 * MIB,
        None,
        "bytes",
        "the gate of MEMORY DOCTOR, together with the ratio of 1.4; beyond the 12 MiB that a bare server "
        "holds for itself",
    )
    clients: Limit = Limit(
        0.9, 0.95, "ratio", "of the clients it may have: public rule sets fire at 90 % for Redis, 95 % for memcached"
    )
    rejected: Limit = Limit(1, 1, "count", "each is a client that was turned away; public rule sets fire at any")
    blocked: Limit = Limit(
        0.5,
        None,
        "ratio",
        "of its clients: public rule sets fire at any that last, but consumers of a queue wait on purpose",
    )
    slowest: Limit = Limit(
        0.1,
        1.0,
        "seconds",
        "all other clients wait as long, for one command runs at a time; the slow log begins at 10 ms",
    )
    latency: Limit = Limit(
        0.05, 0.5, "seconds", "a PING does no work, so it tells the network and the queue: within one site below 1 ms"
    )
    link_down: Limit = Limit(
        1.0, 60.0, "seconds", "a replica connects again at once; after repl-timeout (60 s) both sides have given up"
    )
    lag_bytes: Limit = Limit(
        MIB, None, "bytes", "beyond the replication backlog (1 MiB by default) a broken link means a full copy"
    )
    readonly: Limit = Limit(
        1, 10, "count", "each is a write that a client saw fail; one may be a person, ten in a window are a program"
    )
    slab_out_of_memory: Limit = Limit(0.05, None, "per_second", "the alert of awesome-prometheus-alerts for memcached")
    unread: Limit = Limit(
        10.0,
        None,
        "per_second",
        "evicted before they were read once, and half of all that is evicted; awesome-prometheus-alerts fires at 10/s",
    )
    slab_evictions: Limit = Limit(
        0.5, None, "ratio", "of all evictions of a node, in a class that has less than half of its memory"
    )
    big_key: Limit = Limit(MIB, None, "bytes", "ten times the 100 kB that Azure's best practices recommend for a value")
    over_size: Limit = Limit(
        1.5,
        None,
        "ratio",
        "of max_size: the cache manager looks every ten seconds at the latest, so that a burst is beyond it until then",
    )
    disk: Limit = Limit(0.95, 0.99, "ratio", "used of the disk of a cache's folder, by whoever: 5 % are kept for root")
    uneven_slots: Limit = Limit(1.5, None, "", "times an even part: such a master also has half as much more load")


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Cluster and Sentinels, then each node, then what it holds; and one finding for all that is well."""
    clusters = [one for one in observations if isinstance(one, CacheCluster)]
    sentinels = [one for one in observations if isinstance(one, SentinelView)]
    cases = cases_of(observations)
    gone = {name for cluster in clusters for name in cluster.unreachable}
    judged = [(case, list(judge_node(case, limits, told_elsewhere=case.name in gone))) for case in cases if case.health]
    found = [
        *judge_clusters(clusters, limits),
        *judge_sentinels(sentinels),
        *_gathered(judged),
        *judge_unread(cases, limits),
        *judge_slabs([one for one in observations if isinstance(one, Slab)], limits),
        *judge_big_keys([one for one in observations if isinstance(one, BigKey)], _samples(observations), limits),
    ]
    yield from summed_up(sorted(found, key=lambda finding: -finding.severity))
    well = [
        case
        for case, findings in judged
        if case.name not in gone and not case.refused and not any(map(is_bad, findings))
    ]
    yield from judge_fine(well, clusters, sentinels, _samples(observations), found)


def _samples(observations: Sequence[Observation]) -> list[KeySample]:
    return [one for one in observations if isinstance(one, KeySample)]


def _gathered(judged: Sequence[tuple[Case, Sequence[Finding]]]) -> Iterator[Finding]:
    """The findings of all nodes; what is true of each of them is told once, of the worst."""
    rules: dict[str, list[Finding]] = {}
    for _, findings in judged:
        for finding in findings:
            rules.setdefault(finding.rule, []).append(finding)
    for rule, findings in rules.items():
        if len(findings) < 2 or len(findings) < len(judged):
            yield from findings
            continue
        worst = max(findings, key=_how_bad)
        yield worst._replace(
            key=f"{rule}:all",
            subject=all_of(len(findings)),
            summary=f"{worst.summary}; {all_of(len(findings))} alike",
            evidence=tuple(dict.fromkeys(cited for finding in findings[:10] for cited in finding.evidence)),
        )


def _how_bad(finding: Finding) -> tuple[Severity, float]:
    return finding.severity, finding.threshold.value if finding.threshold else 0.0
