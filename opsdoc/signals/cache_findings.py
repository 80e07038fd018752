"""Findings about one node of a cache: with what each of them carries, and with the limit where one was crossed."""

from __future__ import annotations

from opsdoc.model import Finding, Limit, Severity
from opsdoc.signals.cache_case import Case
from opsdoc.signals.cache_facts import CacheNode
from opsdoc.signals.cache_words import window


def in_window(node: CacheNode) -> str:
    """` in 2.0 s`, the window of its counts."""
    return f" in {window(node.window_seconds)}" if node.window_seconds else " in the window"


def graded(
    rule: str, case: Case, limit: Limit, name: str, value: float, summary: str, next_step: str
) -> Finding | None:
    """The finding where the limit is crossed, which it then cites."""
    severity = limit.grade(value)
    if severity is Severity.OK:
        return None
    return finding(rule, case, severity, summary, next_step)._replace(
        threshold=limit.crossed(f"cache_health.{name}", value)
    )


def finding(rule: str, case: Case, severity: Severity, summary: str, next_step: str) -> Finding:
    """A finding about a node, by its own word."""
    node = case.health
    return Finding(
        rule=rule,
        key=f"{rule}:{case.name}",
        severity=severity,
        subject=case.name,
        summary=summary,
        evidence=(node.id,) if node is not None and node.id else (),
        confidence="told by the node itself",
        next_step=next_step,
        by_hand=node.by_hand if node is not None else (),
    )
