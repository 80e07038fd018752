"""Sentinels: whether enough of them are there for a failover, and whether all name the same master."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsdoc.model import Finding, Severity, Unknown, known
from opsdoc.signals.amounts import listed, number
from opsdoc.signals.cache_facts import SentinelView


def judge_sentinels(views: Sequence[SentinelView]) -> Iterator[Finding]:
    """All that is wrong with each master that Sentinels watch."""
    for view in views:
        found = [_disagrees(view), _down(view), _quorum(view), _failover(view), _no_replica(view), _unknown(view)]
        yield from (finding for finding in found if finding is not None)


def _disagrees(view: SentinelView) -> Finding | None:
    """Two addresses for one master, or an address whose node says that it is none."""
    if known(view.agreed) is False:
        return _finding(
            "cache.sentinel-disagrees",
            view,
            Severity.CRITICAL,
            f"the Sentinels do not agree on the master of {view.name}: {listed(view.addresses)}; clients write to more "
            "than one, and what one of them takes is lost",
            "see which Sentinels are cut off from the others, and which node says of itself that it is the master",
        )
    role = known(view.master_role)
    if not view.addresses or role is None or role == "master":
        return None
    return _finding(
        "cache.sentinel-disagrees",
        view,
        Severity.WARNING if view.failover else Severity.CRITICAL,
        f"the Sentinels name {view.addresses[0]} as the master of {view.name}, and it says that it is a {role}: writes "
        "fail there",
        "look again in a few seconds; if it stays, see whether the Sentinels reach that node and each other",
    )


def _down(view: SentinelView) -> Finding | None:
    if not view.down:
        return None
    certain = "o_down" in view.flags.split(",")
    helped = known(view.quorum_ok) is not False
    return _finding(
        "cache.node-dead",
        view,
        Severity.CRITICAL,
        f"{'enough Sentinels take' if certain else 'a Sentinel takes'} {_address(view)} of {view.name} for down"
        f"{'' if helped else ', and they are too few for a failover'}",
        "see whether its process lives or stands still (state T or D)"
        + ("; a replica takes over in some seconds" if helped else "; make a replica the master by hand"),
    )


def _address(view: SentinelView) -> str:
    return f"the master {view.addresses[0]}" if view.addresses else "the master"


def _quorum(view: SentinelView) -> Finding | None:
    if known(view.quorum_ok) is not False:
        return None
    usable, total, needed = known(view.usable), known(view.sentinels), known(view.quorum)
    count = (
        f"{usable:,} of {number(total, 'Sentinel')} can be used"
        if usable is not None and total
        else "too few can be used"
    )
    quorum = f", {needed:,} must call it down and most of all must agree" if needed else ""
    return _finding(
        "cache.sentinel-quorum",
        view,
        Severity.WARNING,
        f"the Sentinels of {view.name} are too few for a failover: {count}{quorum}"
        f"{f' ({view.said})' if view.said else ''}; if the master is lost, nothing takes over",
        "start the Sentinels that are gone; remove those that are gone for good with SENTINEL RESET",
    )


def _failover(view: SentinelView) -> Finding | None:
    if not view.failover:
        return None
    return _finding(
        "cache.failover",
        view,
        Severity.WARNING,
        f"a failover of {view.name} is in progress: {view.failover}",
        "wait some seconds and look again; what is written to the old master meanwhile may be lost",
    )


def _no_replica(view: SentinelView) -> Finding | None:
    if known(view.replicas) != 0:
        return None
    return _finding(
        "cache.no-replica",
        view,
        Severity.WARNING,
        f"{view.name} has no replica that may take over: its Sentinels can do nothing if the master is lost",
        "start a replica, or bring back the node that was one; after a failover the old master comes back as one",
    )


def _unknown(view: SentinelView) -> Finding | None:
    unknown = next((one for one in (view.quorum_ok, view.agreed) if isinstance(one, Unknown)), None)
    if unknown is None:
        return None
    return _finding(
        "cache.unknown",
        view,
        Severity.UNKNOWN,
        f"whether the Sentinels of {view.name} can do a failover is unknown: {unknown.reason}",
        "let SENTINEL be asked; until then nobody knows whether anything takes over",
    )


def _finding(rule: str, view: SentinelView, severity: Severity, summary: str, next_step: str) -> Finding:
    usable = known(view.usable)
    return Finding(
        rule=rule,
        key=f"{rule}:sentinel/{view.name}",
        severity=severity,
        subject=view.name,
        summary=summary,
        evidence=(view.id,) if view.id else (),
        confidence=None if usable is None else f"told by {number(usable, 'Sentinel')}",
        next_step=next_step,
        by_hand=view.by_hand,
    )
