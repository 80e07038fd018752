"""Whether clients of a message queue are stuck, slow, fail or are set up wrongly, by what they tell themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unseen, known
from opsdoc.signals.alike import summed_up
from opsdoc.signals.amounts import duration, listed, number, percent
from opsdoc.signals.backlog_facts import Backlog
from opsdoc.signals.backlog_standing import halted, standing
from opsdoc.signals.backlog_words import per_second, waits
from opsdoc.signals.consumer_facts import NOT_PULLING, STUCK, Consumer, all_halted, by_hand, state_of, waits_for, where

__all__ = ["Consumer", "Limits", "judge", "state_of"]


class Limits(NamedTuple):
    """From which age or share on it matters."""

    since: Limit = Limit(
        STUCK,
        300.0,
        "seconds",
        "with messages at hand and none consumed; mqadmin consumerStatus calls a client blocked after 60 s",
    )
    last_pull: Limit = Limit(
        NOT_PULLING, None, "seconds", "a poll lasts 30 s at most; after 120 s RocketMQ's own client gives a queue up"
    )
    busy: Limit = Limit(
        0.7, None, "ratio", "of the threads' time: above it messages queue up faster than threads become free"
    )
    failed: Limit = Limit(0.05, 0.5, "ratio", "each failure is delivered again: at half the work is mostly in vain")


LATE = 60.0  # seconds: who waits that long is late, as the limit of the signal `backlog` has it


class _Group(NamedTuple):
    """The clients of a group, and what waits for it."""

    name: str
    clients: Sequence[Consumer]
    backlogs: Sequence[Backlog]


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Clients that stand still where no backlog names them, slow and failing ones, and groups that are set up wrongly.

    One finding of a kind for each group; a client that did not answer is a blind spot only where its group's backlog
    does not tell how it goes either.
    """
    groups = list(_groups(observations))
    found = [finding for group in groups for finding in _judge_group(group, limits)]
    yield from summed_up(sorted(found, key=_how_bad, reverse=True))
    if any(finding.severity is not Severity.OK for finding in found):
        return
    blind = [client for group in groups if _untold(group.backlogs) for client in group.clients if _silent(client)]
    if blind:
        yield _unknown(blind)
    elif groups:
        yield _fine([client for group in groups for client in group.clients])


def _groups(observations: Sequence[Observation]) -> Iterator[_Group]:
    clients: dict[str, list[Consumer]] = {}
    backlogs: dict[str, list[Backlog]] = {}
    for one in observations:
        if isinstance(one, Consumer):
            clients.setdefault(one.consumer, []).append(one)
        elif isinstance(one, Backlog) and one.part == "main":
            backlogs.setdefault(one.consumer, []).append(one)
    for name, members in clients.items():
        yield _Group(name, members, backlogs.get(name, []))


def _how_bad(finding: Finding) -> tuple[Severity, float]:
    return finding.severity, 0.0 if finding.threshold is None else finding.threshold.value


def _judge_group(group: _Group, limits: Limits) -> Iterator[Finding]:
    found = [_duplicate(group), _mismatch(group), _slow(group, limits), _failing(group, limits)]
    named = any(halted(one, stuck=all_halted(group.clients, known(one.members))) for one in group.backlogs)
    if not named:  # by its backlog
        found += [_stuck(group, limits), _not_pulling(group, limits)]
    yield from (finding for finding in found if finding is not None)


# ── standing still ───────────────────────────────────────────────────────────────────────────────


