"""Transactions that stay open: idle in their session, running for long, or prepared and left without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Limit, Severity, Threshold, Unknown, known
from opsdoc.signals.amounts import duration, listed, number
from opsdoc.signals.contention_facts import LockChain, OpenTransaction, PreparedTransaction
from opsdoc.signals.db_words import cited, who

if TYPE_CHECKING:
    from opsdoc.signals.contention import Limits


def judge_open(opened: Sequence[OpenTransaction], chains: Sequence[LockChain], limits: Limits) -> Iterator[Finding]:
    """Idle ones by how long they idle, the others by how long they are open; the root of a bad chain is told there."""
    roots = {(chain.node, chain.root) for chain in chains if chain.root_prepared is None}
    for one in opened:
        if (one.node, one.session) in roots:
            continue
        idle, open_ = known(one.idle), known(one.open)
        if idle is not None and limits.idle_transaction.grade(idle) is not Severity.OK:
            yield _idle(one, idle, limits)
        elif open_ is not None and limits.long_transaction.grade(open_) is not Severity.OK:
            yield _long(one, open_, limits)


def _idle(one: OpenTransaction, idle: float, limits: Limits) -> Finding:
    open_ = known(one.open)
    return _finding(
        "db.idle-transaction",
        one,
        limits.idle_transaction,
        "contention.idle_transaction",
        idle,
        f"session {one.session} of {_who(one)} on {one.node} has a transaction open and does nothing for "
        f"{duration(idle)}{f', open for {duration(open_)}' if open_ is not None else ''}{_holds(one)}",
        "let the application commit or roll back before it waits for something else (a call, a person); "
        "idle_in_transaction_session_timeout ends such sessions"
        if one.product == "postgresql"
        else "let the application commit or roll back before it waits for something else (a call, a person)",
    )


def _long(one: OpenTransaction, open_: float, limits: Limits) -> Finding:
    return _finding(
        "db.long-transaction",
        one,
        limits.long_transaction,
        "contention.long_transaction",
        open_,
        f"session {one.session} of {_who(one)} on {one.node} has a transaction open for {duration(open_)}"
        f"{f' ({one.state})' if one.state else ''}{_holds(one)}",
        "see whether it is meant (a backup, a report); else end it, or cut its work into smaller transactions",
    )


def _who(one: OpenTransaction) -> str:
    return who(one.user, one.application, one.client)


def _holds(one: OpenTransaction) -> str:
    """`; it holds 12 locks, changed 3 rows, keeps 48,000 transactions from being cleaned up`."""
    locks, changed, back = known(one.locks), known(one.changed), known(one.holds_back)
    told = [
        f"holds {number(locks, 'lock')}" if locks else "",
        f"changed {number(changed, 'row')}" if changed else "",
        f"keeps {number(back, 'transaction')} from being cleaned up" if back else "",
    ]
    said = listed([part for part in told if part])
    return f"; it {said}" if said else ""


def _finding(
    rule: str, one: OpenTransaction, limit: Limit, name: str, value: float, summary: str, next_step: str
) -> Finding:
    return Finding(
        rule=rule,
        key=f"{rule}:{one.node}/{one.user}/{one.application}",
        severity=limit.grade(value),
        subject=f"{one.node} session {one.session}",
        summary=summary,
        evidence=cited(one),
        threshold=limit.crossed(name, value),
        confidence="told by the server itself",
        next_step=f"{next_step}{f' ({one.end} ends it)' if one.end else ''}",
        by_hand=one.by_hand,
    )


# ── prepared ─────────────────────────────────────────────────────────────────────────────────────


def judge_prepared(
    prepared: Sequence[PreparedTransaction], chains: Sequence[LockChain], limits: Limits
) -> Iterator[Finding]:
    """Each that is left in doubt; one whose age nobody knows is a warning, one that others wait for is critical."""
    for one in prepared:
        age = known(one.age)
        severity = Severity.WARNING if age is None else limits.prepared.grade(age)
        chain = next((c for c in chains if c.node == one.node and c.root_prepared == one.gid), None)
        if chain is not None:
            severity = Severity.CRITICAL
        if severity is not Severity.OK:
            over = limits.prepared.crossed("contention.prepared", age) if age is not None else None
            yield _prepared(one, chain, severity, over if age and limits.prepared.grade(age) else None)


def _prepared(
    one: PreparedTransaction, chain: LockChain | None, severity: Severity, threshold: Threshold | None
) -> Finding:
    age = known(one.age)
    since = f" for {duration(age)}" if age is not None else ""
    whose = f" of {one.owner}" if one.owner else ""
    where = f" in {one.database}" if one.database else ""
    waits = f"; {number(chain.waiting, 'session waits', 'sessions wait')} for it" if chain is not None else ""
    ends = listed(one.end, 2).replace(" and ", " or ")
    return Finding(
        rule="db.prepared",
        key=f"db.prepared:{one.node}/{one.gid}",
        severity=severity,
        subject=f"{one.node} prepared {one.gid}",
        summary=f"the prepared transaction {one.gid}{whose}{where} on {one.node} is in doubt{since}: it outlives its "
        f"session and a restart{_held(one)}{waits}",
        evidence=cited(one, chain),
        threshold=threshold,
        confidence="told by the server itself" if age is not None else f"told by the server itself{_no_age(one)}",
        next_step="ask its coordinator (the transaction manager) what it decided, and let it finish"
        + (f"; only if it is gone for good, decide by hand: {ends}" if ends else ""),
        by_hand=one.by_hand,
    )


def _no_age(one: PreparedTransaction) -> str:
    return f", but its age is unknown: {one.age.reason}" if isinstance(one.age, Unknown) else ", without its age"


def _held(one: PreparedTransaction) -> str:
    locks, back = known(one.locks), known(one.holds_back)
    told = [
        f"holds locks on {listed(locks)}" if locks else "",
        f"keeps {number(back, 'transaction')} from being cleaned up" if back else "",
    ]
    if isinstance(one.locks, Unknown):
        told.append(f"what it locks is unknown ({one.locks.reason})")
    said = "; ".join(part for part in told if part)
    return f"; {said}" if said else ""
