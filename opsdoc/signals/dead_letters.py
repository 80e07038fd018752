"""Messages that failed: those that wait to be delivered again, and those that were given up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from opsdoc.model import Finding, Observation, Severity, Unknown, known, measure
from opsdoc.signals.alike import is_bad
from opsdoc.signals.amounts import duration, listed, number
from opsdoc.signals.backlog_facts import Backlog
from opsdoc.signals.backlog_standing import Grade, at_most, by_age_and_count, graded, worst
from opsdoc.signals.backlog_words import finding, groups, named, per_second, together, window

if TYPE_CHECKING:
    from opsdoc.signals.backlog import Limits


class DeadLetter(Observation):
    """Dead letters of a group that are alike, of those that were looked at: where they came from, how often tried."""

    kind: ClassVar[str] = "dead_letter"
    count: int = measure("like this", "count", "main", default=0)
    of: int = measure("looked at", "count", "line", default=0)
    consumer: str = measure("consumer", default="")
    origin: str | Unknown | None = measure("from", show="line")
    reason: str | Unknown | None = measure("reason", show="line")
    retried: int | Unknown | None = measure("times retried", "count", "line")
    oldest_age: float | Unknown | None = measure("oldest", "seconds", "line")
    newest_age: float | Unknown | None = measure("newest", "seconds", "line")
    keys: tuple[str, ...] = measure("keys", default=())
    example: str | None = measure("example")


# ── retries ──────────────────────────────────────────────────────────────────────────────────────


def judge_retries(backlogs: Sequence[Backlog], limits: Limits) -> Iterator[Finding]:
    """Retries that are many or late, those whose number is unknown, and how many there are where that is fine."""
    told = [one for one in backlogs if not isinstance(one.depth, Unknown)]
    judged = [(one, _retry(one, limits)) for one in told]
    yield from (found for _, found in judged if is_bad(found))
    yield from _hidden([one for one in told if isinstance(one.in_backoff, Unknown)])
    fine = [one for one, found in judged if not is_bad(found) and not isinstance(one.in_backoff, Unknown)]
    if fine:
        waiting = [one for one in fine if _retries(one)]
        said = number(sum(map(_retries, fine)), "retry waits", "retries wait")
        where = f" ({named(waiting)})" if waiting else ""
        yield together("backlog.retry", fine, Severity.OK, f"{said} in {groups(fine)}{where}")


def _retries(one: Backlog) -> int:
    return one.waiting + (known(one.in_backoff) or 0)


def _retry(one: Backlog, limits: Limits) -> Finding:
    total, later = _retries(one), known(one.in_backoff)
    grades = [graded(limits.retries, "backlog.retries", total)]
    if one.waiting:  # else the age, if there is one, is of what waits on purpose
        grades.append(at_most(Severity.WARNING, by_age_and_count(one, limits)))
    age = known(one.oldest_age)
    due = f"{one.waiting:,} due" + (f", oldest {duration(age)}" if age is not None and one.waiting else "")
    backoff = f", {later:,} waiting for their next delivery" if later is not None else ""
    return finding(
        "backlog.retry",
        one,
        worst(grades),
        f"{number(total, 'message')} of {one.consumer} failed and will be delivered again: {due}{backoff}",
        "look in the log of its clients for what they throw: no broker is told why; what fails each time ends among "
        "the dead letters, hours later",
    )


def _hidden(found: Sequence[Backlog]) -> Iterator[Finding]:
    """A retry that waits is in no depth, so not to know them is a blind spot."""
    reasons: dict[str, list[Backlog]] = {}
    for one in found:
        if isinstance(one.in_backoff, Unknown):
            reasons.setdefault(one.in_backoff.reason, []).append(one)
    for reason, those in reasons.items():
        yield together(
            "backlog.retry",
            those,
            Severity.UNKNOWN,
            f"how many retries of {groups(those)} ({named(those)}) wait for their next delivery is unknown: {reason}",
        )._replace(
            key=f"backlog.retry:unknown/{those[0].consumer}",
            next_step="see why it could not be read: what failed and waits is in no other number",
        )


# ── dead letters ─────────────────────────────────────────────────────────────────────────────────


def judge_dead_letters(backlogs: Sequence[Backlog], peeked: Sequence[DeadLetter], limits: Limits) -> Iterator[Finding]:
    """Dead letters that are new, those of unknown age, and one finding for those that merely stand there."""
    standing: list[Backlog] = []
    none: list[Backlog] = []
    for one in backlogs:
        if isinstance(one.depth, Unknown):
            continue
        new = _new(one)
        if new is None or limits.dead.grade(new) is not Severity.OK:
            yield _dead(one, new, [letter for letter in peeked if letter.consumer == one.consumer], limits)
        else:
            (standing if one.waiting else none).append(one)
    if standing:
        number_of = number(sum(one.waiting for one in standing), "dead letter")
        seen = [letter for letter in peeked if any(letter.consumer == one.consumer for one in standing)]
        found = together(
            "backlog.dead-letters",
            standing,
            Severity.OK,
            f"{number_of} of {groups(standing)} ({named(standing)}), none of them new{_looked_at(seen)}",
        )
        yield found._replace(evidence=(*found.evidence, *_cited(seen)))
    elif none:
        yield together("backlog.dead-letters", none, Severity.OK, f"no dead letters of {groups(none)}")


def _new(one: Backlog) -> int | None:
    """How many came in the last ten minutes or in the window, whichever are more; None where that is unknown."""
    if not one.waiting:
        return 0
    grown = one.waiting - one.depth_before if one.depth_before is not None and one.window else None
    told = [count for count in (known(one.recent), grown) if count is not None]
    return max(0, *told) if told else None


def _dead(one: Backlog, new: int | None, peeked: Sequence[DeadLetter], limits: Limits) -> Finding:
    if new is None:
        grade = Grade(Severity.WARNING)
        said = f"{number(one.waiting, 'dead letter')} of {one.consumer}, of unknown age"
    else:
        grade = graded(limits.dead, "backlog.dead", new)
        since = "in the last 10 min" if (known(one.recent) or 0) >= new else window(one).strip()
        rate = known(one.in_rate)
        said = (
            f"{one.consumer} gave up {number(new, 'message')} {since}{f', {per_second(rate)}' if rate else ''}; "
            f"{number(one.waiting, 'dead letter')} in all"
        )
    keys = listed([key for letter in peeked for key in letter.keys], 2)
    found = finding(
        "backlog.dead-letters",
        one,
        grade,
        f"{said}{_looked_at(peeked)}",
        f"look in the log of its clients for {keys or 'what they throw'}: no broker is told why; mend the cause, then "
        "send them again",
    )
    return found._replace(evidence=(*found.evidence, *_cited(peeked)))


def _looked_at(peeked: Sequence[DeadLetter]) -> str:
    """`; 8 of 10 looked at came from order-topic after 16 retries (keys A1, A2)`."""
    if not peeked:
        return ""
    most = max(peeked, key=lambda letter: letter.count)
    told = [f"{most.count:,} of {most.of:,} looked at"]
    if origin := known(most.origin):
        told.append(f"came from {origin}")
    if (retried := known(most.retried)) is not None:
        told.append(f"after {number(retried, 'retry', 'retries')}")
    if reason := known(most.reason):
        told.append(f"because {reason}")
    keys = f" (keys {listed(most.keys)})" if most.keys else ""
    return f"; {' '.join(told)}{keys}"


def _cited(peeked: Sequence[DeadLetter]) -> tuple[str, ...]:
    return tuple(letter.id for letter in peeked[:3] if letter.id)