def _stuck(group: _Group, limits: Limits) -> Finding | None:
    stuck = [
        (since, client)
        for client in group.clients
        if known(client.cached) and (since := known(client.since)) is not None and since >= limits.since.warn
    ]
    if not stuck:
        return None
    since, worst = max(stuck, key=lambda one: one[0])
    cached = known(worst.cached) or 0
    others = f"; {len(stuck) - 1:,} more of its clients too" if len(stuck) > 1 else ""
    behind = f"; {cached - 1:,} wait behind one, in order" if worst.ordered else ""
    return _finding(
        "consumer.stuck",
        group,
        limits.since.grade(since),
        f"{worst.client} of {group.name} has consumed nothing for {duration(since)} though it has "
        f"{number(cached, 'message')} at hand{behind}: {where(worst) or 'what its threads do was not seen'}{others}",
        [client for _, client in stuck],
    )._replace(threshold=limits.since.crossed("consumers.since", since), next_step=waits_for(worst))


def _not_pulling(group: _Group, limits: Limits) -> Finding | None:
    """It matters only while something waits, or where nobody knows whether anything does."""
    idle = [
        (ago, client)
        for client in group.clients
        if client.state == "not pulling" and (ago := known(client.last_pull)) is not None
    ]
    deep = [backlog for backlog in group.backlogs if backlog.waiting]
    if not idle or not (deep or _untold(group.backlogs)):
        return None
    ago, worst = max(idle, key=lambda one: one[0])
    if limits.last_pull.grade(ago) is Severity.OK:
        return None
    depth = f"; {waits(deep[0])} on {deep[0].topic}" if deep else ""
    return _finding(
        "consumer.not-pulling",
        group,
        limits.last_pull.grade(ago),
        f"{worst.client} of {group.name} has {number(worst.queues, 'queue')} and has fetched nothing for "
        f"{duration(ago)}{depth}",
        [client for _, client in idle],
    )._replace(
        threshold=limits.last_pull.crossed("consumers.last_pull", ago),
        next_step="see its log for flow control, a rebalance that does not end, or errors of its connections",
    )


# ── set up wrongly ───────────────────────────────────────────────────────────────────────────────


def _duplicate(group: _Group) -> Finding | None:
    alike = [client for client in group.clients if client.connections > 1]
    if not alike:
        return None
    return _finding(
        "consumer.duplicate-id",
        group,
        Severity.WARNING,
        f"{alike[0].connections} processes call themselves {alike[0].client} in {group.name}: they share the queues of "
        "one, so some are consumed twice and others by nobody",
        alike,
    )._replace(
        confidence=f"{alike[0].connections} connections with this id",
        next_step="give each process an id of its own (an instance name with the host name and pid)",
    )


def _mismatch(group: _Group) -> Finding | None:
    """Clients of one group that do not subscribe to the same."""
    others = [client for client in group.clients if client.mismatch]
    if not others:
        return None
    different = listed([f"{client.client} ({client.mismatch})" for client in others])
    variants = {client.subscription for client in group.clients if client.subscription}
    return _finding(
        "consumer.mismatch",
        group,
        Severity.WARNING,
        f"the clients of {group.name} do not subscribe to the same: {different}; messages go to clients that do not "
        "want them, and are skipped",
        others,
    )._replace(
        confidence=f"{number(len(variants), 'subscription')} among {number(len(group.clients), 'client')}",
        next_step="make them subscribe to the same or give each subscription its group; during a deploy wait for its "
        "end",
    )


# ── at work ──────────────────────────────────────────────────────────────────────────────────────


def _slow(group: _Group, limits: Limits) -> Finding | None:
    """Whether it is behind because all its threads are busy with what a message takes."""
    behind = [one for one in group.backlogs if _late(one) and (known(one.out_rate) or 0.0) > 0]
    working = [client for client in group.clients if client.queues]
    able = [(client.threads or 0, known(client.consume_seconds) or 0.0) for client in working]
    if not behind or not able or not all(threads and seconds for threads, seconds in able):
        return None
    at_most = sum(threads / seconds for threads, seconds in able)
    comes = sum(known(one.in_rate) or 0.0 for one in behind)
    goes = sum(known(one.out_rate) or 0.0 for one in behind)
    busy = min(1.0, goes / at_most)
    if limits.busy.grade(busy) is Severity.OK:
        return None
    threads, slowest = sum(threads for threads, _ in able), max(seconds for _, seconds in able)
    found = _finding(
        "consumer.slow",
        group,
        limits.busy.grade(busy),
        f"{group.name} is slow, not stuck: a message takes {duration(slowest)} on {number(threads, 'thread')}, so "
        f"{per_second(at_most)} at most are consumed, and {per_second(comes)} come in; "
        f"{waits(max(behind, key=lambda one: one.waiting))}",
        working,
    )
    return found._replace(
        evidence=(*(one.id for one in behind[:2] if one.id), *found.evidence),
        threshold=limits.busy.crossed("consumers.busy", busy),
        confidence=f"its threads are busy {percent(busy)} of the time",
        next_step="see what a message waits for; more threads or clients help as long as that bears it",
    )


