"""Backlogs that need no finding of their own: drained, keeping up, never consumed; and those that nobody can know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from opsdoc.model import Finding, Severity, Unknown, known
from opsdoc.signals.amounts import number
from opsdoc.signals.backlog_facts import Backlog
from opsdoc.signals.backlog_main import Case
from opsdoc.signals.backlog_standing import Standing
from opsdoc.signals.backlog_words import groups, named, together, waits, who


def judge_unknown(backlogs: Sequence[Backlog]) -> Iterator[Finding]:
    """One finding for each reason why a depth is unknown; a broadcast group has none that a broker could know."""
    reasons: dict[str, list[Backlog]] = {}
    for one in backlogs:
        if isinstance(one.depth, Unknown) and one.mode != "broadcast":
            reasons.setdefault(one.depth.reason, []).append(one)
    for reason, found in reasons.items():
        yield together(
            "backlog.unknown",
            found,
            Severity.UNKNOWN,
            f"what waits for {_who(found)} is unknown: {reason}",
        )._replace(
            key=f"backlog.unknown:{found[0].subject}",
            next_step="see why it could not be read; until then it is neither drained nor behind",
            by_hand=found[0].by_hand,
        )


def _who(found: Sequence[Backlog]) -> str:
    return who(found[0]) if len(found) == 1 else f"{groups(found)} ({named(found)})"


def judge_fine(cases: Sequence[Case], silent: Sequence[Case], bad: AbstractSet[str]) -> Iterator[Finding]:
    """What is drained or keeps up, by groups; `silent` have no finding of their own, groups in `bad` a bad one."""
    waiting = {case.backlog.consumer for case in cases if case.backlog.waiting and case.standing != "never-consumed"}
    drained = [one for one in _those(cases, "drained") if one.consumer not in bad | waiting]
    keep = [one for one in _those(silent, "behind", "growing") if one.consumer not in bad]
    other = "other " if bad or len(silent) < len(cases) else ""
    if drained:
        yield together("backlog.drained", drained, Severity.OK, f"{_count(drained, other)} drained")
    if keep:
        deepest = max(keep, key=lambda one: (known(one.oldest_age) or 0.0, one.waiting))
        most = f": {waits(deepest)}" if len(keep) == 1 else f", at most {waits(deepest)} ({who(deepest)})"
        verb = "keeps up" if _groups(keep) == 1 else "keep up"
        yield together("backlog.keeps-up", keep, Severity.OK, f"{_count(keep, other)} {verb}{most}")
    if never := _those(cases, "never-consumed"):
        yield _never(never)
    if idle := [case.backlog for case in cases if case.backlog.idle_members and case.backlog.consumer not in bad]:
        yield _in_reserve(idle)
    if broadcast := _those(cases, "broadcast"):
        yield _broadcast(broadcast, Severity.UNKNOWN if len(broadcast) == len(cases) else Severity.OK)


def _those(cases: Sequence[Case], *standings: Standing) -> list[Backlog]:
    return [case.backlog for case in cases if case.standing in standings]


def _groups(found: Sequence[Backlog]) -> int:
    return len({one.consumer for one in found})


def _count(found: Sequence[Backlog], other: str) -> str:
    return number(_groups(found), f"{other}group")


def _in_reserve(found: Sequence[Backlog]) -> Finding:
    idle = number(sum(one.idle_members or 0 for one in found), "client")
    said = f"{groups(found)} with more clients than queues ({named(found)}): {idle} in reserve"
    return together("backlog.idle-members", found, Severity.OK, said)


def _never(found: Sequence[Backlog]) -> Finding:
    kept = sum(one.waiting for one in found)
    earliest = [one for one in found if one.consume_from == "earliest"]
    latest = [one for one in found if one.consume_from == "latest"]
    if len(earliest) == len(found):
        whose = "they begin with all of it"
    elif len(latest) == len(found):
        whose = "they begin with what comes then, so it is no backlog"
    else:
        whose = "it is a backlog only for those that begin with the earliest"
    return together(
        "backlog.never-consumed",
        found,
        Severity.OK,
        f"{groups(found)} ({named(found)}) never consumed and without a client; "
        f"{number(kept, 'message is', 'messages are')} kept there: once started, {whose}",
    )


def _broadcast(found: Sequence[Backlog], severity: Severity) -> Finding:
    finding = together(
        "backlog.broadcast",
        found,
        severity,
        f"{groups(found)} in broadcast mode ({named(found)}): each client keeps its own offsets, so no broker knows "
        "what waits for them",
    )
    if severity is Severity.OK:
        return finding
    return finding._replace(next_step="look at the clients: each has its offsets in a file of its own, or in its log")
