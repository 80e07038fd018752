"""What keeps a replica from applying what it has: an error, a stop, a pause, a session that holds a lock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, Threshold, known
from opsdoc.signals.amounts import duration
from opsdoc.signals.db_words import who
from opsdoc.signals.replica_lag_case import Case, amount, finding, graded, start, trend

if TYPE_CHECKING:
    from opsdoc.signals.replica_lag import Limits


def judge_apply(case: Case, limits: Limits) -> Iterator[Finding]:
    """The one thing that stops the applier, or nothing."""
    lag = case.lag
    if lag.slot_lost:
        return
    if lag.apply == "error" or (lag.apply == "stopped" and (lag.apply_errno or lag.apply_error)):
        yield _error(case)
    elif lag.apply == "stopped":
        yield _stopped(case, limits)
    elif lag.apply == "paused":
        yield _paused(case, limits)
    elif lag.apply == "locked" or lag.blocked_by or case.chain is not None:
        yield _locked(case, limits)


def _error(case: Case) -> Finding:
    lag = case.lag
    number = f"error {lag.apply_errno}" if lag.apply_errno else "an error"
    text = f": {lag.apply_error}" if lag.apply_error else ""
    is_conflict = lag.apply_errno in _CONFLICTS
    return finding(
        "replica.apply-error",
        case,
        Severity.CRITICAL,
        f"{case.name} stopped applying at {number}{text}; {_waits(case)}",
        (
            "compare the row that the error names on both servers, for the replica was written to or is not a true "
            f"copy: repair that row, or rebuild the replica, then {start(case.lag, 'SQL_THREAD')}; to skip the event "
            "hides the difference"
        )
        if is_conflict
        else "clear what the error says on the replica (its log has it in full), then start the applier again",
    )


_CONFLICTS = frozenset({1062, 1032, 1451, 1452})  # duplicate key, row not found, foreign keys: the data differ


def _stopped(case: Case, limits: Limits) -> Finding:
    severity, threshold = _standing(case, limits)
    return finding(
        "replica.sql-stopped",
        case,
        severity,
        f"{case.name} applies nothing: its SQL thread is stopped, without an error; {_waits(case)}",
        "somebody stopped it (a backup, a repair that was left off): find out why, then "
        f"{start(case.lag, 'SQL_THREAD')}",
        threshold,
    )


def _paused(case: Case, limits: Limits) -> Finding:
    severity, threshold = _standing(case, limits)
    return finding(
        "replica.paused",
        case,
        severity,
        f"replay is paused on {case.name}: it receives and applies nothing; {_waits(case)}",
        "find out who paused it and why (a backup, a recovery target, a setting that is too low after a change on the "
        "primary), then select pg_wal_replay_resume() there",
        threshold,
    )


def _standing(case: Case, limits: Limits) -> tuple[Severity, Threshold | None]:
    """CRITICAL as soon as something waits or nobody knows: what was stopped by hand does not go on by itself."""
    _, threshold = graded(case, limits)
    nothing = not (case.bytes or 0) and not (case.seconds or 0) and not (known(case.lag.missing) or 0)
    measured = case.bytes is not None or case.seconds is not None or known(case.lag.missing) is not None
    return (Severity.WARNING if nothing and measured else Severity.CRITICAL), threshold


def _waits(case: Case) -> str:
    """What waits to be applied, and that this becomes more."""
    missing = known(case.lag.missing)
    if missing:
        wait = "1 transaction waits" if missing == 1 else f"{missing:,} transactions wait"
        return f"{wait}, and reads there grow older"
    if case.seconds is None and case.bytes is None:
        return "reads there grow older, and how far it is behind it does not tell"
    if not case.bytes and not case.seconds:
        return "nothing waits yet"
    return f"it is {amount(case)}{trend(case)}; reads there grow older"


def _locked(case: Case, limits: Limits) -> Finding:
    severity, threshold = graded(case, limits)
    holder = case.lag.blocked_by or _root(case)
    return finding(
        "replica.apply-locked",
        case,
        max(Severity.WARNING, severity),
        f"the applier of {case.name} waits for a lock that {holder or 'a session there'} holds; it is {amount(case)}"
        f"{trend(case)}",
        "end that transaction on the replica, or let it end; then keep transactions that lock for long off it",
        threshold,
    )


def _root(case: Case) -> str:
    chain = case.chain
    if chain is None:
        return ""
    open_for = known(chain.root_open)
    open_ = f", open for {duration(open_for)}" if open_for is not None else ""
    return f"session {chain.root} of {who(chain.root_user, chain.root_application)}{open_}"
