"""What is wrong beside the depth of a backlog: lost messages, offsets out of range, queues and clients in vain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, known
from opsdoc.signals.alike import is_bad
from opsdoc.signals.amounts import duration, number, percent
from opsdoc.signals.backlog_facts import Backlog
from opsdoc.signals.backlog_standing import Grade, at_most, graded
from opsdoc.signals.backlog_words import finding, groups, named, together, who, window

if TYPE_CHECKING:
    from opsdoc.signals.backlog import Limits

BETWEEN = 1.0  # second: what enters between reading the end and the commit looks as if it were beyond the end


def judge_notes(one: Backlog, limits: Limits, *, behind: bool) -> Iterator[Finding]:
    """What is wrong beside its depth; `behind` says that the depth is a trouble, too."""
    notes = [_lost(one, limits), _ahead(one, limits), _rewound(one), _unread(one, limits), _redelivered(one, limits)]
    notes += [_no_more_clients(one)] if one.idle_members and behind else []
    yield from (note for note in notes if note is not None and is_bad(note))


def _lost(one: Backlog, limits: Limits) -> Finding:
    lost = known(one.lost) or 0
    grade = graded(limits.expired, "backlog.expired", lost)
    if one.members == 0:  # nobody was there to get them
        grade = at_most(Severity.WARNING, grade)
    kept = f" (kept for {duration(one.retention)})" if one.retention else ""
    return finding(
        "backlog.lost",
        one,
        grade,
        f"{number(lost, 'message')} of {one.topic} expired before {one.consumer} got them{kept}: they are gone",
        "let messages be kept for longer before more are lost, then see why it is so far behind",
    )


def _ahead(one: Backlog, limits: Limits) -> Finding | None:
    if one.ahead <= (known(one.in_rate) or 0.0) * BETWEEN:
        return None
    return finding(
        "backlog.ahead",
        one,
        graded(limits.beyond, "backlog.beyond", one.ahead),
        f"{who(one)} has committed {number(one.ahead, 'message')} beyond the end: as many new ones are skipped, or its "
        "offset is set back",
        "see whether the topic was made anew or the broker lost its end; set the offset to the end that is there",
    )


def _rewound(one: Backlog) -> Finding | None:
    if not one.rewound:
        return None
    return finding(
        "backlog.rewound",
        one,
        Grade(Severity.WARNING),
        f"{who(one)} was set back by {number(one.rewound, 'message')}{window(one)}: they are consumed again",
        "see who reset the offset; if nobody did, two clients commit for the same queue",
    )


def _unread(one: Backlog, limits: Limits) -> Finding:
    return finding(
        "backlog.unread-queues",
        one,
        graded(limits.unread, "backlog.unread", one.unread_queues),
        f"{number(one.unread_queues, 'message')} of {one.topic} lie in queues that {one.consumer} never reads: more "
        "are written than read",
        "let as many queues be read as are written, until those are empty",
    )


def _redelivered(one: Backlog, limits: Limits) -> Finding | None:
    again = known(one.redelivered)
    if again is None:
        return None
    return finding(
        "backlog.redelivery",
        one,
        graded(limits.again, "backlog.again", again),
        f"{percent(again)} of what {who(one)} gets was delivered before: it fails, or takes longer than it may",
        "look in the log of its clients for what they throw, and compare the time a message takes with the timeout",
    )


def _no_more_clients(one: Backlog) -> Finding:
    idle, clients = one.idle_members or 0, number(known(one.members) or 0, "client")
    return finding(
        "backlog.idle-members",
        one,
        Grade(Severity.WARNING),
        f"{number(idle, 'client')} of {who(one)} {'has' if idle == 1 else 'have'} no queue, "
        f"with {number(one.queue_count, 'queue')} for {clients}, so that more clients do not make it faster",
        "add queues to the topic, or threads to the clients, where the order of messages allows",
    )


def judge_together(backlogs: Sequence[Backlog]) -> Iterator[Finding]:
    """What is told once for all that it is true of."""
    aged = [one for one in backlogs if one.source_age is not None]
    if aged:
        oldest = duration(max(one.source_age or 0.0 for one in aged))
        yield together(
            "backlog.from-slave",
            aged,
            Severity.WARNING,
            f"the offsets of {groups(aged)} ({named(aged)}) were read from a slave and are up to {oldest} old: they "
            "tell no rates, and who consumed since then looks behind",
        )._replace(next_step="see why the master does not answer; until then a backlog may be smaller than it looks")
