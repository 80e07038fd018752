"""The heap of a JVM between two looks at its perf data: occupancy, collections, time stopped, and compilations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsdoc.host import Answer
from opsdoc.model import Unknown, known
from opsdoc.signals.heap import Heap

SAMPLED = 0.06  # seconds: where a JVM keeps its own clock there, it is at most 50 ms behind (measured on 11 and 17)
PAGE = 4096  # bytes: G1 before JDK 25 adds some bytes to each capacity so that none is 0
COLLECTORS = range(3)  # 0 young, 1 full, 2 the pauses of a concurrent cycle

# By the policy, else by the beginning of a collector's name, as HotSpot spells them in 8 to 25.
_POLICIES = {"Copy:MSC": "Serial", "ParScav:MSC": "Parallel", "GarbageFirst": "G1", "ParNew:CMS": "CMS"}
_NAMES = {"G1 ": "G1", "Serial ": "Serial", "Parallel ": "Parallel", "Z": "ZGC", "Shenandoah": "Shenandoah"}
_REGIONS = ("G1", "ZGC", "Shenandoah")  # each generation may grow to the whole heap
_NO_COUNTS = ("ZGC", "Shenandoah")  # they count pauses, several to a collection

_NOT_EXPORTED = Unknown("this JVM does not export it")


def heap(pid: int, subject: str, earlier: Answer[Any], later: Answer[Any], own: float = 0.0) -> Heap:
    """What happened between two answers of `hsperf.PerfData` for one JVM, and how full its heap is at the second.

    `own` is for how many seconds in between opsdoc stopped it for dumps.
    """
    then, now = _Moment(earlier.value), _Moment(later.value)
    span = later.at - earlier.at
    collector = now.collector
    counted = collector not in _NO_COUNTS
    old_used, old_max = now.old
    gc_time = _share(then.gc_seconds, now.gc_seconds, span)
    return Heap(
        subject=subject,
        pid=pid,
        window=round(span, 3),
        collector=collector,
        gc_time=gc_time,
        used=now.used,
        capacity=now.capacity,
        max=now.maximum,
        old_used=old_used,
        old_max=old_max,
        last_collection=now.last_collection if counted else None,
        young=_count(then, now, "sun.gc.collector.0.invocations") if counted else None,
        full=_count(then, now, "sun.gc.collector.1.invocations") if counted else None,
        pauses=_added(then.pauses, now.pauses),
        concurrent_cpu=_rate(then.concurrent, now.concurrent, span),
        cause=now.cause,
        safepoint_time=_at_safepoints(then, now, span, gc_time),
        own_time=round(own / max(span, 1e-6), 4),
        safepoints=_count(then, now, "sun.rt.safepoints"),
        time_to_safepoint=_time_to_safepoint(then, now),
        compile_time=_added(then.seconds("java.ci.totalTime"), now.seconds("java.ci.totalTime")),
        compilations=_count(then, now, "sun.ci.totalCompiles"),
        invalidated=_count(then, now, "sun.ci.totalInvalidates"),
        metaspace=_or_not_exported(now.number("sun.gc.metaspace.used")),
        beside=now.beside,
        direct_max=now.most_direct,
        uptime=now.uptime,
    )


class _Moment:
    """One answer of `hsperf.PerfData`."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self._counters: Mapping[str, Any] = answer["counters"]
        self._since_begin = answer["since_begin"]
        self._age: float = answer["age"]
        self._anonymous: int | None = answer.get("anonymous")
        self._most_direct: int | None = answer.get("most_direct")
        self._frequency = max(self.number("sun.os.hrt.frequency") or 0, 0) or 1_000_000_000

    def number(self, name: str) -> int | None:
        value = self._counters.get(name)
        return value if isinstance(value, int) else None

    def text(self, name: str) -> str:
        value = self._counters.get(name)
        return value if isinstance(value, str) else ""

    def seconds(self, name: str) -> float | None:
        """A counter of ticks in seconds."""
        ticks = self.number(name)
        return None if ticks is None else ticks / self._frequency

    def _of_collectors(self, what: str) -> list[int]:
        values = [self.number(f"sun.gc.collector.{number}.{what}") for number in COLLECTORS]
        return [value for value in values if value is not None]

    @property
    def collector(self) -> str | Unknown:
        if policy := _POLICIES.get(self.text("sun.gc.policy.name")):
            return policy
        names = [self.text(f"sun.gc.collector.{number}.name") for number in COLLECTORS]
        for name in names:
            for beginning, collector in _NAMES.items():
                if name.startswith(beginning):
                    return collector
        return next(filter(None, names), None) or _NOT_EXPORTED

    @property
    def uptime(self) -> float:
        """Seconds since the JVM began: by the wall clock, kept within what its own clock and the kernel's allow."""
        own = self.seconds("sun.os.hrt.ticks")
        stamps = [*self._of_collectors("lastEntryTime"), *self._of_collectors("lastExitTime"), 0]
        least = max(own or 0.0, max(stamps) / self._frequency)
        most = self._age if own is None else own + SAMPLED
        best = self._since_begin if isinstance(self._since_begin, int | float) else most
        return round(min(max(best, least), max(most, least)), 3)

    @property
    def gc_seconds(self) -> float | None:
        """All time stopped for GC so far. A collection is added by HotSpot when it ends, so one under way is here."""
        times = self._of_collectors("time")
        if not times:
            return None
        begun = 0.0
        for number in COLLECTORS:
            entry = self.seconds(f"sun.gc.collector.{number}.lastEntryTime")
            left = self.seconds(f"sun.gc.collector.{number}.lastExitTime")
            if entry is not None and left is not None and entry > left:
                begun = max(begun, self.uptime - entry)
        return sum(times) / self._frequency + begun

    @property
    def pauses(self) -> int | None:
        counts = self._of_collectors("invocations")
        return sum(counts) if counts else None

    @property
    def concurrent(self) -> float | None:
        """CPU of the threads that collect while the application runs, in seconds; JDK 22 and later tell (in ns)."""
        names = [n for n in self._counters if n.startswith("sun.threads.cpu_time.gc_conc")]
        return sum(self.number(name) or 0 for name in names) / 1e9 if names else None

    @property
    def last_collection(self) -> str | Unknown | None:
        """Whether the last collection was `young` or `full`; None if there was none."""
        young = self.number("sun.gc.collector.0.lastExitTime")
        full = self.number("sun.gc.collector.1.lastExitTime")
        if young is None or full is None:
            return _NOT_EXPORTED
        if not young and not full:
            return None
        return "full" if full > young else "young"

    @property
    def cause(self) -> str | Unknown | None:
        """Why a collection is under way, or why the last one was; None if there was none."""
        under_way, last = self.text("sun.gc.cause"), self.text("sun.gc.lastCause")
        if not under_way and not last:
            return _NOT_EXPORTED
        cause = last if under_way in ("", "No GC") else under_way
        return None if cause == "No GC" else cause

    def _generation(self, number: int, what: str) -> int | None:
        return self.number(f"sun.gc.generation.{number}.{what}")

    def _used_of(self, generation: int) -> int | None:
        spaces = [self._generation(generation, f"space.{number}.used") for number in range(6)]
        known_spaces = [space for space in spaces if space is not None]
        return sum(known_spaces) if known_spaces else None

    @property
    def used(self) -> int | Unknown:
        parts = [part for part in (self._used_of(0), self._used_of(1)) if part is not None]
        return sum(parts) if parts else _NOT_EXPORTED

    @property
    def capacity(self) -> int | Unknown:
        parts = [part for part in (self._generation(0, "capacity"), self._generation(1, "capacity")) if part]
        return sum(map(_pages, parts)) if parts else _NOT_EXPORTED

    @property
    def maximum(self) -> int | Unknown:
        parts = [part for part in (self._generation(0, "maxCapacity"), self._generation(1, "maxCapacity")) if part]
        if not parts:
            return _NOT_EXPORTED
        return _pages(max(parts)) if self.collector in _REGIONS else sum(map(_pages, parts))

    @property
    def beside(self) -> int | Unknown:
        """The memory that is neither heap nor metaspace: direct buffers, stacks, code, and what is native.

        The heap is taken for all that it may use now, though some of it may never have been touched: so it is at least
        that much.
        """
        heap = known(self.capacity)
        if self._anonymous is None or heap is None:
            return Unknown("its memory could not be read") if self._anonymous is None else _NOT_EXPORTED
        return max(0, self._anonymous - heap - (self.number("sun.gc.metaspace.used") or 0))

    @property
    def most_direct(self) -> int | Unknown:
        """What direct buffers may take: by default as much as the heap."""
        return self._most_direct or self.maximum

    @property
    def old(self) -> tuple[int | Unknown | None, int | Unknown | None]:
        """The old generation: used and at most; None where the heap has no generations."""
        if self.text("sun.gc.generation.1.name") == "Heap" or self._used_of(0) is None:
            return None, None
        used, most = self._used_of(1), self._generation(1, "maxCapacity")
        return _or_not_exported(used), _NOT_EXPORTED if most is None else _pages(most)


