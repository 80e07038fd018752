"""Replicas that keep up, those of which nobody who was asked can know, and whom to ask then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsdoc.model import Finding, Severity, Unknown
from opsdoc.signals.amounts import duration, listed
from opsdoc.signals.cache_words import all_of, size
from opsdoc.signals.contention_facts import DbNode
from opsdoc.signals.db_words import cited
from opsdoc.signals.replica_lag_case import Case, amount, as_of, confidence, finding


def judge_unknown(cases: Sequence[Case], nodes: Sequence[DbNode]) -> Iterator[Finding]:
    """One finding for each replica whose lag this side cannot know: a 0 that may be a lie is none."""
    grants = {node.name: node.grant for node in nodes if node.grant}
    for case in cases:
        yield finding(
            "replica.cannot-know",
            case,
            Severity.UNKNOWN,
            f"how old reads on {case.name} are cannot be known from {_FROM[case.lag.told_by]}{_waits(case)}: "
            f"{case.unknown or _SAME}",
            _ask(case, grants.get((case.lag.primary if case.lag.told_by == "primary" else case.lag.replica) or "", "")),
        )


_FROM = {"replica": "the replica alone", "primary": "the primary alone", "both": "what both sides tell"}
_SAME = "what it says of itself would be the same if nothing arrived any more"


def _waits(case: Case) -> str:
    return f" ({amount(case)})" if case.seconds or case.bytes else ""


def _ask(case: Case, grant: str) -> str:
    """The grant where its status may not be read, else the other side; or a longer look, where it is only quiet."""
    if isinstance(case.lag.link, Unknown):
        return f"let its state of replication be read{f' ({grant})' if grant else ''}, or ask {case.asked_next}"
    if case.lag.told_by == "both":
        return "look longer (--window 10s), and at what the replica does"
    longer = ", or look longer than its heartbeats are apart (--window)" if case.stale else ""
    return f"ask the other side as well: {case.asked_next} (name both with --dsn){longer}"


def judge_untold(nodes: Sequence[DbNode], cases: Sequence[Case]) -> Iterator[Finding]:
    """Servers that say that they are replicas, and nothing else of it."""
    told = {case.lag.replica for case in cases} | {case.lag.subject for case in cases}
    for node in nodes:
        if node.reachable and node.role == "replica" and node.name not in told:
            yield Finding(
                rule="replica.cannot-know",
                key=f"replica.cannot-know:{node.name}",
                severity=Severity.UNKNOWN,
                subject=node.name,
                summary=f"{node.name} is a replica, and how far it is behind could not be read",
                evidence=cited(node),
                confidence=f"told by {node.name} itself",
                next_step=node.grant or "let its state of replication be read, or ask the server that it follows",
                by_hand=node.by_hand,
            )


def judge_fine(cases: Sequence[Case], *, others: bool) -> Iterator[Finding]:
    """One finding for all that keep up. One that is late by design, or fed from an archive, has its own."""
    well = [case for case in cases if not case.lag.delay and case.lag.link != "archive"]
    if not well:
        return
    worst = max(well, key=lambda case: (case.seconds or 0.0, case.bytes or 0))
    if len(well) == 1:
        who, said = worst.name, f"{worst.name} keeps up with {worst.source}: {_late(worst)}"
    else:
        who = f"{len(well):,} other replicas" if others else all_of(len(well), "replica")
        said = f"{who} keep up: at most {_late(worst)} ({worst.name})"
    oldest = max(well, key=lambda case: _ORDER.index(case.lag.confidence))
    yield Finding(
        rule="replica.fine",
        key="replica.fine:all",
        severity=Severity.OK,
        subject=listed([case.name for case in well]),
        summary=f"{said}{as_of(oldest)}",
        evidence=cited(*(case.lag for case in well[:5])),
        confidence=confidence(oldest),
    )


_ORDER = ("proven", "likely", "one-sided", "blind")


def _late(case: Case) -> str:
    seconds, octets = case.seconds, case.bytes
    if not seconds and not octets:
        return "nothing waits to be applied" if octets == 0 else "0 s behind"
    parts = [duration(seconds)] if seconds else []
    return f"{', '.join(parts + ([size(octets)] if octets else []))} behind"
