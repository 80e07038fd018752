"""Whether consumers keep up: backlog by age and count, trend, who holds it up, what is lost, retries, dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unseen, known
from opsdoc.signals.alike import is_bad, summed_up
from opsdoc.signals.backlog_facts import Backlog, DrainTime, Part
from opsdoc.signals.backlog_fine import judge_fine, judge_unknown
from opsdoc.signals.backlog_main import Case, judge_case
from opsdoc.signals.backlog_notes import judge_notes, judge_together
from opsdoc.signals.backlog_standing import standing
from opsdoc.signals.consumer_facts import Consumer, all_halted
from opsdoc.signals.dead_letters import DeadLetter, judge_dead_letters, judge_retries

__all__ = ["Backlog", "DeadLetter", "DrainTime", "Limits", "Part", "judge"]


class Limits(NamedTuple):
    """From which age, number or rate on it matters."""

    oldest: Limit = Limit(
        60.0,
        300.0,
        "seconds",
        "who waits for an order notices a minute; Alibaba's runbook for RocketMQ alarms on the age beside the count, "
        "commonly from 5 min on",
    )
    depth: Limit = Limit(
        10_000, 100_000, "count", "judged where the age is unknown, else a warning at most: a count alone can be busy"
    )
    idle: Limit = Limit(
        10.0,
        60.0,
        "seconds",
        "nothing consumed while something waits: 10 s are two commits of 5 s; mqadmin consumerStatus takes a client "
        "for blocked after 60 s",
    )
    growth: Limit = Limit(
        1.0, None, "per_second", "in minus out, and over 5 % of the input: less than that is noise of a short window"
    )
    drain: Limit = Limit(300.0, None, "seconds", "what is drained within 5 min is busy, not behind")
    expired: Limit = Limit(1, 1000, "count", "each is a message that the consumer will never get")
    beyond: Limit = Limit(1, None, "count", "so many new messages are skipped before the consumer gets one")
    unread: Limit = Limit(1, None, "count", "each waits in a queue that no consumer is ever given")
    dead: Limit = Limit(
        1, 100, "count", "in the last 10 minutes or in the window: each was given up after all its retries"
    )
    retries: Limit = Limit(
        100, None, "count", "a few fail at any time; up to 16 deliveries over 5 h stand before the dead letters"
    )
    again: Limit = Limit(0.05, 0.5, "ratio", "of what is delivered: at half of it the work is mostly in vain")


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Each consumer and topic, worst first; then one finding for all that are alike, drained, or unknown."""
    backlogs = [o for o in observations if isinstance(o, Backlog)]
    clients: dict[str, list[Consumer]] = {}
    for one in observations:
        if isinstance(one, Consumer):
            clients.setdefault(one.consumer, []).append(one)
    cases = [_case(one, clients.get(one.consumer, ())) for one in backlogs if one.part == "main"]
    judged = [(case, *_judge_case(case, limits)) for case in cases]
    found = [finding for _, _, findings in judged for finding in findings]
    bad = {case.backlog.consumer for case, _, findings in judged if any(map(is_bad, findings))}
    found += judge_retries([one for one in backlogs if one.part == "retry"], limits)
    dead = [one for one in backlogs if one.part == "dead-letter"]
    found += judge_dead_letters(dead, [o for o in observations if isinstance(o, DeadLetter)], limits)
    yield from summed_up(sorted(found, key=_how_bad, reverse=True))
    yield from judge_together([case.backlog for case in cases])
    yield from judge_unknown(backlogs)
    yield from judge_fine(cases, [case for case, told, _ in judged if not told], bad)


def _judge_case(case: Case, limits: Limits) -> tuple[bool, list[Finding]]:
    """Whether it has a finding of its own, and all findings about it."""
    finding = judge_case(case, limits)
    notes = judge_notes(case.backlog, limits, behind=finding is not None and is_bad(finding))
    return finding is not None, [*([] if finding is None else [finding]), *notes]


def _case(backlog: Backlog, clients: Sequence[Consumer]) -> Case:
    return Case(backlog, standing(backlog, stuck=all_halted(clients, known(backlog.members))), clients)


def _how_bad(finding: Finding) -> tuple[Severity, float]:
    """Worst first, and of those that crossed the same limit the one that crossed it furthest."""
    crossed = finding.threshold
    return finding.severity, 0.0 if crossed is None else crossed.value / (crossed.warn or 1.0)
