"""What a cache holds: slab classes that starve beside others, items evicted before they were read, and big keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, Threshold, known
from opsdoc.signals.amounts import duration, listed, number, percent
from opsdoc.signals.cache_case import Case
from opsdoc.signals.cache_facts import BigKey, KeySample, Slab
from opsdoc.signals.cache_words import size, window

if TYPE_CHECKING:
    from opsdoc.signals.cache_health import Limits

CHURN = 300.0  # seconds: what was read so lately would have been read again
SMALL = 0.5  # of the memory: a class with less than that starves while others keep theirs
NEVER_READ = 0.5  # of what is evicted


# ── slab classes ─────────────────────────────────────────────────────────────────────────────────


def judge_slabs(slabs: Sequence[Slab], limits: Limits) -> Iterator[Finding]:
    """The slab class of each node that evicts while others hold the memory, and those that refuse items."""
    nodes: dict[str, list[Slab]] = {}
    for slab in slabs:
        nodes.setdefault(slab.node, []).append(slab)
    for members in nodes.values():
        yield from _starving(members, limits)
        for slab in members:
            yield from _out_of_memory(slab, limits)


def _starving(slabs: Sequence[Slab], limits: Limits) -> Iterator[Finding]:
    total = sum(known(slab.evicted) or 0 for slab in slabs)
    worst = max(slabs, key=lambda slab: known(slab.evicted) or 0)
    evicted, share, age = known(worst.evicted) or 0, known(worst.memory_share), known(worst.evicted_age)
    if len(slabs) < 2 or not evicted or limits.slab_evictions.grade(evicted / total) is Severity.OK:
        return
    if share is None or share >= SMALL or age is None or age > CHURN:
        return
    rest = max((slab for slab in slabs if slab is not worst), key=lambda slab: known(slab.memory_share) or 0.0)
    yield _of_slab(
        worst,
        f"{_class(worst)} of {worst.node} has {percent(share)} of the memory and {percent(evicted / total)} of the "
        f"evictions, {evicted:,} in {window(worst.window_seconds)}, the last of them read {duration(age)} before; "
        f"{_class(rest)} keeps {percent(known(rest.memory_share) or 0.0)}",
        "let memcached move memory between classes (slab_reassign, slab_automove), or restart it: sizes have changed "
        "since it was filled",
        limits.slab_evictions.crossed("cache_health.slab_evictions", evicted / total),
    )


def _out_of_memory(slab: Slab, limits: Limits) -> Iterator[Finding]:
    refused, limit = known(slab.out_of_memory), limits.slab_out_of_memory
    if not refused or not slab.window_seconds or limit.grade(refused / slab.window_seconds) is Severity.OK:
        return
    rate = refused / slab.window_seconds
    yield _of_slab(
        slab,
        f"{_class(slab)} of {slab.node} refused {number(refused, 'item')} in {window(slab.window_seconds)}: it has no "
        "memory and nothing to evict",
        "give it more memory; with -M it never evicts, and this is what full looks like",
        limit.crossed("cache_health.slab_out_of_memory", rate),
    )


def _class(slab: Slab) -> str:
    items = f" (items up to {size(slab.item_size)})" if slab.item_size else ""
    return f"slab class {slab.slab}{items}"


def _of_slab(slab: Slab, summary: str, next_step: str, threshold: Threshold) -> Finding:
    return Finding(
        rule="cache.slab",
        key=f"cache.slab:{slab.node}/{slab.slab}",
        severity=Severity.WARNING,
        subject=f"{slab.node} slab {slab.slab}",
        summary=summary,
        evidence=(slab.id,) if slab.id else (),
        threshold=threshold,
        confidence="told by the node itself",
        next_step=next_step,
        by_hand=slab.by_hand,
    )


# ── evicted unread ───────────────────────────────────────────────────────────────────────────────


def judge_unread(cases: Sequence[Case], limits: Limits) -> Iterator[Finding]:
    """Nodes that mostly evict what nobody has read yet: it was written for nothing."""
    for case in cases:
        rate = case.rate
        evicted, unread = (known(rate.evicted), known(rate.evicted_unread)) if rate else (None, None)
        if rate is None or not evicted or not unread or not rate.window_seconds or unread < NEVER_READ * evicted:
            continue
        per_second = unread / rate.window_seconds
        if limits.unread.grade(per_second) is Severity.OK:
            continue
        yield Finding(
            rule="cache.evicted-unread",
            key=f"cache.evicted-unread:{case.name}",
            severity=limits.unread.grade(per_second),
            subject=case.name,
            summary=f"{unread:,} of {number(evicted, 'item')} that {case.name} evicted in "
            f"{window(rate.window_seconds)} had never been read: it is too small, or much is written that nobody reads",
            evidence=case.evidence,
            threshold=limits.unread.crossed("cache_health.unread", per_second),
            confidence=f"{number(evicted, 'eviction')} in {window(rate.window_seconds)}",
            next_step="see who writes what is never read, and shorten its time to live; or give it more memory",
            by_hand=case.by_hand,
        )


# ── big keys ─────────────────────────────────────────────────────────────────────────────────────


def judge_big_keys(keys: Sequence[BigKey], samples: Sequence[KeySample], limits: Limits) -> Iterator[Finding]:
    """One finding for all keys that are too big, with how much of all was looked at."""
    big = [key for key in keys if limits.big_key.grade(key.bytes) is not Severity.OK]
    if not big:
        return
    big.sort(key=lambda key: (-key.bytes, key.node, key.key))
    worst = big[0]
    where = f" on {worst.node}" if worst.node else ""
    more = f"; {len(big) - 1:,} more: {listed([key.key for key in big[1:]])}" if len(big) > 1 else ""
    yield Finding(
        rule="cache.big-key",
        key=f"cache.big-key:{worst.key}",
        severity=limits.big_key.grade(worst.bytes),
        subject=worst.key,
        summary=f"the {worst.type or 'key'} {worst.key}{where} takes {size(worst.bytes)}: who reads all of it holds up "
        f"everybody else{more}",
        evidence=tuple(key.id for key in big[:5] if key.id),
        threshold=limits.big_key.crossed("cache_health.big_key", worst.bytes),
        confidence=coverage(samples) or None,
        next_step="split it, or read parts of it; when it is not needed delete it with UNLINK, which does not block",
        by_hand=worst.by_hand,
    )


def coverage(samples: Sequence[KeySample]) -> str:
    """`looked at 20,000 of 1,200,000 keys in 0.9 s`; bigger ones may be among the others."""
    if not samples:
        return ""
    looked, totals = sum(sample.looked_at for sample in samples), [known(sample.of) for sample in samples]
    told = [total for total in totals if total is not None]
    of = f" of {number(sum(told), 'key')}" if len(told) == len(totals) else " keys, of how many is unknown"
    return f"looked at {looked:,}{of} in {duration(max(sample.seconds for sample in samples))}"
