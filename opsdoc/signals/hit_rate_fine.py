"""Hit rates that are fine, those that cannot be judged and why, and replicas that stand for another node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsdoc.model import Finding, Observation, Severity, known
from opsdoc.signals.amounts import listed, number, percent
from opsdoc.signals.cache_case import Case
from opsdoc.signals.cache_facts import CacheCluster, SentinelView
from opsdoc.signals.cache_words import all_of, reads, window
from opsdoc.signals.cache_zone import PRODUCT
from opsdoc.signals.hit_rate_facts import FEW, HitRate
from opsdoc.signals.hit_rate_samples import together
from opsdoc.signals.hit_rate_words import confidence, told


def judge_fine(cases: Sequence[Case], *, others: bool) -> Iterator[Finding]:
    """One finding for all that hit often enough; a handful of reads proves nothing, and says so."""
    rates = [case.rate for case in cases if case.rate is not None]
    if not rates:
        return
    one = rates[0] if len(rates) == 1 else together(rates)
    who = one.name if len(rates) == 1 else f"{len(rates):,} other nodes" if others else all_of(len(rates))
    finding = Finding(
        rule="cache.fine",
        key="cache.fine:all",
        severity=Severity.OK,
        subject=who,
        summary=f"{who} {'' if len(rates) == 1 else 'together: '}{told(one)}{_lowest(rates)}{_lowest_part(cases)}",
        evidence=tuple(rate.id for rate in rates[:5] if rate.id),
        confidence=confidence(Case(one, None)),
    )
    if not one.slow:
        yield finding
        return
    yield finding._replace(
        rule="cache.not-judgeable",
        key="cache.not-judgeable:slow",
        severity=Severity.UNKNOWN,
        summary=f"{finding.summary}: {one.per_second or 0.0:.1f} reads/s are too few to call it well",
        next_step=f"see whether the application reaches the cache at all; look again under load, or {_longer(one)}",
        by_hand=one.by_hand,
    )


def _longer(rate: HitRate) -> str:
    """The option that makes the window longer."""
    return "with --since 1h" if rate.product == PRODUCT else "with --window 60s"


def _lowest(rates: Sequence[HitRate]) -> str:
    if len(rates) < 2:
        return ""
    worst = max(rates, key=lambda rate: rate.miss_share or 0.0)
    return f", lowest {worst.name} with {percent(1 - (worst.miss_share or 0.0))}"


def _lowest_part(cases: Sequence[Case]) -> str:
    parts = [part for case in cases for part in case.parts if (part.reads or 0) >= FEW]
    worst = max(parts, key=lambda part: part.miss_share or 0.0, default=None)
    return "" if worst is None else f"; lowest in {worst.name} with {percent(1 - (worst.miss_share or 0.0))}"


# ── what nobody can judge ────────────────────────────────────────────────────────────────────────


def judge_unknown(cases: Sequence[Case], judged: Sequence[Case]) -> Iterator[Finding]:
    """One finding for each reason why hits are not known; and where nothing could be judged, for few reads."""
    reasons: dict[str, list[HitRate]] = {}
    few: list[HitRate] = []
    for rate in (case.rate for case in cases if case.rate is not None):
        if rate.reads is None:
            reasons.setdefault(rate.unread, []).append(rate)
        elif rate.reads < FEW and rate.role != "replica":
            few.append(rate)
    for reason, rates in reasons.items():
        yield _not_known(rates, reason)
    if few and not judged:
        yield _too_few(few)


def _not_known(rates: Sequence[HitRate], reason: str) -> Finding:
    reset = rates[0].reset
    over = next((said for rate in rates if (said := known(rate.lifetime_ratio)) is not None), None)
    since = f"; {percent(over)} since it was counted last" if reset and over is not None else ""
    return _unjudged(
        rates,
        "reset" if reset else "unknown",
        f"the hit rate of {_who(rates)} is not judgeable{' yet' if reset else ''}: {reason}{since}",
        "run it again: the next window has counters of its own" if reset else "let it be read what was hit and missed",
    )


def _too_few(rates: Sequence[HitRate]) -> Finding:
    count, seconds = sum(rate.reads or 0 for rate in rates), max(rate.window_seconds for rate in rates)
    lifetime = known(rates[0].lifetime_ratio) if len(rates) == 1 else known(together(rates).lifetime_ratio)
    over = "" if lifetime is None else f"; over its lifetime it is {percent(lifetime)}"
    return _unjudged(
        rates,
        "few",
        f"the hit rate of {_who(rates)} is not judgeable: {reads(count, seconds)} are too few{over}",
        f"look longer, {_longer(rates[0])}; if there should be more reads, see whether the application reaches the "
        "cache",
    )._replace(confidence=f"{number(count, 'read')} in {window(seconds)}, of at least {FEW}")


def _unjudged(rates: Sequence[HitRate], which: str, summary: str, next_step: str) -> Finding:
    names = [rate.name for rate in rates]
    return Finding(
        rule="cache.not-judgeable",
        key=f"cache.not-judgeable:{which}:{names[0] if len(names) == 1 else 'all'}",
        severity=Severity.UNKNOWN,
        subject=listed(names),
        summary=summary,
        evidence=tuple(rate.id for rate in rates[:5] if rate.id),
        next_step=next_step,
        by_hand=rates[0].by_hand,
    )


def _who(rates: Sequence[HitRate]) -> str:
    names = [rate.name for rate in rates]
    return names[0] if len(names) == 1 else f"{number(len(names), 'node')} ({listed(names)})"


# ── another node than was meant ──────────────────────────────────────────────────────────────────


def judge_replicas(cases: Sequence[Case], observations: Sequence[Observation]) -> Iterator[Finding]:
    """A replica that was named where the master is meant: its hits are those of its own readers."""
    if any(isinstance(one, CacheCluster | SentinelView) for one in observations):
        return
    nodes = {case.name for case in cases}
    for case in cases:
        asked = case.rate is None or case.rate.asked
        if asked and "replica" in {one.role for one in (case.rate, case.health) if one is not None}:
            yield _replica(case, nodes)


def _replica(case: Case, nodes: set[str]) -> Finding:
    master = case.health.master if case.health else None
    seen = master in nodes
    unread = case.rate is None or (case.rate.reads or 0) < FEW
    severity = Severity.OK if seen else Severity.UNKNOWN if unread else Severity.WARNING
    here = f"; it {told(case.rate)}" if case.rate is not None and case.rate.reads is not None else ""
    return Finding(
        rule="cache.is-replica",
        key=f"cache.is-replica:{case.name}",
        severity=severity,
        subject=case.name,
        summary=f"{case.name} is a replica{f' of {master}' if master else ''}, not the master: it counts only its own "
        f"readers and refuses writes{here}",
        evidence=case.evidence,
        confidence=confidence(case),
        next_step="" if seen else f"ask {master or 'its master'}: that is where most applications read",
        by_hand=() if seen else case.by_hand,
    )
