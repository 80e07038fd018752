"""What holds a database: connections, locks, transactions left open or prepared, commits that wait, a wrong writer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.model import Finding, Limit, Observation, Unseen
from opsdoc.signals.alike import is_bad, summed_up
from opsdoc.signals.contention_chains import judge_chains
from opsdoc.signals.contention_facts import (
    Client,
    DbNode,
    HotStatement,
    LockChain,
    OpenTransaction,
    PreparedTransaction,
    Waiter,
)
from opsdoc.signals.contention_fine import judge_fine, judge_hot
from opsdoc.signals.contention_node import judge_node
from opsdoc.signals.contention_open import judge_open, judge_prepared
from opsdoc.signals.contention_reach import judge_unreachable
from opsdoc.signals.db_words import how_bad
from opsdoc.signals.replica_lag_facts import ReplicaLag

__all__ = [
    "Client", "DbNode", "HotStatement", "Limits", "LockChain", "OpenTransaction", "PreparedTransaction", "Waiter",
    "judge",
]  # fmt: skip


class Limits(NamedTuple):
    """From which share, number, time or rate on it matters."""

    connections: Limit = Limit(
        0.8,
        0.95,
        "ratio",
        "of the connections that users may have: awesome-prometheus-alerts fires at 80 %; at 95 % one pool that "
        "reconnects uses up the rest",
    )
    running: Limit = Limit(
        0.6,
        None,
        "ratio",
        "of the connections it may have, at work at once: awesome-prometheus-alerts fires at 60 % for threads_running",
    )
    commit_wait: Limit = Limit(
        1.0, 5.0, "seconds", "a commit waits for a replica for as long as the network takes, which is milliseconds"
    )
    lock_wait: Limit = Limit(
        1.0,
        30.0,
        "seconds",
        "PostgreSQL looks for deadlocks, and logs that somebody waits, after 1 s; clients commonly give up after 30 s",
    )
    lock_waiting: Limit = Limit(
        5, 10, "count", "each holds a connection of a pool while it waits: HikariCP's has ten unless told otherwise"
    )
    idle_transaction: Limit = Limit(
        60.0,
        None,
        "seconds",
        "a request takes seconds, so that a transaction idle for a minute was forgotten; whom it blocks is told apart",
    )
    long_transaction: Limit = Limit(
        300.0,
        None,
        "seconds",
        "what it sees cannot be cleaned up for so long; a backup or a report may be meant to take that long",
    )
    prepared: Limit = Limit(
        1.0,
        300.0,
        "seconds",
        "between its two phases a transaction takes milliseconds; a coordinator that restarts is back within minutes",
    )
    deadlocks: Limit = Limit(
        5 / 60, None, "per_second", "awesome-prometheus-alerts fires at 5 a minute; each is a transaction that failed"
    )
    history: Limit = Limit(50_000, None, "count", "awesome-prometheus-alerts fires at a history list of 50,000")
    wraparound: Limit = Limit(
        1_000_000_000,
        1_600_000_000,
        "count",
        "of the 2,147 million that there are: vacuum drops all restraint at 1.6 billion (vacuum_failsafe_age), and far "
        "below it autovacuum did its work already (autovacuum_freeze_max_age, 200 million)",
    )


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Servers, then who waits for whom and who is open, then one finding for all servers that are well."""
    nodes = [one for one in observations if isinstance(one, DbNode)]
    lags = [one for one in observations if isinstance(one, ReplicaLag)]
    chains = [one for one in observations if isinstance(one, LockChain)]
    opened = [one for one in observations if isinstance(one, OpenTransaction)]
    prepared = [one for one in observations if isinstance(one, PreparedTransaction)]
    found = [
        *judge_unreachable(nodes, lags, unseen),
        *(finding for node in nodes for finding in judge_node(node, lags, limits)),
        *judge_chains(chains, limits),
        *judge_open(opened, chains, limits),
        *judge_prepared(prepared, chains, limits),
    ]
    yield from summed_up(sorted(found, key=how_bad, reverse=True))
    bad = {cited for finding in found if is_bad(finding) for cited in finding.evidence}
    troubled = {chain.node for chain in chains if chain.id in bad}
    troubled |= {one.node for one in opened if one.id in bad} | {one.node for one in prepared if one.id in bad}
    yield from judge_fine([node for node in nodes if node.id not in bad and node.name not in troubled], observations)
    yield from judge_hot([one for one in observations if isinstance(one, HotStatement)])