def _late(backlog: Backlog) -> bool:
    """Whether it has fallen behind, and not merely works at its limit."""
    found = standing(backlog)
    return found == "growing" or (found == "behind" and (known(backlog.oldest_age) or 0.0) >= LATE)


def _failing(group: _Group, limits: Limits) -> Finding | None:
    """Whether what it consumes fails, which comes back and ends among the dead letters."""
    failed = sum(known(client.failed_rate) or 0.0 for client in group.clients)
    tried = failed + sum(known(client.ok_rate) or 0.0 for client in group.clients)
    if not failed or limits.failed.grade(failed / tried) is Severity.OK:
        return None
    worst = max(group.clients, key=lambda client: known(client.failed_rate) or 0.0)
    return _finding(
        "consumer.failing",
        group,
        limits.failed.grade(failed / tried),
        f"{group.name} fails {percent(failed / tried)} of its messages, {per_second(failed)} of {per_second(tried)}, "
        f"most of them on {worst.client}; each is delivered again, and ends among the dead letters",
        [worst],
    )._replace(
        threshold=limits.failed.crossed("consumers.failed", failed / tried),
        next_step=f"look in the log of {worst.client} for what it throws: no broker is told why",
    )


# ── in order, or not known ───────────────────────────────────────────────────────────────────────


def _silent(client: Consumer) -> bool:
    return client.state == "unknown"


def _untold(backlogs: Sequence[Backlog]) -> bool:
    """Whether the backlogs of a group do not tell how it goes."""
    return all(standing(backlog) in ("unknown", "broadcast") for backlog in backlogs)


def _unknown(clients: Sequence[Consumer]) -> Finding:
    group = _Group(clients[0].consumer, clients, [])
    names = listed(list(dict.fromkeys(client.consumer for client in clients)))
    reason = next((f": {one.since.reason}" for one in clients if isinstance(one.since, Unknown)), "")
    return _finding(
        "consumer.unknown",
        group,
        Severity.UNKNOWN,
        f"whether {number(len(clients), 'client')} of {names} "
        f"{'consumes' if len(clients) == 1 else 'consume'} is unknown{reason}",
        clients,
    )._replace(next_step="see whether they live; one that does not answer the broker may hang as a whole")


def _fine(clients: Sequence[Consumer]) -> Finding:
    silent = sum(map(_silent, clients))
    group = _Group("all", clients, [])
    said = f"{number(len(clients), 'client')} asked" + (f", {silent:,} without an answer" if silent else "")
    summary = f"{said}: none has stood still for a minute"
    return _finding("consumer.fine", group, Severity.OK, summary, clients)._replace(subject="clients")


def _finding(rule: str, group: _Group, severity: Severity, summary: str, clients: Sequence[Consumer]) -> Finding:
    """A finding about a group, with the clients that it is about as evidence; they tell it themselves."""
    return Finding(
        rule=rule,
        key=f"{rule}:{group.name}",
        severity=severity,
        subject=f"clients of {group.name}",
        summary=summary,
        evidence=tuple(client.id for client in clients[:5] if client.id),
        confidence="told by the clients themselves",
        by_hand=by_hand(clients[0]) if severity is not Severity.OK else (),
    )
