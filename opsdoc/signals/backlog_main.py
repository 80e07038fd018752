"""What is wrong with a consumer and its topic: stuck, blocked, without consumers, growing, behind or slowly drained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from opsdoc.model import Finding, Severity, Unknown, known
from opsdoc.signals.amounts import duration, listed, number
from opsdoc.signals.backlog_consumers import Proof, proof
from opsdoc.signals.backlog_facts import Backlog, DrainTime
from opsdoc.signals.backlog_standing import (
    ABANDONED,
    Grade,
    Standing,
    at_least,
    at_most,
    by_age_and_count,
    graded,
    uneven,
    worst,
)
from opsdoc.signals.backlog_words import drains, finding, per_second, rates, waits, window
from opsdoc.signals.consumer_facts import Consumer

if TYPE_CHECKING:
    from opsdoc.signals.backlog import Limits


class Case(NamedTuple):
    """A consumer and topic, where it stands, and the clients of its group that were asked."""

    backlog: Backlog
    standing: Standing
    clients: Sequence[Consumer]


def judge_case(case: Case, limits: Limits) -> Finding | None:
    """What is wrong with it, or how it drains; None where that is summed up with others."""
    judges = {
        "disabled": _disabled,
        "no-consumer": _no_consumer,
        "stalled": _stalled,
        "skewed": _partly_stalled,
        "growing": _growing,
        "draining": _draining,
        "behind": _behind,
    }
    judge = judges.get(case.standing)
    return None if judge is None else judge(case, limits)


# ── nobody consumes ──────────────────────────────────────────────────────────────────────────────


def _disabled(case: Case, limits: Limits) -> Finding:
    one = case.backlog
    return finding(
        "backlog.disabled",
        one,
        at_least(Severity.WARNING, by_age_and_count(one, limits)),
        f"{one.consumer} may not consume {one.topic}, {one.disabled_by or 'consuming is disabled'}: {waits(one)}",
        "see who switched it off and why before it is switched on: what waits comes all at once",
    )


def _no_consumer(case: Case, limits: Limits) -> Finding:
    one = case.backlog
    age = known(one.oldest_age)
    abandoned = (age or 0.0) >= ABANDONED or bool(known(one.lost))
    grade = by_age_and_count(one, limits)
    if abandoned or isinstance(one.never_consumed, Unknown):  # it may never have been used
        grade = at_most(Severity.WARNING, grade)
    comes = known(one.in_rate)
    more = f", {per_second(comes)} come in" if comes else ""
    return finding(
        "backlog.no-consumer",
        one,
        at_least(Severity.WARNING, grade),
        f"{one.consumer} has no consumer for {one.topic}: {waits(one)}{more}{_bites(one)}"
        f"{'; it looks abandoned' if abandoned else ''}",
        "ask whether anybody needs the group; if not, delete it, for it hides the groups that matter"
        if abandoned
        else "see why its clients are gone: their machines, their log, the last deploy",
    )


def _stalled(case: Case, limits: Limits) -> Finding:
    """All of it stands still though there are consumers, or may be."""
    one, proven = case.backlog, proof(case.backlog, case.clients)
    seen = [one.window if one.trend == "stalled" else None, known(one.idle), proven.since if proven else None]
    since = max((seconds for seconds in seen if seconds is not None), default=0.0)
    deep = sum(1 for part in one.parts if part.depth)
    queues = f", {deep:,} of {number(one.queue_count, 'queue')}" if 0 < deep < one.queue_count else ""
    first = " and has never committed anything" if one.uncommitted else ""
    return _held_up(
        case,
        proven,
        since,
        limits,
        f"{one.consumer} is {_how(case, proven)} on {one.topic}{first}: {waits(one)}{_order(case, proven)}, "
        f"{_nothing(one, since)}{queues}",
    )


def _partly_stalled(case: Case, limits: Limits) -> Finding:
    """Some queues stand still while others move."""
    one, proven = case.backlog, proof(case.backlog, case.clients)
    since = max(one.window or 0.0, (proven.since if proven else None) or 0.0)
    still = one.stalled
    depth = sum(part.depth or 0 for part in still)
    names = listed([part.name for part in still], 2)
    number_of = max(one.stalled_parts or 0, len(still))
    age = known(one.oldest_age)
    return _held_up(
        case,
        proven,
        since,
        limits,
        f"{one.consumer} is {_how(case, proven)} on {number_of:,} of {number(one.queue_count, 'queue')} "
        f"of {one.topic}: {depth:,} waiting in {names}{_order(case, proven)}"
        f"{f', oldest {duration(age)}' if age is not None else ''}, {_nothing(one, since)} there",
    )


def _in_order(case: Case, proven: Proof | None) -> bool:
    return bool(case.backlog.ordered) or (proven is not None and proven.ordered)


def _how(case: Case, proven: Proof | None) -> str:
    return "blocked" if _in_order(case, proven) else "stuck"


def _order(case: Case, proven: Proof | None) -> str:
    """That it is consumed in order, and that one message holds it up where a client has it in hand."""
    if proven is not None and proven.ordered:
        return " behind one message, in order"
    return ", in order" if case.backlog.ordered else ""


def _nothing(backlog: Backlog, since: float) -> str:
    if backlog.window and since <= backlog.window:
        return f"nothing consumed{window(backlog)}"
    return f"nothing consumed for {duration(since)}"


def _held_up(case: Case, proven: Proof | None, since: float, limits: Limits, summary: str) -> Finding:
    """The finding about what stands still, with the client that is proven to hold it up."""
    one = case.backlog
    by_idle = graded(limits.idle, "backlog.idle", since)
    rule = "blocked" if _in_order(case, proven) else "skewed" if case.standing == "skewed" else "stalled"
    still = one.stalled or tuple(part for part in one.parts if part.depth)
    owners = list(dict.fromkeys(part.owner for part in still if part.owner))
    found = finding(
        f"backlog.{rule}",
        one,
        at_least(Severity.WARNING, worst([by_idle, by_age_and_count(one, limits)])),
        f"{summary}{_members(case, owners)}",
        f"take a thread dump of {listed(owners[:2]) if owners else 'its clients'} and look at the consume threads only",
    )
    if proven is None:
        return found
    return found._replace(
        summary=f"{summary}, {proven.words}",
        evidence=(*found.evidence, *proven.evidence),
        confidence=f"{found.confidence}, and told by the client itself",
        next_step=proven.next_step,
        by_hand=tuple(dict.fromkeys((*proven.by_hand, *found.by_hand))),
    )


def _members(case: Case, owners: Sequence[str]) -> str:
    """Who has the queues, where no client is proven to be stuck."""
    if owners:
        return f", {'client' if len(owners) == 1 else 'clients'} {listed(owners, 2)}"
    members = known(case.backlog.members)
    return f", {number(members, 'client')}" if members else ", clients unknown"


# ── they do not consume fast enough ──────────────────────────────────────────────────────────────


def _growing(case: Case, limits: Limits) -> Finding | None:
    one = case.backlog
    growth = (known(one.in_rate) or 0.0) - (known(one.out_rate) or 0.0)
    by_growth = graded(limits.growth, "backlog.growth", growth)
    grade = worst([by_age_and_count(one, limits), by_growth])
    if grade.severity is Severity.OK:
        return None
    return _uneven(
        one,
        grade,
        "backlog.growing",
        f"{one.consumer} grows by {per_second(growth)} on {one.topic}: {waits(one)}; {rates(one)}; at this rate it "
        f"never drains{_bites(one)}",
        "see whether more comes in than usual or the consumers became slower; more clients help up to the number of "
        "queues",
    )


def _behind(case: Case, limits: Limits) -> Finding | None:
    """It waits too long, and what it does is not clear."""
    one = case.backlog
    grade = by_age_and_count(one, limits)
    if grade.severity is Severity.OK:
        return None
    told = rates(one)
    trend = f"{told}: it neither grows nor drains clearly" if told else "whether it grows or drains was not seen"
    return _uneven(
        one,
        grade,
        "backlog.behind",
        f"{one.consumer} is behind on {one.topic}: {waits(one)}; {trend}",
        "look longer, with --window 60s: the rates lie within the steps in which offsets are committed"
        if told
        else "look twice, some commits apart: --window 12s",
    )


def _draining(case: Case, limits: Limits) -> Finding:
    """It is on the mend, so a warning at most."""
    one = case.backlog
    time = one.drain_seconds
    by_time = Grade(Severity.OK)
    if isinstance(time, DrainTime):
        by_time = graded(limits.drain, "backlog.drain", time.high)
        when = drains(time)
    else:
        when = "when it is drained is unknown" + (f": {time.reason}" if time is not None else "")
    return finding(
        "backlog.draining",
        one,
        worst([at_most(Severity.WARNING, by_age_and_count(one, limits)), by_time]),
        f"{one.consumer} drains {one.topic}: {waits(one)}; {rates(one)}; {when}",
        "wait, and see that the rates stay as they are; more clients help up to the number of queues",
    )


def _uneven(one: Backlog, grade: Grade, rule: str, summary: str, next_step: str) -> Finding:
    """The finding, or where one queue holds far more than the others, that this is the cause."""
    if not uneven(one):
        return finding(rule, one, grade, summary, next_step)
    deepest = max(one.parts, key=lambda part: part.depth or 0)
    owner = f", which {deepest.owner} has" if deepest.owner else ""
    return finding(
        "backlog.skewed",
        one,
        grade,
        f"{summary}; {deepest.depth or 0:,} of it in one of {number(one.queue_count, 'queue')}, {deepest.name}{owner}",
        "see whether one key gets most of the messages, or the client of that queue is slower than the others",
    )


def _bites(one: Backlog) -> str:
    """When retention begins to delete what waits, if it is never consumed faster."""
    age, comes, goes = known(one.oldest_age), known(one.in_rate), known(one.out_rate)
    if one.retention is None or age is None or comes is None or goes is None or comes <= goes:
        return ""
    left = (one.retention - age) / (1 - goes / comes)  # the oldest ages the slower the more is consumed
    return f"; retention deletes the first in about {duration(left)}" if left > 0 else "; retention deletes it now"
