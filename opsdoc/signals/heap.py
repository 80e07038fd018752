"""The heap of a JVM: how full it is, what was collected in the window and how long the JVM stood still for it."""

from __future__ import annotations

from typing import ClassVar

from opsdoc.model import Observation, Unknown, known, measure


class Heap(Observation):
    """The heap of a JVM, its collections, safepoints and compilations in the window, from its perf data.

    When HotSpot writes the occupancy was measured on real JVMs. Serial and Parallel of 11 and 17 sample it every 50 ms,
    so that what is allocated in the old generation directly shows between collections; Serial of 25 writes it when a
    collection ends, and G1 of 11, 17 and 25 writes the old generation when a collection ends or a large object takes
    regions of its own. So the old generation is as of the last collection but for large objects, and it holds garbage
    if that was a young one (`last_collection`). Times are added when a pause ends; one under way is added here.
    """

    kind: ClassVar[str] = "heap"
    gc_time: float | Unknown = measure("stopped for GC", "ratio", "main")
    pid: int = measure("pid", "id")
    collector: str | Unknown = measure("collector", "", "line")
    used: int | Unknown = measure("used", "bytes", "line")
    capacity: int | Unknown = measure("committed", "bytes")
    max: int | Unknown = measure("at most", "bytes", "line")
    old_used: int | Unknown | None = measure("old generation", "bytes", "line")
    old_max: int | Unknown | None = measure("old generation at most", "bytes")
    last_collection: str | Unknown | None = measure("last collection")
    young: int | Unknown | None = measure("young collections", "count", "line")
    full: int | Unknown | None = measure("full collections", "count", "line")
    pauses: int | Unknown = measure("pauses for GC", "count")
    concurrent_cpu: float | Unknown = measure("CPU of concurrent GC", "cores")
    cause: str | Unknown | None = measure("cause of the last collection")
    safepoint_time: float | Unknown = measure("at safepoints", "ratio")
    own_time: float = measure("stopped for opsdoc's dumps, at most", "ratio", default=0.0)
    safepoints: int | Unknown = measure("safepoints", "count")
    time_to_safepoint: float | Unknown | None = measure("average time to safepoint", "seconds")
    compile_time: float | Unknown = measure("spent compiling, all threads", "seconds")
    compilations: int | Unknown = measure("compilations", "count")
    invalidated: int | Unknown = measure("compilations that came to nothing", "count")
    metaspace: int | Unknown = measure("metaspace", "bytes")
    beside: int | Unknown | None = measure("memory beside heap and metaspace, at least", "bytes")
    direct_max: int | Unknown | None = measure("direct buffers at most", "bytes")
    uptime: float | Unknown = measure("runs for", "seconds")
    window: float = measure("window", "seconds")

    @property
    def used_share(self) -> float | None:
        """How full the whole heap is, garbage included, 0 to 1, or None where that is unknown."""
        used, most = known(self.used), known(self.max)
        return used / most if used is not None and most else None

    @property
    def old_share(self) -> float | None:
        """How full the old generation is, 0 to 1, or None where that is unknown or there is none."""
        used, most = known(self.old_used), known(self.old_max)
        return used / most if used is not None and most else None

    @property
    def direct_share(self) -> float | None:
        """The memory beside the heap of what direct buffers may take; more than 1 where other things are there, too."""
        beside, most = known(self.beside), known(self.direct_max)
        return beside / most if beside is not None and most else None

    @property
    def full_after_collection(self) -> float | None:
        """`old_share` where it says that a collection freed no more: after a full one, and in G1 after each.

        Serial and Parallel let garbage gather in the old generation until it is full, and that is as it should be.
        """
        return self.old_share if self.last_collection == "full" or self.collector == "G1" else None


def percent(share: float) -> str:
    """A share as people say it: `83 %`, `0.4 %`."""
    if 0 < share < 0.0005:
        return "less than 0.1 %"
    return f"{share * 100:.0f} %" if share >= 0.1 or share == 0 else f"{share * 100:.1f} %"


def number(count: int, what: str) -> str:
    """So many of a thing: `1 thread`, `2 threads`."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def of_most(used: int | Unknown | None, most: int | Unknown | None) -> str:
    """`61.2 of 64 MiB`, or nothing where one of the two is unknown."""
    part, whole = known(used), known(most)
    if part is None or whole is None:
        return ""
    unit, name = (1 << 30, "GiB") if whole >= 10 << 30 else (1 << 20, "MiB")
    return f"{part / unit:.1f} of {f'{whole / unit:.1f}'.removesuffix('.0')} {name}"


def duration(seconds: float) -> str:
    """Seconds of a pause: `7.4 ms`."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def age(seconds: float) -> str:
    """Seconds of a life in its largest unit: `48 s`, `3 h`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
