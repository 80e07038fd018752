"""One server of a database: its connections, whether it writes, commits that wait, old versions, what it hides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, Unknown, known
from opsdoc.signals.amounts import duration, listed, number, percent
from opsdoc.signals.contention_facts import DbNode
from opsdoc.signals.contention_words import by_client, by_state, finding
from opsdoc.signals.db_words import crossed, reasons, window
from opsdoc.signals.replica_lag_facts import ReplicaLag

if TYPE_CHECKING:
    from opsdoc.signals.contention import Limits

IDS = 1 << 31  # transactions that PostgreSQL can tell apart


def judge_node(node: DbNode, lags: Sequence[ReplicaLag], limits: Limits) -> Iterator[Finding]:
    """What is wrong with a server that answered, or that is full."""
    full = _connections(node, limits)
    if full is not None:
        yield full
    if not node.reachable or node.full:
        return
    found = (
        _writer(node),
        _commit_waits(node, lags, limits),
        _running(node, limits),
        _deadlocks(node, limits),
        _history(node, limits),
        _wraparound(node, limits),
        _blind(node),
    )
    yield from (one for one in found if one is not None)


# ── connections ──────────────────────────────────────────────────────────────────────────────────


def _connections(node: DbNode, limits: Limits) -> Finding | None:
    used, taken, most = node.used, known(node.connections), known(node.max_connections)
    severity = Severity.OK if used is None or not node.reachable else limits.connections.grade(used)
    if not node.full and severity is Severity.OK:
        return None
    of = (
        f"{taken:,} of {most:,}"
        if taken is not None and most is not None
        else f"{taken:,}"
        if taken is not None
        else ""
    )
    reserved = known(node.reserved)
    kept = f", {reserved:,} of them kept for administrators" if reserved and of else ""
    clients, states = by_client(node.clients), by_state(node.clients)
    told = "".join((f"; by client: {clients}" if clients else "", f"; {states}" if states else ""))
    rejected = known(node.rejected_total)
    before = f"; {rejected:,} were refused since it started" if rejected else ""
    if node.full:
        counted = of or "how many it may have it did not say"
        summary = f"{node.name} refuses connections, for all are used ({counted}{kept}){told}{before}"
    else:
        summary = f"{node.name} has {of} connections used ({percent(used or 0.0)}{kept}){told}{before}"
    return finding(
        "db.connections",
        node,
        Severity.CRITICAL if node.full else severity,
        summary + (f" ({node.why})" if node.full and node.why else ""),
        _free_some(node),
        crossed(limits.connections, "contention.connections", used) if used is not None else None,
    )


def _free_some(node: DbNode) -> str:
    way_in = (
        "an administrator still gets in (superuser_reserved_connections)"
        if node.product == "postgresql"
        else "an administrator still gets in (one connection, or extra_port)"
    )
    return (
        f"see which application holds most of them, and whether its sessions are idle in a transaction or leaked; "
        f"{way_in}; then bound its pool, or put a pooler before the server, rather than raise the limit"
    )


def _running(node: DbNode, limits: Limits) -> Finding | None:
    running = known(node.running)
    running = known(node.active) if running is None else running
    most = known(node.max_connections)
    if running is None or not most or (limit := crossed(limits.running, "contention.running", running / most)) is None:
        return None
    return finding(
        "db.running",
        node,
        limits.running.grade(running / most),
        f"{running:,} sessions of {node.name} are at work at once, of {most:,} connections that it may have "
        f"({percent(running / most)})",
        "see what they run or wait for: one slow statement that many run, locks, or the disk",
        limit,
    )


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def _writer(node: DbNode) -> Finding | None:
    if node.claimed != "primary" or (node.role != "replica" and node.read_only is not True):
        return None
    what = "is a replica" if node.role == "replica" else "refuses writes (read only)"
    return finding(
        "db.read-only-writer",
        node,
        Severity.CRITICAL,
        f"the application writes to {node.name}, which {what}: its writes fail",
        "find the server that is the primary now and point the application there (after a failover an address that is "
        "written down stays the old one); only where this one should be it, promote it or let it write",
    )


def _commit_waits(node: DbNode, lags: Sequence[ReplicaLag], limits: Limits) -> Finding | None:
    waits, longest = known(node.commit_waits), known(node.commit_wait_seconds)
    if not waits:
        return None
    answers = [lag for lag in lags if lag.primary == node.name and (lag.sync or "async") not in ("async", "potential")]
    missing = node.replicas == 0 or (lags_of(node, lags) and not answers)
    severity = limits.commit_wait.grade(longest) if longest is not None else Severity.WARNING
    if missing:
        severity = Severity.CRITICAL
    if severity is Severity.OK:
        return None
    who = f" ({node.commit_waits_for})" if node.commit_waits_for else ""
    gone = ", and no such replica is connected, so that they never end" if missing else ""
    since = f", the longest for {duration(longest)}" if longest is not None else ""
    return finding(
        "db.commit-waits",
        node,
        severity,
        f"{number(waits, 'commit')} on {node.name} {'waits' if waits == 1 else 'wait'} for a synchronous replica{who}"
        f"{since}{gone}: to the application the database hangs",
        "bring that replica back; if it does not come back, take it out of "
        + (
            "synchronous_standby_names and reload: from then on a failover may lose commits"
            if node.product == "postgresql"
            else "the semi-synchronous settings (rpl_semi_sync): from then on a failover may lose commits"
        ),
        crossed(limits.commit_wait, "contention.commit_wait", longest) if longest is not None else None,
    )


def lags_of(node: DbNode, lags: Sequence[ReplicaLag]) -> bool:
    """Whether any replica of it is known."""
    return any(lag.primary == node.name for lag in lags)


# ── what grows unseen ────────────────────────────────────────────────────────────────────────────


def _deadlocks(node: DbNode, limits: Limits) -> Finding | None:
    deadlocks, seconds = known(node.deadlocks), node.window_seconds
    if not deadlocks or not seconds:
        return None
    limit = crossed(limits.deadlocks, "contention.deadlocks", deadlocks / seconds)
    if limit is None:
        return None
    return finding(
        "db.deadlocks",
        node,
        limits.deadlocks.grade(deadlocks / seconds),
        f"{node.name} broke {number(deadlocks, 'deadlock')}{window(seconds)}: each is a transaction that failed",
        "let all transactions lock rows in the same order and keep them short; the server's log names the statements",
        limit,
    )


def _history(node: DbNode, limits: Limits) -> Finding | None:
    length = known(node.history_length)
    if length is None or (limit := crossed(limits.history, "contention.history", length)) is None:
        return None
    return finding(
        "db.history",
        node,
        limits.history.grade(length),
        f"{node.name} keeps {length:,} old row versions that it could not purge: reads become slower, and the undo log "
        "grows",
        "end the oldest open transaction that still sees them; where there is none, purging is behind the writes",
        limit,
    )


def _wraparound(node: DbNode, limits: Limits) -> Finding | None:
    age = known(node.xid_age)
    if age is None or (limit := crossed(limits.wraparound, "contention.wraparound", age)) is None:
        return None
    return finding(
        "db.wraparound",
        node,
        limits.wraparound.grade(age),
        f"{node.name} has used {percent(age / IDS)} of its transaction ids ({age:,}): near the end it refuses writes",
        "see what keeps vacuum from freezing (an old or prepared transaction, a slot with an old xmin, autovacuum that "
        "is off), end it, and vacuum the oldest tables first",
        limit,
    )


# ── what it does not show ────────────────────────────────────────────────────────────────────────

_TITLES: Mapping[str, str] = {
    "connections": "connections",
    "max_connections": "the limit of connections",
    "waiting": "who waits for a lock",
    "commit_waits": "commits that wait",
    "role": "whether it is a replica",
    "read_only": "whether it writes",
    "replicas": "its replicas",
}


def _blind(node: DbNode) -> Finding | None:
    """A server that hides other users' sessions, or that did not tell something that could change the verdict."""
    unknown = {name: value for name in _TITLES if isinstance(value := getattr(node, name), Unknown)}
    if node.sees_all and not unknown:
        return None
    hidden = "other users' sessions, so that locks, open transactions and waits of theirs would be missed"
    missed = [_TITLES[name] for name in unknown if node.sees_all or name not in ("waiting", "commit_waits")]
    what = listed([*([] if node.sees_all else [hidden]), *missed], 4)
    why = reasons([unknown[name] for name in unknown if _TITLES[name] in missed])
    return finding(
        "db.blind",
        node,
        Severity.UNKNOWN,
        f"{node.name} does not show us {what}{f': {why}' if why else ''}",
        node.grant or "let it be read; until then it is not known to be well",
    )
