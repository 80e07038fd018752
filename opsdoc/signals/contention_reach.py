"""Servers that could not be asked: down, or only closed to us, which is not known to be down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsdoc.model import Finding, Severity, Unseen, known
from opsdoc.signals.contention_facts import DbNode
from opsdoc.signals.contention_words import by_client, finding
from opsdoc.signals.replica_lag_facts import ReplicaLag

_CLOSED = ("denied", "unsupported", "malformed")  # it answers, and not to us
_UNKNOWN = "what it would tell is not known"


def judge_unreachable(
    nodes: Sequence[DbNode], lags: Sequence[ReplicaLag], unseen: Sequence[Unseen]
) -> Iterator[Finding]:
    """One finding for each server that gave no answer. One that is full has a finding of its own."""
    why = {one.subject: one for one in unseen}
    for node in nodes:
        if not node.reachable and not node.full:
            yield _unreachable(node, lags, why.get(node.name) or why.get(node.subject))


def _unreachable(node: DbNode, lags: Sequence[ReplicaLag], unseen: Unseen | None) -> Finding:
    reason = node.why or (unseen.detail if unseen else "")
    closed = unseen is not None and unseen.reason in _CLOSED
    severity, so = (Severity.UNKNOWN, _UNKNOWN) if closed else _how_bad(node, lags)
    seen = known(node.connections)
    outside = f"; its machine shows {seen:,} connections to it ({by_client(node.clients)})" if seen is not None else ""
    does = "could not be asked" if closed else "gives no answer"
    return finding(
        "db.unreachable",
        node,
        severity,
        f"{node.name} {does}{f' ({reason})' if reason else ''}: {so}{outside}",
        (unseen.hint if unseen else "")
        or "see whether its process lives or stands still (state T or D), whether its disk is full, and whether its "
        "port is open from here",
    )._replace(confidence="one attempt, with a deadline")


def _how_bad(node: DbNode, lags: Sequence[ReplicaLag]) -> tuple[Severity, str]:
    """A server that others need and cannot reach either is down; one that only we cannot reach is not known to be."""
    followers = [lag for lag in lags if lag.primary == node.name]
    own = [lag for lag in lags if lag.replica == node.name]
    if any(lag.link == "streaming" and lag.link_moved for lag in (*followers, *own)):
        return Severity.UNKNOWN, "replication with it goes on, so that only our way to it may be closed"
    if node.role == "primary" or node.claimed == "primary":
        return Severity.CRITICAL, "it takes the writes, and nothing was heard of it elsewhere"
    if any(lag.link == "streaming" and not _is_overdue(lag) for lag in followers):
        return Severity.UNKNOWN, "its replica calls the link up, and could not know yet that it is gone"
    if followers:
        return Severity.CRITICAL, "its replica hears nothing of it either"
    if node.role == "replica" or own:
        return Severity.WARNING, "there is one replica less"
    return Severity.UNKNOWN, _UNKNOWN


def _is_overdue(lag: ReplicaLag) -> bool:
    silence, expected = known(lag.silence), lag.silence_expected
    return silence is not None and expected is not None and silence > expected
