"""Replicas that nothing stops and that are late all the same: on the way, on their disk, or in applying."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, known
from opsdoc.signals.amounts import duration
from opsdoc.signals.db_words import rate
from opsdoc.signals.replica_lag_case import Case, amount, as_of, finding, graded, trend

if TYPE_CHECKING:
    from opsdoc.signals.replica_lag import Limits


def judge_late(case: Case, limits: Limits) -> Iterator[Finding]:
    """How late it is, by the stage that most of it waits before; and one that is late on purpose, and no more."""
    severity, threshold = graded(case, limits)
    if severity is Severity.OK:
        if case.lag.delay and not case.blind:
            yield _delayed(case)
        return
    rule, why, next_step = _of_stage(case)
    delay = f", beyond the {duration(case.lag.delay)} by design" if case.lag.delay else ""
    yield finding(
        rule,
        case,
        severity,
        f"{case.name} is {amount(case)} {case.source}{delay}{as_of(case)}: {why}{trend(case)}",
        next_step,
        threshold,
    )


def _of_stage(case: Case) -> tuple[str, str, str]:
    """The rule, why it is late, and what to do, by the stage that holds most of it."""
    stage, replica = case.lag.stage, case.lag.replica or "the replica"
    if stage in ("send", "receive", "write"):
        return (
            "replica.send-slow",
            f"most of it was not {'sent' if stage == 'send' else 'received'} yet",
            (
                "see the network between the two (throughput, packets sent again), the CPU of the one sender at "
                f"{case.source} (a core is its limit), and whether a burst of writes explains it"
            ),
        )
    if stage == "flush":
        return (
            "replica.send-slow",
            "it has arrived, and most of it is not on the replica's disk yet",
            f"see the disk of {replica}: how long a flush takes and what else writes there (iostat -x 1)",
        )
    if stage in ("replay", "apply"):
        applied = known(case.lag.applied_per_second)
        speed = f", at {rate(applied)}" if applied is not None else ""
        return (
            "replica.apply-slow",
            f"it has arrived, and most of it is not applied yet{speed}",
            (
                f"see what the applier of {replica} does: one large transaction or a change of a table, a table "
                "without a primary key, its disk (iostat -x 1), queries that replay waits for, and if it is parallel"
            ),
        )
    if stage == "upstream":
        return (
            "replica.behind",
            f"most of it has not come to {case.source} itself",
            f"look at {case.source} first: it is a replica, and this one can be no newer",
        )
    return (
        "replica.behind",
        "which stage holds it up is unknown",
        f"ask {case.asked_next} as well, which tells what was sent and what was applied"
        if case.lag.told_by != "both"
        else "see what the replica does: its applier, its disk, and the network between the two",
    )


def _delayed(case: Case) -> Finding:
    return finding(
        "replica.delayed",
        case,
        Severity.OK,
        f"{case.name} is {duration(case.lag.delay or 0.0)} late by design, and {_no_later(case)}",
    )


def _no_later(case: Case) -> str:
    return f"{duration(case.seconds)} more" if case.seconds else "no later"
