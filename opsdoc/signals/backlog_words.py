"""Backlogs in words, and the finding about one with what every such finding carries."""

from __future__ import annotations

import math
from collections.abc import Sequence

from opsdoc.model import Finding, Severity, Unknown, known
from opsdoc.signals.amounts import duration, listed, number
from opsdoc.signals.backlog_facts import Backlog, DrainTime
from opsdoc.signals.backlog_standing import Grade

_PARTS = {"main": "", "retry": " (retries)", "dead-letter": " (dead letters)"}


def who(backlog: Backlog) -> str:
    """`order-consumer on order-topic`; a group is told by its name alone where there is no topic."""
    return f"{backlog.consumer} on {backlog.topic}" if backlog.topic else backlog.consumer or backlog.subject


def stable(backlog: Backlog) -> str:
    """Its identity in the keys of findings, the same in each run."""
    name = "/".join(filter(None, (backlog.consumer, backlog.topic))) or backlog.subject
    return name if backlog.part == "main" else f"{name}/{backlog.part}"


def waits(backlog: Backlog) -> str:
    """`48,210 waiting, oldest 6 min`."""
    age = known(backlog.oldest_age)
    return f"{backlog.waiting:,} waiting" + (f", oldest {duration(age)}" if age is not None else "")


def per_second(value: float) -> str:
    """`120/s`, `4.5/s`, `0.08/s`."""
    return f"{value:,.0f}/s" if value >= 10 else f"{value:.1f}/s" if value >= 1 else f"{value:.2g}/s"


def rates(backlog: Backlog) -> str:
    """`40/s come in, 12/s are consumed`, or nothing where that is not known."""
    incoming, outgoing = known(backlog.in_rate), known(backlog.out_rate)
    if incoming is None or outgoing is None:
        return ""
    return f"{per_second(incoming)} come in, {per_second(outgoing) if outgoing else 'none'} are consumed"


def drains(time: DrainTime) -> str:
    """`drained in 14 to 34 s`, a range that is never narrower than it was measured."""
    low, high = _whole(time.low, down=True), _whole(time.high, down=False)
    if low == high:
        return f"drained in about {duration(high)}"
    first, last = duration(low), duration(high)
    if first.rpartition(" ")[2] == last.rpartition(" ")[2]:
        first = first.rpartition(" ")[0]
    return f"drained in {first} to {last}" if first != last.rpartition(" ")[0] else f"drained in about {last}"


def _whole(seconds: float, *, down: bool) -> float:
    """Whole seconds from ten on, and whole minutes from two, in the direction that keeps the range."""
    unit = 60 if seconds >= 120 else 1
    if seconds < 10:
        return round(seconds, 1)
    return float((math.floor if down else math.ceil)(seconds / unit) * unit)


def confidence(backlog: Backlog) -> str:
    """What the numbers rest on: how far the looks lie apart, how old the offsets are, what is counted too much."""
    told = [_looks(backlog)]
    if backlog.source_age is not None:
        told.append(f"offsets are from a slave, up to {duration(backlog.source_age)} old")
    if backlog.filter:
        told.append(f"lower: the count holds messages that its filter {backlog.filter} skips")
    if isinstance(backlog.lost, Unknown):
        told.append(f"what expired unread is unknown: {backlog.lost.reason}")
    if isinstance(backlog.never_consumed, Unknown):
        told.append(f"whether all of it was ever to be consumed is unknown: {backlog.never_consumed.reason}")
    return ", ".join(told)


def _looks(backlog: Backlog) -> str:
    if not backlog.window:
        return "one look, so no trend"
    commits = f" (offsets are committed every {duration(backlog.commit_interval)})" if backlog.commit_interval else ""
    said = f"2 looks {duration(backlog.window)} apart{commits}"
    return f"{said}, no rate: {backlog.out_rate.reason}" if isinstance(backlog.out_rate, Unknown) else said


def window(backlog: Backlog) -> str:
    """` in the window of 12 s`, or nothing."""
    return f" in the window of {duration(backlog.window)}" if backlog.window else ""


def groups(backlogs: Sequence[Backlog]) -> str:
    """`31 groups`: each counts once, however many topics it has."""
    return number(len({backlog.consumer for backlog in backlogs}), "group")


def named(backlogs: Sequence[Backlog], most: int = 3) -> str:
    """`a, b and 4 more`, each group once."""
    return listed(list(dict.fromkeys(backlog.consumer or backlog.subject for backlog in backlogs)), most)


def together(rule: str, backlogs: Sequence[Backlog], severity: Severity, summary: str) -> Finding:
    """One finding about several that are alike."""
    return Finding(
        rule=rule,
        key=f"{rule}:all",
        severity=severity,
        subject=named(backlogs),
        summary=summary,
        evidence=tuple(one.id for one in backlogs[:5] if one.id),
        by_hand=() if severity is Severity.OK else backlogs[0].by_hand,
    )


def finding(rule: str, backlog: Backlog, grade: Grade, summary: str, next_step: str = "") -> Finding:
    """A finding about one backlog. A limit is cited only where it was crossed."""
    bad = grade.severity is not Severity.OK
    return Finding(
        rule=rule,
        key=f"{rule}:{stable(backlog)}",
        severity=grade.severity,
        subject=who(backlog) + _PARTS[backlog.part],
        summary=summary,
        evidence=(backlog.id,) if backlog.id else (),
        threshold=grade.threshold if bad else None,
        confidence=confidence(backlog),
        next_step=next_step,
        by_hand=backlog.by_hand,
    )
