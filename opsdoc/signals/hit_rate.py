"""The hit rate of a cache now, and why: eviction, expiry, keys that nobody fills, a cold start, one hot node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Threshold, Unseen, known
from opsdoc.signals.alike import summed_up
from opsdoc.signals.amounts import number, percent
from opsdoc.signals.cache_case import Case, cases_of
from opsdoc.signals.cache_load import judge_load
from opsdoc.signals.cache_words import all_of, of_limit, reads, window
from opsdoc.signals.hit_rate_cause import Cause, cause_of
from opsdoc.signals.hit_rate_facts import FEW, HitRate
from opsdoc.signals.hit_rate_fine import judge_fine, judge_replicas, judge_unknown
from opsdoc.signals.hit_rate_samples import together
from opsdoc.signals.hit_rate_words import NEXT_STEPS, confidence, next_step, told, why

__all__ = ["HitRate", "Limits", "judge"]

POOR = 0.1  # misses of all reads: netdata's guide calls a hit rate below 90 % poor; a surge below that is none
_MILD: frozenset[Cause] = frozenset({"cold", "checks"})  # it passes, or is meant to be: a warning at most


class Limits(NamedTuple):
    """From which share, number or ratio on it matters."""

    misses: Limit = Limit(
        0.2,
        0.5,
        "ratio",
        "public rule sets alarm below a hit rate of 80 % (Redis' agent skills, awesome-prometheus-alerts), netdata's "
        "guide calls that bad; at half the reads what stands behind gets more than the cache takes off it",
    )
    surge: Limit = Limit(
        3.0,
        10.0,
        "",
        "times the misses of its lifetime, at a hit rate below 90 %: what stands behind is not used to that much work",
    )
    refused: Limit = Limit(1, 1, "count", "each is a write that a client saw fail")
    hot_node: Limit = Limit(
        3.0,
        None,
        "",
        "times the median of the other nodes: keys are spread evenly by hash, so that many keys of equal use differ by "
        "less than half",
    )
    busy: Limit = Limit(0.85, 0.95, "cores", "of the one thread that runs all commands; GitLab's runbooks alarm so")
    uneven: Limit = Limit(
        0.5, None, "ratio", "more or less than its even part; consistent hashing with few points differs by a fifth"
    )


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """The nodes that miss, with their cause; one node that has all the load; those that are fine, or not known."""
    cases = cases_of(observations)
    oom = [case for case in cases if limits.refused.grade(case.refused) is not Severity.OK]
    judged = [case for case in cases if _reads(case) >= FEW]
    if not judged:
        judged = _as_one(cases)
    low = [(case, one) for case in judged if case not in oom and (one := _low(case, limits)) is not None]
    found = [_refused(case, limits) for case in oom]
    found += _together(judged, low, limits) or [finding for _, finding in low]
    found += judge_load(cases, observations, limits)
    yield from summed_up(sorted(found, key=_how_bad, reverse=True))
    yield from judge_replicas(cases, observations)
    yield from judge_unknown(cases, judged)
    missing = [case for case, _ in low] + oom
    yield from judge_fine([case for case in judged if case not in missing], others=bool(missing))


def _reads(case: Case) -> int:
    return (case.rate.reads or 0) if case.rate else 0


def _as_one(cases: Sequence[Case]) -> list[Case]:
    """All nodes as one where each alone has too few reads; nothing where they have too few together."""
    rates = [case.rate for case in cases if case.rate and case.rate.reads is not None]
    if len(rates) < 2:
        return []
    one = Case(together(rates).replaced(node=all_of(len(rates))), None, tuple(rates))
    return [one] if _reads(one) >= FEW else []


# ── how bad ──────────────────────────────────────────────────────────────────────────────────────


def _graded(rate: HitRate, limits: Limits) -> tuple[Severity, Threshold]:
    """By the share of misses, or by how many times they are what they used to be; the worse of the two."""
    share = rate.miss_share or 0.0
    severity, threshold = limits.misses.grade(share), limits.misses.crossed("hit_rate.misses", share)
    lifetime = known(rate.lifetime_ratio)
    if share < POOR or lifetime is None or rate.young or known(rate.uptime) is None:
        return severity, threshold
    times = share / max(1 - lifetime, 0.001)
    if limits.surge.grade(times) > severity:
        return limits.surge.grade(times), limits.surge.crossed("hit_rate.surge", times)
    return severity, threshold


def _how_bad(finding: Finding) -> tuple[Severity, float]:
    crossed = finding.threshold
    return finding.severity, 0.0 if crossed is None else crossed.value / (crossed.warn or 1.0)


# ── findings ─────────────────────────────────────────────────────────────────────────────────────


def _low(case: Case, limits: Limits) -> Finding | None:
    """A node that misses too often, or None."""
    return None if case.rate is None else _missing(case, case.rate, cause_of(case), limits)


def _missing(case: Case, rate: HitRate, cause: Cause, limits: Limits) -> Finding | None:
    severity, threshold = _graded(rate, limits)
    if severity is Severity.OK:
        return None
    if cause in _MILD or rate.slow:
        severity = min(severity, Severity.WARNING)
    return Finding(
        rule=f"cache.{cause}",
        key=f"cache.{cause}:{rate.subject if rate.subject == 'all' else rate.name}",
        severity=severity,
        subject=rate.name,
        summary=f"{rate.name} {told(rate)}: {why(cause, case)}{_worst_part(case)}",
        evidence=case.evidence or tuple(part.id for part in case.parts[:5] if part.id),
        threshold=threshold,
        confidence=confidence(case, cause),
        next_step=next_step(cause, rate),
        by_hand=case.by_hand,
    )


def _worst_part(case: Case) -> str:
    """The part with most of the misses: `; most of /api (900 of 1,000 reads missed)`."""
    worst = max(case.parts, key=lambda part: known(part.misses) or 0, default=None)
    if worst is None or not worst.reads:
        return ""
    return f"; most in {worst.name} ({known(worst.misses) or 0:,} of {number(worst.reads, 'read')} missed)"


def _together(judged: Sequence[Case], low: Sequence[tuple[Case, Finding]], limits: Limits) -> list[Finding]:
    """One finding where all nodes that could be judged miss for the same cause; nothing where they do not."""
    rules = {finding.rule for _, finding in low}
    if len(low) < 2 or len(low) < len(judged) or len(rules) != 1:
        return []
    cause = cause_of(low[0][0])
    rates = [case.rate for case, _ in low if case.rate]
    one = together(rates).replaced(node=all_of(len(rates)))
    found = _missing(Case(one, None), one, cause, limits)
    if found is None:
        return []
    worst = max(rates, key=lambda rate: rate.miss_share or 0.0)
    return [
        found._replace(
            severity=max(finding.severity for _, finding in low),
            summary=_said_of_all(one, cause, worst),
            evidence=tuple(cited for case, _ in low[:5] for cited in case.evidence[:1]),
            by_hand=low[0][0].by_hand,
        )
    ]


def _said_of_all(one: HitRate, cause: Cause, worst: HitRate) -> str:
    lowest = f"lowest {worst.name} with {percent(1 - (worst.miss_share or 0.0))}"
    return f"{one.name} miss alike, together the cache {told(one)}: {why(cause, Case(one, None))}; {lowest}"


def _refused(case: Case, limits: Limits) -> Finding:
    """Writes that fail for want of memory, whatever the hit rate is: reads of what is there still work."""
    health, rate = case.health, case.rate
    seconds = (health.window_seconds if health else None) or (rate.window_seconds if rate else 0.0)
    used, limit = (known(health.memory_used), known(health.memory_limit)) if health else (None, None)
    full = f", {of_limit(used, limit)} used" if used is not None and limit else ""
    policy = known(health.policy) if health else None
    evicts = f" and nothing can be evicted ({policy})" if policy and case.evicts is False else ""
    read = f"; it {told(rate)}" if rate is not None and rate.reads else ""
    return Finding(
        rule="cache.oom",
        key=f"cache.oom:{case.name}",
        severity=limits.refused.grade(case.refused),
        subject=case.name,
        summary=f"{case.name} refuses writes: {number(case.refused, 'write')} failed for want of memory"
        f"{f' in {window(seconds)}' if seconds else ''}{full}{evicts}{read}",
        evidence=case.evidence,
        threshold=limits.refused.crossed("hit_rate.refused", case.refused),
        confidence=f"{number(case.refused, 'refused write')}"
        f"{f', {reads(rate.reads, rate.window_seconds)}' if rate is not None and rate.reads is not None else ''}",
        next_step=NEXT_STEPS["oom"],
        by_hand=case.by_hand,
    )
