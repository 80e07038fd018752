"""The finding about a server of a database, and who is connected to it in words."""

from __future__ import annotations

from collections.abc import Sequence

from opsdoc.model import Finding, Severity, Threshold
from opsdoc.signals.amounts import listed
from opsdoc.signals.contention_facts import Client, DbNode
from opsdoc.signals.db_words import cited, looks

MOST_CLIENTS = 3


def by_client(clients: Sequence[Client], most: int = MOST_CLIENTS) -> str:
    """`app (orders) 28, report 2`: who has most of the connections, whatever state these are in."""
    counts: dict[str, int] = {}
    for one in clients:
        counts[one.client] = counts.get(one.client, 0) + one.connections
    in_order = sorted(counts.items(), key=lambda pair: -pair[1])
    return listed([f"{name} {count:,}" for name, count in in_order], most)


def by_state(clients: Sequence[Client], most: int = MOST_CLIENTS) -> str:
    """`idle in transaction 20, active 8`."""
    counts: dict[str, int] = {}
    for one in clients:
        if one.state:
            counts[one.state] = counts.get(one.state, 0) + one.connections
    return listed([f"{state} {count:,}" for state, count in sorted(counts.items(), key=lambda pair: -pair[1])], most)


def finding(
    rule: str,
    node: DbNode,
    severity: Severity,
    summary: str,
    next_step: str = "",
    threshold: Threshold | None = None,
) -> Finding:
    """A finding about a server, by its own word or by that of the operating system."""
    return Finding(
        rule=rule,
        key=f"{rule}:{node.name}",
        severity=severity,
        subject=node.name,
        summary=summary,
        evidence=cited(node),
        threshold=threshold,
        confidence=confidence(node),
        next_step=next_step,
        by_hand=node.by_hand,
    )


def confidence(node: DbNode) -> str:
    """Who counted, and how often."""
    if node.counted_by != "server":
        return "counted by the operating system of this machine, for the server lets nobody in"
    return f"told by the server itself; {looks(node.window_seconds)}"
