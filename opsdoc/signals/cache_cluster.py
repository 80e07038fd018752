"""A cluster of cache nodes: who does not answer whatever the others say, slots, redundancy, failover, spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, Threshold, known
from opsdoc.signals.amounts import duration, listed, number
from opsdoc.signals.cache_facts import SLOTS, CacheCluster, Member
from opsdoc.signals.cache_words import share_of

if TYPE_CHECKING:
    from opsdoc.signals.cache_health import Limits


def judge_clusters(clusters: Sequence[CacheCluster], limits: Limits) -> Iterator[Finding]:
    """All that is wrong with each cluster."""
    for cluster in clusters:
        yield from _dead(cluster)
        found = [
            _failed(cluster),
            _slots(cluster),
            _no_replica(cluster),
            _failover(cluster),
            _disagree(cluster),
            _unevenly(cluster, limits),
            _unknown(cluster),
        ]
        yield from (finding for finding in found if finding is not None)


def refuses_all(cluster: CacheCluster) -> bool:
    """Whether the whole cluster stops when a single slot is not covered."""
    return known(cluster.full_coverage) is not False


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────


def _dead(cluster: CacheCluster) -> Iterator[Finding]:
    for name in cluster.unreachable:
        yield _dead_node(cluster, cluster.member(name))


def _dead_node(cluster: CacheCluster, member: Member) -> Finding:
    """A node that did not answer. What has no slots, a replica or a master that was replaced, takes no key with it."""
    slots = 0 if member.role == "replica" else member.slots
    why = f" ({member.why})" if member.why else ""
    if slots == 0:
        what = "it holds no slots, so no key is lost with it, but a copy of them is"
    else:
        part = f"{share_of(slots, SLOTS)} slots" if slots else "the slots that it holds"
        what = f"keys of {part} are waited for in vain{_until(cluster, member)}"
    return _finding(
        "cache.node-dead",
        cluster,
        Severity.WARNING if slots == 0 else Severity.CRITICAL,
        f"{_role(member)}{member.name} does not answer{why}{_says(cluster, member)}: {what}",
        "see whether its process lives or stands still (state T or D), and whether its port is open from here",
        member.name,
    )._replace(confidence=_seen_by(cluster, member))


def _role(member: Member) -> str:
    if member.role == "replica":
        return "the replica "
    return "" if member.slots == 0 or member.role is None else f"the {member.role} "


def _says(cluster: CacheCluster, member: Member) -> str:
    """That the cluster does not know it yet, which is why its own answer is not to be trusted."""
    if known(cluster.state) != "ok" or member.name in cluster.failed or member.slots == 0:
        return ""
    return ", though the cluster says that its state is ok"


def _until(cluster: CacheCluster, member: Member) -> str:
    timeout = known(cluster.node_timeout)
    if member.name in cluster.failed or timeout is None:
        return ""
    return f"; the others take it for failed after {duration(timeout)}"


def _seen_by(cluster: CacheCluster, member: Member) -> str:
    if member.name in cluster.failed:
        return "one attempt, and the cluster has it as failed"
    if member.name in cluster.suspected:
        return "one attempt, and others suspect it"
    return "one attempt, with a deadline; no other node suspects it yet"


# ── slots ────────────────────────────────────────────────────────────────────────────────────────


def _failed(cluster: CacheCluster) -> Finding | None:
    state = known(cluster.state)
    if state is None or state == "ok":
        return None
    views = f", in the view of {sum(n for said, n in cluster.states.items() if said != 'ok')} of " + number(
        sum(cluster.states.values()), "node"
    )
    setting = "" if known(cluster.full_coverage) is None else " (cluster-require-full-coverage)"
    effect = (
        f"it refuses every command{setting}"
        if refuses_all(cluster)
        else "it refuses commands for the slots that are not covered"
    )
    return _finding(
        "cache.cluster-failed",
        cluster,
        Severity.CRITICAL,
        f"the cluster has failed (state {state}{views if cluster.states else ''}): {effect}; {_covered(cluster)}",
        "bring back a node of the shard that is not covered, or make its replica take over (CLUSTER FAILOVER TAKEOVER) "
        "if the master is lost for good",
    )


def _covered(cluster: CacheCluster) -> str:
    ok, fail, pfail = known(cluster.slots_ok), known(cluster.slots_fail), known(cluster.slots_pfail)
    told = [f"{share_of(ok, SLOTS)} slots are served"] if ok is not None else []
    told += [f"{fail:,} failed"] if fail else []
    told += [f"{pfail:,} suspected"] if pfail else []
    return listed(told, 4) or "slots are not known"


def _slots(cluster: CacheCluster) -> Finding | None:
    """Slots without a node that serves them while the cluster as a whole goes on."""
    if known(cluster.state) != "ok":
        return None
    assigned, fail, pfail = known(cluster.slots_assigned), known(cluster.slots_fail), known(cluster.slots_pfail)
    uncovered = (SLOTS - assigned if assigned is not None else 0) + (fail or 0)
    if uncovered > 0:
        return _finding(
            "cache.cluster-slots",
            cluster,
            Severity.CRITICAL,
            f"{share_of(uncovered, SLOTS)} slots are not covered: commands for their keys fail"
            f"{'' if refuses_all(cluster) else ' (the rest is served: cluster-require-full-coverage is no)'}",
            "bring back a node that holds them, or assign them to another master",
        )
    if not pfail:
        return None
    return _finding(
        "cache.cluster-slots",
        cluster,
        Severity.WARNING,
        f"{share_of(pfail, SLOTS)} slots belong to a node that others suspect"
        f"{f': {listed(cluster.suspected)}' if cluster.suspected else ''}",
        "see whether that node answers; when most masters suspect it, its replica takes over",
    )


# ── redundancy ───────────────────────────────────────────────────────────────────────────────────


def _no_replica(cluster: CacheCluster) -> Finding | None:
    without = cluster.shards_without_replica
    if not without:
        return None
    many = len(without) == cluster.masters and cluster.masters > 1
    who = (
        f"none of {number(cluster.masters, 'shard')} has a replica"
        if many
        else (f"{number(len(without), 'shard has', 'shards have')} no replica: {listed(without)}")
    )
    return _finding(
        "cache.no-replica",
        cluster,
        Severity.WARNING,
        f"{who}; if such a master is lost, its keys are"
        f"{', and the whole cluster stops' if refuses_all(cluster) else ''}",
        "start a replica there, or bring back the node that was one; after a failover the old master comes back as one",
    )


def _failover(cluster: CacheCluster) -> Finding | None:
    if not cluster.failover:
        return None
    return _finding(
        "cache.failover",
        cluster,
        Severity.WARNING,
        f"a failover is in progress: {cluster.failover}",
        "wait some seconds and look again; what is written to the old master meanwhile may be lost",
    )


def _disagree(cluster: CacheCluster) -> Finding | None:
    if not cluster.disagree:
        return None
    return _finding(
        "cache.views-differ",
        cluster,
        Severity.WARNING,
        f"the nodes do not see the same cluster: {listed(cluster.disagree)}",
        "look again in a few seconds; if it stays, see whether all nodes reach each other's bus port",
    )


def _unevenly(cluster: CacheCluster, limits: Limits) -> Finding | None:
    times, limit = known(cluster.slot_imbalance), limits.uneven_slots
    if times is None or cluster.masters < 2 or limit.grade(times) is Severity.OK:
        return None
    owners = [member for member in cluster.members if member.slots]
    most = max(owners, key=lambda member: member.slots or 0, default=None)
    who = f"{most.name} has {share_of(most.slots or 0, SLOTS)} slots" if most else "one master has far more slots"
    load = known(cluster.load_imbalance)
    felt = "" if load is None else f", and {load:.1f} times of the load"
    return _finding(
        "cache.uneven",
        cluster,
        limit.grade(times),
        f"slots are not spread evenly: {who}, {times:.1f} times an even part{felt}",
        "move slots to the other masters (redis-cli --cluster rebalance) when there is time for it",
        "slots",
        limit.crossed("cache_health.uneven_slots", times),
    )


def _unknown(cluster: CacheCluster) -> Finding | None:
    if known(cluster.state) is not None:
        return None
    return _finding(
        "cache.unknown",
        cluster,
        Severity.UNKNOWN,
        f"the state of the cluster is unknown: {getattr(cluster.state, 'reason', 'no node told it')}",
        "let CLUSTER INFO be read; until then it is not known to be well",
        "cluster",
    )


def _finding(
    rule: str,
    cluster: CacheCluster,
    severity: Severity,
    summary: str,
    next_step: str,
    which: str = "",
    threshold: Threshold | None = None,
) -> Finding:
    """A finding about the cluster, or one node of it; its key has no seed node, which differs from run to run."""
    return Finding(
        rule=rule,
        key=f"{rule}:{which or 'cluster'}",
        severity=severity,
        subject=which if which in cluster.unreachable else cluster.subject,
        summary=summary,
        evidence=(cluster.id,) if cluster.id else (),
        threshold=threshold,
        confidence=f"told by {number(sum(cluster.states.values()), 'node')}" if cluster.states else None,
        next_step=next_step,
        by_hand=cluster.by_hand,
    )
