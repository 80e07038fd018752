"""How far replicas are behind, and why: cut off, stalled, stopped, held up or slow; and what nobody asked can know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.model import Finding, Limit, Observation, Unseen
from opsdoc.signals.alike import is_bad, summed_up
from opsdoc.signals.cache_words import GIB, MIB
from opsdoc.signals.contention_facts import DbNode, LockChain
from opsdoc.signals.db_words import how_bad
from opsdoc.signals.replica_lag_apply import judge_apply
from opsdoc.signals.replica_lag_case import Case
from opsdoc.signals.replica_lag_facts import ReplicaLag, ReplicationSlot, Stage
from opsdoc.signals.replica_lag_fine import judge_fine, judge_unknown, judge_untold
from opsdoc.signals.replica_lag_late import judge_late
from opsdoc.signals.replica_lag_link import judge_link
from opsdoc.signals.replica_lag_notes import judge_notes
from opsdoc.signals.replica_lag_slots import judge_none_connected, judge_slots

__all__ = ["Limits", "ReplicaLag", "ReplicationSlot", "Stage", "judge"]


class Limits(NamedTuple):
    """From which time, size or number on it matters."""

    seconds: Limit = Limit(
        5.0,
        30.0,
        "seconds",
        "awesome-prometheus-alerts fires at 5 s for PostgreSQL and at 30 s for MySQL; whoever reads what was just "
        "written misses it all the same",
    )
    bytes: Limit = Limit(
        64 * MIB,
        GIB,
        "bytes",
        "of log that is not applied: less than four segments of PostgreSQL may be a burst; 1 GiB, a whole binary log "
        "of MySQL by default, takes a replica minutes",
    )
    unsent: Limit = Limit(
        64 * 1024,
        None,
        "bytes",
        "waiting while nothing went over the link in the window: less than that may have been written just now",
    )
    slot_disk: Limit = Limit(
        0.25,
        0.5,
        "ratio",
        "kept for a slot, of what is free on the disk: when it is full the primary stops, and at half of it there is "
        "as much time left as has gone",
    )
    conflicts: Limit = Limit(1, None, "count", "each is a query of a reader that was cancelled so that replay went on")
    errant: Limit = Limit(
        1,
        None,
        "count",
        "each is a write that the primary never saw: readers see it, and a failover loses or spreads it",
    )


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Each replica by what holds it up, the slots, those that nobody can know, and one finding for all that keep up."""
    nodes = [one for one in observations if isinstance(one, DbNode)]
    slots = [one for one in observations if isinstance(one, ReplicationSlot)]
    chains = [one for one in observations if isinstance(one, LockChain) and one.blocks_applier]
    cases = [
        Case(lag, next((chain for chain in chains if chain.node == lag.replica), None))
        for lag in observations
        if isinstance(lag, ReplicaLag)
    ]
    judged = [(case, list(_judge_case(case, limits))) for case in cases]
    found = [finding for _, findings in judged for finding in findings]
    found += judge_slots(slots, cases, limits)
    found += judge_none_connected(nodes, slots, cases)
    quiet = [case for case, findings in judged if not any(map(is_bad, findings))]
    blind = [case for case in quiet if case.blind]
    found += judge_unknown(blind, nodes)
    found += judge_untold(nodes, cases)
    yield from summed_up(sorted(found, key=how_bad, reverse=True))
    yield from judge_fine([case for case in quiet if case not in blind], others=len(quiet) < len(cases) or bool(blind))


def _judge_case(case: Case, limits: Limits) -> Iterator[Finding]:
    """What stops it, if anything does; else how late it is. Then what is true of it besides."""
    stopped = [*judge_link(case, limits), *judge_apply(case, limits)]
    yield from stopped or judge_late(case, limits)
    yield from judge_notes(case, limits)
