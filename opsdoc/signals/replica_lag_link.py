"""The way from a primary to its replica: cut off, stopped, frozen, or never meant to be there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, known
from opsdoc.signals.amounts import duration
from opsdoc.signals.cache_words import size
from opsdoc.signals.db_words import crossed, window
from opsdoc.signals.replica_lag_case import Case, amount, finding, graded, start

if TYPE_CHECKING:
    from opsdoc.signals.replica_lag import Limits

_UNSENT = ("send", "receive", "write")


def judge_link(case: Case, limits: Limits) -> Iterator[Finding]:
    """What keeps new log from arriving. A slot that is lost comes first: then nothing else matters."""
    lag = case.lag
    if lag.slot_lost:
        yield _lost(case)
    elif lag.link == "archive":
        yield _archive(case, limits)
    elif lag.link in ("down", "connecting"):
        yield _stopped(case) if lag.product != "postgresql" and lag.link == "down" else _cut_off(case)
    elif (found := _stalled(case, limits)) is not None:
        yield found


def _lost(case: Case) -> Finding:
    return finding(
        "replica.slot-lost",
        case,
        Severity.CRITICAL,
        f"{case.name} can never catch up with {case.source}: the slot that kept the log for it is lost, and what it "
        f"still needs is gone{_error(case)}",
        "take reads off it and rebuild it from a new base backup (pg_basebackup), unless an archive still has the log "
        "that it asks for; then see why it was away so long, and what max_slot_wal_keep_size allows",
    )


def _cut_off(case: Case) -> Finding:
    lag = case.lag
    says = f", as {case.source} says" if lag.told_by == "primary" else ""
    does = "tries to connect to" if lag.link == "connecting" else "gets nothing from"
    return finding(
        "replica.receiver-dead",
        case,
        Severity.CRITICAL,
        f"{case.name} {does} {case.source}{says}: its receiver is not connected{_error(case)}, so that it stands still "
        f"whatever its own positions say; {_last(case)}",
        f"from {lag.replica or 'the replica'} see whether {case.source} can be reached with the user and password that "
        "it has (address, port, pg_hba.conf or account, TLS), and read the replica's log of the last attempt",
    )


def _stopped(case: Case) -> Finding:
    lag = case.lag
    if lag.link_error:
        next_step = (
            f"clear what the error says, then {start(lag, 'IO_THREAD')}; where it says that log was purged (1236), "
            "rebuild the replica, for what it needs is gone"
        )
    else:
        next_step = f"somebody stopped it, for no error is told: find out why, then {start(lag, 'IO_THREAD')}"
    return finding(
        "replica.io-stopped",
        case,
        Severity.CRITICAL,
        f"{case.name} fetches nothing from {case.source}: its IO thread is stopped{_error(case)}; what it had fetched "
        f"may be applied to the end, and still it is cut off; {_last(case)}",
        next_step,
    )


def _stalled(case: Case, limits: Limits) -> Finding | None:
    """A link that both sides call up and over which nothing comes that should."""
    lag = case.lag
    if lag.link != "streaming":
        return None
    silence, expected = known(lag.silence), lag.silence_expected
    waits = max((stage.bytes or 0 for stage in lag.stages if stage.name in _UNSENT), default=0)
    overdue = silence is not None and expected is not None and silence > expected
    held = lag.link_moved is False and limits.unsent.grade(waits) is not Severity.OK
    if not overdue and not held:
        return None
    since = f" for {duration(silence)}" if silence is not None and overdue else window(lag.window_seconds)
    usual = f", and something should at least every {duration(expected)}" if expected is not None and overdue else ""
    unsent = f", while {size(waits)} wait to be sent" if held else ""
    return finding(
        "replica.stalled",
        case,
        Severity.CRITICAL,
        f"the link from {case.source} to {case.name} is frozen: it is called up, and nothing came over it{since}{usual}"
        f"{unsent}; {_claims(case)}",
        f"see whether {case.source} and its sender stand still (state T or D, a full disk) and whether the network "
        "between the two drops packets without a word (firewall, MTU); neither side notices before its own time limit "
        "(wal_receiver_timeout, replica_net_timeout: 60 s)",
        None if overdue else crossed(limits.unsent, "replica_lag.unsent", waits),
    )


def _claims(case: Case) -> str:
    """What is said of the lag, which is of the time before."""
    if case.seconds == 0 or (case.seconds is None and case.bytes == 0):
        return "a lag of 0 is only as of then"
    return "how far it is behind is unknown" if case.seconds is None and case.bytes is None else f"it is {amount(case)}"


def _archive(case: Case, limits: Limits) -> Finding:
    severity, threshold = graded(case, limits)
    known_lag = case.seconds is not None or case.bytes is not None
    if severity is Severity.OK and (not known_lag or case.lag.confidence == "blind"):
        severity = Severity.UNKNOWN
    ok = severity is Severity.OK
    said = (
        f"it is {amount(case)}"
        if known_lag and severity is not Severity.UNKNOWN
        else "how far it is behind it cannot know"
    )
    return finding(
        "replica.archive-only",
        case,
        severity,
        f"{case.name} gets its log from an archive, not over a connection: it lacks at least the segment that is being "
        f"written; {said}{_error(case)}",
        ""
        if ok
        else f"ask {case.asked_next}, which knows where the log ends, and see whether archiving works there "
        "(pg_stat_archiver)",
        threshold,
    )


def _last(case: Case) -> str:
    """What is known of the lag of one that gets nothing."""
    if case.lag.told_by == "replica":
        return f"how far it is behind only {case.asked_next} knows"
    return f"it is {amount(case)}" if case.seconds is not None or case.bytes is not None else amount(case)


def _error(case: Case) -> str:
    return f" ({case.lag.link_error})" if case.lag.link_error else ""
