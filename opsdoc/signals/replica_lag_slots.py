"""Replication slots: log that is kept for a reader that is away, until the disk is full or the slot is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, Threshold, Unknown, known
from opsdoc.signals.amounts import listed, number, percent
from opsdoc.signals.cache_words import size
from opsdoc.signals.contention_facts import DbNode
from opsdoc.signals.db_words import cited, crossed, reasons
from opsdoc.signals.replica_lag_case import Case
from opsdoc.signals.replica_lag_facts import ReplicationSlot

if TYPE_CHECKING:
    from opsdoc.signals.replica_lag import Limits


def judge_slots(slots: Sequence[ReplicationSlot], cases: Sequence[Case], limits: Limits) -> Iterator[Finding]:
    """At most one finding for each slot. One that is lost is told with its replica where that is known."""
    told = {case.lag.primary for case in cases if case.lag.slot_lost}
    for slot in slots:
        if slot.status == "lost":
            if slot.node not in told:
                yield _lost(slot)
        elif (found := _retains(slot, limits)) is not None:
            yield found
        elif slot.active is False:
            yield _inactive(slot)
        elif isinstance(slot.active, Unknown) or isinstance(slot.retained, Unknown):
            yield _unknown(slot)


def _lost(slot: ReplicationSlot) -> Finding:
    return _finding(
        "replica.slot-lost",
        slot,
        Severity.CRITICAL,
        f"the slot {slot.slot} of {slot.node} is lost: the log that its reader still needs is gone, so that it never "
        "catches up",
        f"rebuild whoever reads it ({_reader(slot)}), then drop the slot and make it anew; see what "
        "max_slot_wal_keep_size allows and how long its reader was away",
    )


def _retains(slot: ReplicationSlot, limits: Limits) -> Finding | None:
    retained, free = known(slot.retained), known(slot.disk_free)
    share = None if retained is None or free is None else retained / max(free, 1)
    severity = Severity.OK if share is None else limits.slot_disk.grade(share)
    unreserved = slot.status == "unreserved"
    if severity is Severity.OK and not unreserved:
        return None
    kept = f"keeps {size(retained)} of log" if retained is not None else "keeps log"
    disk = f", {percent(min(share, 9.99))} of what is free on the disk" if share is not None else ""
    next_loss = "; it is about to be lost: the next checkpoint may remove what its reader needs" if unreserved else ""
    return _finding(
        "replica.slot-retains",
        slot,
        max(severity, Severity.WARNING),
        f"the slot {slot.slot} of {slot.node} {kept}{disk}{'' if slot.active else ', and nobody reads it'}{next_loss}",
        f"bring its reader back ({_reader(slot)}); if it never comes back, pg_drop_replication_slot() frees the log, "
        "and whoever used it must be rebuilt",
        crossed(limits.slot_disk, "replica_lag.slot_disk", share) if share is not None else None,
    )


def _inactive(slot: ReplicationSlot) -> Finding:
    retained, safe = known(slot.retained), known(slot.safe)
    kept = f"keeps {size(retained)} of log" if retained is not None else "keeps log"
    until = (
        f", and is lost after {size(safe)} more"
        if safe is not None
        else ", without a limit"
        if slot.safe is None
        else ""
    )
    return _finding(
        "replica.slot-inactive",
        slot,
        Severity.WARNING,
        f"nobody reads the slot {slot.slot} of {slot.node}, which {kept}{until}",
        f"see why its reader is away ({_reader(slot)}); drop the slot only if it never comes back",
    )


def _unknown(slot: ReplicationSlot) -> Finding:
    why = reasons((slot.active, slot.retained))
    return _finding(
        "replica.cannot-know",
        slot,
        Severity.UNKNOWN,
        f"what the slot {slot.slot} of {slot.node} keeps is unknown: {why}",
        "let it be read; until then it is not known whether it fills the disk",
    )


def _reader(slot: ReplicationSlot) -> str:
    return "a subscriber or a tool that reads changes" if slot.type == "logical" else "a replica or a backup tool"


def _finding(
    rule: str,
    slot: ReplicationSlot,
    severity: Severity,
    summary: str,
    next_step: str,
    threshold: Threshold | None = None,
) -> Finding:
    return Finding(
        rule=rule,
        key=f"{rule}:{slot.name}",
        severity=severity,
        subject=slot.name,
        summary=summary,
        evidence=cited(slot),
        threshold=threshold,
        confidence=f"told by {slot.node} itself",
        next_step=next_step,
        by_hand=slot.by_hand,
    )


# ── a primary that nobody follows ────────────────────────────────────────────────────────────────


def judge_none_connected(
    nodes: Sequence[DbNode], slots: Sequence[ReplicationSlot], cases: Sequence[Case]
) -> Iterator[Finding]:
    """A primary without any replica, where its slots or its synchronous names say that there should be one."""
    for node in nodes:
        if not node.reachable or known(node.replicas) != 0:
            continue
        kept = [slot for slot in slots if slot.node == node.name and slot.type == "physical" and slot.active is False]
        if kept or node.commit_waits_for:
            yield _none(node, kept, [case for case in cases if case.lag.primary == node.name])


def _none(node: DbNode, kept: Sequence[ReplicationSlot], cases: Sequence[Case]) -> Finding:
    should = []
    if kept:
        should.append(
            f"{number(len(kept), 'slot waits', 'slots wait')} for one ({listed([slot.slot for slot in kept])})"
        )
    if node.commit_waits_for:
        should.append(f"commits wait for {node.commit_waits_for}")
    waits = bool(node.commit_waits_for)
    known_ones = f" ({listed([case.name for case in cases])})" if cases else ""
    return Finding(
        rule="replica.none-connected",
        key=f"replica.none-connected:{node.name}",
        severity=Severity.CRITICAL if waits else Severity.WARNING,
        subject=node.name,
        summary=f"no replica is connected to {node.name}, and there should be: {listed(should)}",
        evidence=cited(node, *kept[:5], *(case.lag for case in cases[:5])),
        confidence=f"told by {node.name} itself",
        next_step=f"see on the replica{known_ones} whether it runs, and what its log says of its attempts to connect",
        by_hand=node.by_hand,
    )
