"""A replica as the judges look at it: how late it is and how sure that is, in words, and the finding about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opsdoc.model import Finding, Severity, Threshold, known
from opsdoc.signals.amounts import duration
from opsdoc.signals.cache_words import KIB, size
from opsdoc.signals.contention_facts import LockChain
from opsdoc.signals.db_words import cited, looks, rate, reasons
from opsdoc.signals.replica_lag_facts import ReplicaLag

if TYPE_CHECKING:
    from opsdoc.signals.replica_lag import Limits

STEADY = KIB  # bytes a second: an idle server writes a little log of its own


class Case(NamedTuple):
    """One replica, or one channel of it, and the lock chain that its applier waits in."""

    lag: ReplicaLag
    chain: LockChain | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.lag.name

    @property
    def source(self) -> str:
        """What it follows, in words."""
        return self.lag.primary or ("its source" if self.lag.product != "postgresql" else "its primary")

    @property
    def seconds(self) -> float | None:
        """How late it is; None where nobody knows."""
        return self.lag.behind

    @property
    def bytes(self) -> int | None:
        """Log that is not applied; None where nobody knows."""
        return known(self.lag.bytes)

    @property
    def live(self) -> bool:
        """Whether a lag of 0 can be true: something comes over a link that is up, or the primary itself says so."""
        return self.lag.link == "streaming" or (self.lag.told_by != "replica" and self.lag.link is None)

    @property
    def blind(self) -> bool:
        """Whether what is known does not tell that it keeps up; a few bytes that wait may do so for days."""
        if self.lag.link == "archive":
            return False  # which has a finding of its own
        untold = self.seconds is None and self.bytes != 0
        return untold or self.lag.confidence == "blind" or not self.live or self.stale

    @property
    def stale(self) -> bool:
        """Whether a replica that was asked alone has no sign that something could still arrive."""
        lag = self.lag
        return lag.told_by == "replica" and lag.link_moved is not True and known(lag.as_of) is None

    @property
    def unknown(self) -> str:
        """Why it cannot be known."""
        lag = self.lag
        return reasons((lag.seconds, lag.bytes, lag.link, lag.as_of, lag.link_moved))

    @property
    def asked_next(self) -> str:
        """Whom to ask: the other side by its name, or what it is."""
        return self.lag.ask or (self.source if self.lag.told_by == "replica" else self.lag.replica or "the replica")


def amount(case: Case) -> str:
    """`12 s (3.2 MiB) behind`, as far as it is known."""
    seconds, octets = case.seconds, case.bytes
    if seconds is None and octets is None:
        return "how far it is behind is unknown from here"
    if seconds is None:
        return f"{size(octets or 0)} behind"
    return f"{duration(seconds)}{f' ({size(octets)})' if octets is not None else ''} behind"


def as_of(case: Case) -> str:
    """`, as of 12 s ago`, where the last word is that old."""
    ago = known(case.lag.as_of)
    return f", as of {duration(ago)} ago" if ago is not None and ago >= 1 else ""


def trend(case: Case) -> str:
    """`; it grows by 1.2 MiB/s`, `; it shrinks by 2.0 MiB/s, gone in about 12 s`, or nothing where that is unknown."""
    grows, octets = known(case.lag.grows), case.bytes
    if grows is None or octets is None:
        return ""
    if abs(grows) < STEADY:
        return "; it neither grows nor shrinks"
    if grows < 0:
        return f"; it shrinks by {rate(grows)}, gone in about {duration(octets / -grows)}"
    return f"; it grows by {rate(grows)}"


def graded(case: Case, limits: Limits) -> tuple[Severity, Threshold | None]:
    """By seconds or by bytes, the worse of the two; what is unknown does not count."""
    found: tuple[Severity, Threshold | None] = (Severity.OK, None)
    for name, limit, value in (
        ("replica_lag.bytes", limits.bytes, case.bytes),
        ("replica_lag.seconds", limits.seconds, case.seconds),
    ):
        if value is None or (severity := limit.grade(value)) is Severity.OK:
            continue
        if severity >= found[0]:
            found = severity, limit.crossed(name, value)
    return found


def confidence(case: Case) -> str:
    """Who says so, how old it is, and who could say otherwise."""
    lag = case.lag
    teller = {"both": "both sides", "primary": "the primary", "replica": "the replica"}[lag.told_by]
    said = {
        "proven": f"proven by {teller}",
        "likely": f"likely: told by {teller}{as_of(case)}",
        "one-sided": f"told by {teller} alone; {case.asked_next} could say otherwise",
        "blind": f"told by {teller} alone, which cannot know how far it is behind; {case.asked_next} can",
    }[lag.confidence]
    return f"{said}; {looks(lag.window_seconds)}"


def finding(
    rule: str,
    case: Case,
    severity: Severity,
    summary: str,
    next_step: str = "",
    threshold: Threshold | None = None,
) -> Finding:
    """A finding about one replica."""
    return Finding(
        rule=rule,
        key=f"{rule}:{case.name}",
        severity=severity,
        subject=case.name,
        summary=summary,
        evidence=cited(case.lag, case.chain),
        threshold=threshold,
        confidence=confidence(case),
        next_step=next_step,
        by_hand=case.lag.by_hand,
    )


def start(lag: ReplicaLag, thread: str) -> str:
    """The command that starts a thread of a replica, as its product spells it."""
    if lag.product == "mysql":
        return f"START REPLICA {thread} (before 8.0.22 START SLAVE {thread})"
    return f"START SLAVE {thread}"