def _pages(capacity: int) -> int:
    return capacity // PAGE * PAGE


def _or_not_exported(value: int | None) -> int | Unknown:
    return _NOT_EXPORTED if value is None else value


def _added(then: float | None, now: float | None) -> Any:
    """What a counter grew by; it never counts back in one JVM."""
    if then is None or now is None:
        return _NOT_EXPORTED
    return round(max(0, now - then), 4)


def _count(then: _Moment, now: _Moment, name: str) -> int | Unknown:
    return _added(then.number(name), now.number(name))  # type: ignore[no-any-return]


def _rate(then: float | None, now: float | None, span: float) -> float | Unknown:
    """Growth per second."""
    if then is None or now is None:
        return _NOT_EXPORTED
    return round(max(0.0, now - then) / span, 4) if span > 0 else Unknown("it needs two samples: --window 2s")


def _share(then: float | None, now: float | None, span: float) -> float | Unknown:
    rate = _rate(then, now, span)
    return rate if isinstance(rate, Unknown) else min(1.0, rate)


def _at_safepoints(then: _Moment, now: _Moment, span: float, gc_time: float | Unknown) -> float | Unknown:
    """The share of the window at safepoints; a collection under way, which HotSpot has not added yet, counts."""
    share = _share(_safepoint_seconds(then), _safepoint_seconds(now), span)
    return share if isinstance(share, Unknown) else max(share, known(gc_time) or 0.0)


def _safepoint_seconds(moment: _Moment) -> float | None:
    """Time from the request of a safepoint to its end. In JDK 11 one counter has it; 17 and 25 keep the wait apart."""
    stopped, reaching = moment.seconds("sun.rt.safepointTime"), moment.seconds("sun.rt.safepointSyncTime")
    if stopped is None or reaching is None:
        return None
    version = moment.text("java.property.java.vm.specification.version").removeprefix("1.")
    return stopped if version.isdecimal() and int(version[:4]) < 12 else stopped + reaching


def _time_to_safepoint(then: _Moment, now: _Moment) -> float | Unknown | None:
    """The average wait for all threads to stop, in seconds; None if there was no safepoint."""
    number = _count(then, now, "sun.rt.safepoints")
    waited = _added(then.seconds("sun.rt.safepointSyncTime"), now.seconds("sun.rt.safepointSyncTime"))
    if isinstance(number, Unknown) or isinstance(waited, Unknown):
        return _NOT_EXPORTED
    return round(waited / number, 6) if number else None
