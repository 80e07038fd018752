"""Servers of a database that are well, in one line with what was looked at, and the statements that take most time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsdoc.model import Finding, Observation, Severity, known
from opsdoc.signals.amounts import duration, listed, number, percent
from opsdoc.signals.cache_words import all_of
from opsdoc.signals.contention_facts import DbNode, HotStatement, OpenTransaction, PreparedTransaction
from opsdoc.signals.db_words import cited

_TOP = 3
_CUT = 80


def judge_fine(well: Sequence[DbNode], observations: Sequence[Observation]) -> Iterator[Finding]:
    """One finding for all that nothing was found about, which says only what is known."""
    nodes = [node for node in well if node.reachable]
    if not nodes:
        return
    who = nodes[0].name if len(nodes) == 1 else all_of(len(nodes), "server")
    told = [_connections(nodes), *_nothing(nodes, observations)]
    said = "; ".join(part for part in told if part)
    yield Finding(
        rule="db.fine",
        key="db.fine:all",
        severity=Severity.OK,
        subject=listed([node.name for node in nodes]),
        summary=f"nothing holds {who}{f': {said}' if said else ''}",
        evidence=cited(*nodes[:5]),
        confidence="told by the server itself" if len(nodes) == 1 else "told by the servers themselves",
    )


def _connections(nodes: Sequence[DbNode]) -> str:
    known_ones = [node for node in nodes if node.used is not None]
    if not known_ones:
        return ""
    fullest = max(known_ones, key=lambda node: node.used or 0.0)
    taken, most = known(fullest.connections) or 0, known(fullest.max_connections) or 0
    where = f" ({fullest.name})" if len(nodes) > 1 else ""
    return f"{'at most ' if len(nodes) > 1 else ''}{taken:,} of {number(most, 'connection')} used{where}"


def _nothing(nodes: Sequence[DbNode], observations: Sequence[Observation]) -> Iterator[str]:
    names = {node.name for node in nodes}
    if all(known(node.waiting) == 0 for node in nodes):
        yield "no session waits for a lock"
    if all(node.sees_all for node in nodes):
        opened = [one for one in observations if isinstance(one, OpenTransaction) and one.node in names]
        longest = max((known(one.open) or 0.0 for one in opened), default=0.0)
        yield f"no transaction open for longer than {duration(longest)}" if longest else "no transaction left open"
    prepared = [one for one in observations if isinstance(one, PreparedTransaction) and one.node in names]
    if prepared:
        yield f"{number(len(prepared), 'transaction')} prepared a moment ago"


def judge_hot(statements: Sequence[HotStatement]) -> Iterator[Finding]:
    """What each server spends its time on: for orientation, never a verdict."""
    servers: dict[str, list[HotStatement]] = {}
    for one in statements:
        if known(one.seconds):
            servers.setdefault(one.node, []).append(one)
    for node, hot in servers.items():
        top = sorted(hot, key=lambda one: -(known(one.seconds) or 0.0))[:_TOP]
        yield Finding(
            rule="db.hot-statement",
            key=f"db.hot-statement:{node}",
            severity=Severity.OK,
            subject=node,
            summary=f"where {node} spends its time, for orientation: {listed([_said(one) for one in top])}",
            evidence=cited(*top),
            confidence="over the lifetime of its statistics" if top[0].lifetime else "in the window",
            by_hand=top[0].by_hand,
        )


def _said(one: HotStatement) -> str:
    share, calls, mean = known(one.share), known(one.calls), known(one.mean)
    told = [
        percent(min(share, 1.0)) if share is not None else "",
        number(calls, "call") if calls else "",
        f"{duration(mean)} each" if mean is not None else "",
    ]
    text = one.statement if len(one.statement) <= _CUT else f"{one.statement[: _CUT - 1]}…"
    about = ", ".join(part for part in told if part)
    return f"{text}{f' ({about})' if about else ''}"
