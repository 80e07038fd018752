"""How a consumer stands with a topic, and how bad that is: by the age of the oldest first, by count second."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from opsdoc.model import Limit, Severity, Threshold, Unknown, known
from opsdoc.signals.backlog_facts import Backlog

if TYPE_CHECKING:
    from opsdoc.signals.backlog import Limits

Standing = Literal[
    "unknown", "broadcast", "disabled", "no-consumer", "never-consumed", "stalled", "skewed", "growing", "draining",
    "behind", "drained",
]  # fmt: skip

SKEWED = 5.0  # times the median of the queues
SKEWED_FROM = 100  # messages in the largest: below it a few messages more or less make any ratio
BURST = 10.0  # seconds: what waits no longer is a burst, or not committed yet (clients commit every 5 s)
ABANDONED = 86_400.0  # seconds: whom nobody missed for a day is hardly why something is late now


def standing(backlog: Backlog, *, stuck: bool = False) -> Standing:  # noqa: PLR0911 - one line per standing
    """Where it stands; `stuck` says that all its clients are proven to be, which needs no second look."""
    if backlog.mode == "broadcast":
        return "broadcast"
    if isinstance(backlog.depth, Unknown):
        return "unknown"
    if backlog.depth == 0:
        return "drained"
    if not backlog.enabled:
        return "disabled"
    if not known(backlog.members) and backlog.uncommitted:
        return "never-consumed"
    if backlog.members == 0:
        return "no-consumer"
    if backlog.trend == "stalled" or (stuck and not known(backlog.out_rate)):
        return "stalled"
    if backlog.stalled_parts:
        return "skewed"
    if backlog.trend == "growing" and not _burst(backlog):
        return "growing"
    return "draining" if backlog.trend == "draining" else "behind"


def halted(backlog: Backlog, *, stuck: bool = False) -> bool:
    """Whether some queue of it, or all of them, stand still though consumers are there."""
    found = standing(backlog, stuck=stuck)
    return found in ("stalled", "skewed")


def uneven(backlog: Backlog) -> bool:
    """Whether one queue holds far more than the median of all, of an even number the lower of the two in the middle.

    One that is not listed is taken to hold as much as the last that is.
    """
    depths = sorted((part.depth or 0 for part in backlog.parts), reverse=True)
    if len(depths) < 2 or depths[0] <= SKEWED_FROM:
        return False
    middle = min(max(backlog.queue_count, len(depths)) // 2, len(depths) - 1)
    return depths[0] > SKEWED * depths[middle]


def _burst(backlog: Backlog) -> bool:
    age, incoming = known(backlog.oldest_age), known(backlog.in_rate)
    if age is not None:
        return age < BURST
    return incoming is not None and backlog.waiting < incoming * BURST


# ── how bad ──────────────────────────────────────────────────────────────────────────────────────


class Grade(NamedTuple):
    """A severity, and the limit that it comes from."""

    severity: Severity
    threshold: Threshold | None = None


def graded(limit: Limit, name: str, value: float) -> Grade:
    """A value against its limit; `name` is `signal.field`."""
    return Grade(limit.grade(value), limit.crossed(name, value))


def worst(grades: Iterable[Grade]) -> Grade:
    """The first of the worst, and what was measured against it."""
    return max(grades, key=lambda grade: grade.severity)


def by_age_and_count(backlog: Backlog, limits: Limits) -> Grade:
    """Age decides where it is known; a count beyond its limit is then a warning at most."""
    age, depth = known(backlog.oldest_age), backlog.waiting
    by_count = graded(limits.depth, "backlog.depth", depth)
    if age is None:
        return by_count
    return worst([graded(limits.oldest, "backlog.oldest", age), at_most(Severity.WARNING, by_count)])


def at_least(severity: Severity, grade: Grade) -> Grade:
    """The grade, and no less than a severity that stands by itself."""
    return grade if grade.severity >= severity else Grade(severity)


def at_most(severity: Severity, grade: Grade) -> Grade:
    """The grade, and no more than a severity."""
    return grade if grade.severity <= severity else grade._replace(severity=severity)
