"""Direct buffers of a JVM at their limit: told by collections that ask for room, and by the memory beside its heap.

HotSpot's perf data has no counter of them. `java.nio` calls System.gc() when the next buffer finds no room, so that
buffers whose objects are garbage are freed: that cause, and as much memory beside the heap as they may take, is the
mark.
"""

from __future__ import annotations

from opsdoc.model import Finding, Limit, Severity, known
from opsdoc.signals import heap as words
from opsdoc.signals.heap import Heap

CALLED = "System.gc()"
NEXT_STEP = (
    "its direct buffers reach their limit again and again, and the next one asks for a full collection: see what keeps "
    "them (a cache, a pool) or makes new ones in place of using them again, or raise -XX:MaxDirectMemorySize; without "
    "System.gc() (-XX:+DisableExplicitGC) it would fail instead"
)


def at_limit(heap: Heap, limit: Limit) -> bool:
    """Whether the marks are there."""
    called = (known(heap.cause) or "").startswith(CALLED) and bool(known(heap.full) or known(heap.pauses))
    return called and limit.grade(heap.direct_share or 0.0) is not Severity.OK


def finding(rule: str, heap: Heap, who: str, name: str, limit: Limit, evidence: tuple[str, ...]) -> Finding:
    """What it means, of a heap that has the marks."""
    share, full = heap.direct_share or 0.0, known(heap.full)
    times = words.number(full or known(heap.pauses) or 0, "full collection" if full else "pause")
    return Finding(
        rule=rule,
        key=f"{rule}:{name}",
        severity=limit.grade(share),
        subject=who,
        summary=f"direct buffers of {who} are at their limit: {words.of_most(heap.beside, heap.direct_max)} beside its "
        f"heap, and {times} in {heap.window:.0f} s that the program asked for ({CALLED}) to make room",
        evidence=evidence,
        threshold=limit.crossed("gc.direct", share),
        confidence="likely: no counter tells of them, but that cause with so much memory beside the heap",
        next_step=NEXT_STEP,
        by_hand=(
            f"jstat -gccause {heap.pid} 1000 3",
            f"grep RssAnon /proc/{heap.pid}/status",
            f"jcmd {heap.pid} Thread.print | grep -c Bits.reserveMemory",
        ),
    )
