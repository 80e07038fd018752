"""Whether the load of a cache is spread over its nodes: one hot node, a busy main thread, uneven parts."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Observation, Severity, known
from opsdoc.signals.amounts import listed, number, percent
from opsdoc.signals.cache_case import Case
from opsdoc.signals.cache_facts import CacheCluster
from opsdoc.signals.cache_words import window
from opsdoc.signals.hit_rate_facts import HitRate
from opsdoc.signals.hit_rate_words import told

if TYPE_CHECKING:
    from opsdoc.signals.hit_rate import Limits

FELT = 100.0  # commands per second: below it one client in a loop makes any ratio
SLOTS_EXPLAIN = 1.5  # times an even part: a node with so many slots has so much load without any hot key


def judge_load(cases: Sequence[Case], observations: Sequence[Observation], limits: Limits) -> Iterator[Finding]:
    """The node that has far more to do than the others, or those that do not have their part; and busy threads."""
    serving = [case for case in cases if case.rate and case.rate.part_of is None and case.rate.role != "replica"]
    told_of = [case for case in serving if case.rate and known(case.rate.ops) is not None]
    spread = [case for case in told_of if case.rate and case.rate.window_seconds > 0]
    hot = _hot(spread, limits) if not _slots_explain(observations) else None
    if hot is not None:
        yield hot
    elif len(spread) > 1:
        yield from _uneven(spread, limits)
    for case in serving:
        if hot is None or case.name != hot.subject:
            yield from _busy(case, limits)


def _slots_explain(observations: Sequence[Observation]) -> bool:
    clusters = [one for one in observations if isinstance(one, CacheCluster)]
    return any((known(one.slot_imbalance) or 0.0) >= SLOTS_EXPLAIN for one in clusters)


def _ops(case: Case) -> int:
    return (known(case.rate.ops) or 0) if case.rate else 0


def _per_second(rates: Sequence[HitRate]) -> float:
    seconds = max(rate.window_seconds for rate in rates)
    return sum(known(rate.ops) or 0 for rate in rates) / seconds if seconds else 0.0


def _hot(cases: Sequence[Case], limits: Limits) -> Finding | None:
    """One node with a multiple of what the others do."""
    if len(cases) < 2:
        return None
    busiest = max(cases, key=_ops)
    others = statistics.median(_ops(case) for case in cases if case is not busiest)
    times = _ops(busiest) / max(others, 1.0)
    rate = busiest.rate
    if rate is None or limits.hot_node.grade(times) is Severity.OK or _per_second([rate]) < FELT:
        return None
    cpu = known(rate.cpu)
    share = _ops(busiest) / sum(map(_ops, cases))
    more = f"{times:.1f} times as many as the median of the others" if others else "the others have hardly any"
    thread = "" if cpu is None else f"; its main thread uses {cpu:.2f} cores"
    severity = max(limits.hot_node.grade(times), Severity.OK if cpu is None else limits.busy.grade(cpu))
    return Finding(
        rule="cache.hot-key",
        key=f"cache.hot-key:{rate.name}",
        severity=severity,
        subject=rate.name,
        summary=f"{rate.name} gets {percent(share)} of all commands of {number(len(cases), 'node')}, {more}: few keys "
        f"have most of the load{thread}; it {told(rate)}",
        evidence=busiest.evidence,
        threshold=limits.busy.crossed("hit_rate.busy", cpu)
        if severity is Severity.CRITICAL and cpu is not None
        else limits.hot_node.crossed("hit_rate.hot_node", times),
        confidence=f"{number(_ops(busiest), 'command')} in {window(rate.window_seconds)}; which key is not told by "
        "counters",
        next_step="find the key in what the application reads most; keep a copy of it in the application for a second, "
        "or split it over several keys; more nodes do not help",
        by_hand=busiest.by_hand,
    )


def _uneven(cases: Sequence[Case], limits: Limits) -> Iterator[Finding]:
    """Nodes that do far more or far less than an even part, without one that stands out."""
    rates = [case.rate for case in cases if case.rate is not None]
    total = sum(map(_ops, cases))
    if _per_second(rates) < FELT or not total:
        return
    parts = {rate.name: (known(rate.ops) or 0) * len(rates) / total for rate in rates}
    name = max(parts, key=lambda one: abs(parts[one] - 1))
    off = abs(parts[name] - 1)
    if limits.uneven.grade(off) is Severity.OK:
        return
    shares = [f"{rate.name} {percent((known(rate.ops) or 0) / total)}" for rate in rates]
    yield Finding(
        rule="cache.uneven",
        key="cache.uneven:load",
        severity=limits.uneven.grade(off),
        subject=name,
        summary=f"the load is not spread evenly over {number(len(rates), 'node')}: {listed(shares, 6)}",
        evidence=tuple(rate.id for rate in rates[:6] if rate.id),
        threshold=limits.uneven.crossed("hit_rate.uneven", off),
        confidence=f"{number(total, 'command')} in {window(max(rate.window_seconds for rate in rates))}",
        next_step="see whether all clients have the same list of nodes, in the same order, and hash keys alike",
        by_hand=rates[0].by_hand,
    )


def _busy(case: Case, limits: Limits) -> Iterator[Finding]:
    cpu = known(case.rate.cpu) if case.rate else None
    if case.rate is None or cpu is None or limits.busy.grade(cpu) is Severity.OK:
        return
    commands = f", {_per_second([case.rate]):,.0f} commands/s" if _ops(case) else ""
    yield Finding(
        rule="cache.busy",
        key=f"cache.busy:{case.name}",
        severity=limits.busy.grade(cpu),
        subject=case.name,
        summary=f"the main thread of {case.name} uses {cpu:.2f} cores of the one that it can{commands}: commands wait "
        f"for each other; it {told(case.rate)}",
        evidence=case.evidence,
        threshold=limits.busy.crossed("hit_rate.busy", cpu),
        confidence=f"over {window(case.rate.window_seconds)}",
        next_step="see which commands take the time: few that are slow, or very many; a single hot key looks the same",
        by_hand=case.by_hand,
    )
