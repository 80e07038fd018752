"""Whether a JVM burns its CPU in collecting garbage, in compiling, or stands still, and how full its heap is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Threshold, Unseen, known
from opsdoc.signals import gc_direct, naming
from opsdoc.signals import heap as words
from opsdoc.signals.heap import Heap
from opsdoc.signals.processes import Code, Process

WARM_UP = 120.0  # seconds: with the default thresholds most that is hot is compiled in the first two minutes of load
NARROW = 0.7  # of the old generation: full collections that leave more than that are for want of room
USED_CPU = 0.01  # cores: a JVM below it has nothing to be ruled out


class Limits(NamedTuple):
    """From which CPU, share of the time or occupancy on it matters."""

    cpu: Limit = Limit(
        0.2, 0.5, "cores", "collectors are tuned for 1 to 5 % of the CPU; a fifth of a core is a heap under pressure"
    )
    time: Limit = Limit(
        0.1, 0.3, "ratio", "G1 sizes its heap for at most 8 % of the time in GC (GCTimeRatio 12), Parallel for 1 % (99)"
    )
    old_full: Limit = Limit(
        0.9,
        None,
        "ratio",
        "what is left above a collection's end is all there is to allocate; by itself no trouble yet",
    )
    direct: Limit = Limit(
        0.8,
        None,
        "ratio",
        "of what direct buffers may take: beside them the memory holds stacks, code and what is native",
    )
    jit_cpu: Limit = Limit(
        0.5, 0.9, "cores", "compilers that keep half a core busy take it from the code that waits for them"
    )
    warm_up: Limit = Limit(0.5, None, "cores", "a JVM compiles what is hot when it starts, and that ends by itself")
    safepoints: Limit = Limit(
        0.1, 0.5, "ratio", "what stands still a tenth of the time is slower by a tenth; opsdoc's own dumps are left out"
    )


def explains(code: Code, observations: Sequence[Observation]) -> bool:
    """Whether the CPU of threads in a role is judged here, so that nobody else needs to.

    Serial GC collects in the `VM Thread` (measured on 11, 17 and 25): its CPU is GC's where the heap says so.
    """
    if code.role in ("gc", "jit"):
        return True
    heap = next((o for o in observations if isinstance(o, Heap) and o.pid == code.pid), None)
    return code.role == "vm" and heap is not None and _gc_of_vm(heap, code.cpu) > code.cpu / 2


def _gc_of_vm(heap: Heap, cpu: float) -> float:
    """What of the VM Thread's CPU is collecting: its single thread cannot use more than the time of the pauses."""
    return min(cpu, known(heap.gc_time) or 0.0) if heap.collector == "Serial" else 0.0


class _Jvm:
    """What was measured of one JVM."""

    def __init__(self, pid: int, observations: Sequence[Observation], unseen: Sequence[Unseen]) -> None:
        self.pid = pid
        self.process = next((o for o in observations if isinstance(o, Process) and o.pid == pid), None)
        self.heap = next((o for o in observations if isinstance(o, Heap) and o.pid == pid), None)
        self.codes = [o for o in observations if isinstance(o, Code) and o.pid == pid]
        of_it = [blind for blind in unseen if blind.subject.startswith(f"process {pid} ")]
        self.why_no_heap = next((blind.detail for blind in of_it if blind.subject.endswith(": heap")), "")
        self.who = naming.who(self.process, pid)
        self.name = naming.stable(self.process)

    def role(self, role: str) -> Code | None:
        return next((code for code in self.codes if code.role == role), None)

    @property
    def looked_at(self) -> bool:
        """Whether its heap or its threads' roles were seen, and there was CPU to explain."""
        seen = self.heap is not None or any(isinstance(code.role, str) for code in self.codes)
        used = known(self.process.cpu) if self.process is not None else None
        return seen and (used or 0.0) >= USED_CPU

    @property
    def gc_codes(self) -> list[Code]:
        found = [code for code in self.codes if code.role == "gc"]
        vm = self.role("vm")
        if vm is not None and self.heap is not None and _gc_of_vm(self.heap, vm.cpu) > 0:
            found.append(vm)
        return found

    @property
    def gc_cpu(self) -> float:
        of_vm = 0.0 if self.heap is None else sum(_gc_of_vm(self.heap, c.cpu) for c in self.gc_codes if c.role == "vm")
        return round(sum(code.cpu for code in self.gc_codes if code.role == "gc") + of_vm, 4)

    @property
    def stopped(self) -> float | None:
        """The share of the window that it stood still for GC, or None where that is unknown."""
        return None if self.heap is None else known(self.heap.gc_time)

    @property
    def outside_gc(self) -> float | None:
        """The share of the window at safepoints that were neither GC's nor ours, or None where that is unknown."""
        at_safepoints = None if self.heap is None else known(self.heap.safepoint_time)
        if self.heap is None or at_safepoints is None or self.stopped is None:
            return None
        return round(max(0.0, at_safepoints - self.stopped - self.heap.own_time), 4)

    def evidence(self, *codes: Code | None) -> tuple[str, ...]:
        seen = (self.process, self.heap, *codes)
        return tuple(one.id for one in seen if one is not None and one.id)


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """GC with what the heap looks like, a heap that is full, compilers, and safepoints; what is fine is ruled out."""
    jvms = [_Jvm(pid, observations, unseen) for pid in _pids(observations)]
    bad = [finding for jvm in jvms for finding in _judge_jvm(jvm, limits)]
    yield from bad
    rules = {finding.rule for finding in bad}
    yield from _ruled_out([jvm for jvm in jvms if jvm.looked_at], rules)


def _pids(observations: Sequence[Observation]) -> list[int]:
    pids = [o.pid for o in observations if isinstance(o, Process) and o.runtime == "jvm"]
    pids += [o.pid for o in observations if isinstance(o, Heap)]
    pids += [o.pid for o in observations if isinstance(o, Code) and o.role in ("gc", "jit")]
    return list(dict.fromkeys(pids))


def _judge_jvm(jvm: _Jvm, limits: Limits) -> Iterator[Finding]:
    gc = _judge_gc(jvm, limits)
    if gc is not None:
        yield gc
    elif jvm.heap is not None:
        yield from _judge_occupancy(jvm, jvm.heap, limits)
    if jvm.heap is not None and gc_direct.at_limit(jvm.heap, limits.direct):
        evidence = jvm.evidence()
        yield gc_direct.finding("gc.direct-buffers", jvm.heap, jvm.who, jvm.name, limits.direct, evidence)
    yield from _judge_jit(jvm, limits)
    if jvm.heap is not None:
        yield from _judge_safepoints(jvm, jvm.heap, limits)


# ── garbage collection ───────────────────────────────────────────────────────────────────────────


def _judge_gc(jvm: _Jvm, limits: Limits) -> Finding | None:
    """One finding by the share of the time or by the CPU, whichever is worse."""
    stopped = jvm.stopped
    by_time, by_cpu = limits.time.grade(stopped or 0.0), limits.cpu.grade(jvm.gc_cpu)
    if max(by_time, by_cpu) is Severity.OK:
        return None
    mostly_time = stopped is not None and by_time >= by_cpu
    threshold = (
        limits.time.crossed("gc.time", stopped or 0.0) if mostly_time else limits.cpu.crossed("gc.cpu", jvm.gc_cpu)
    )
    return _finding(
        jvm,
        "cpu.gc",
        max(by_time, by_cpu),
        f"{jvm.who} {_what_gc_takes(jvm, stopped, mostly_time=mostly_time)}{_how_full(jvm)}",
        threshold,
        jvm.gc_codes,
    )._replace(next_step=_next_step(jvm, limits), by_hand=_by_hand(jvm))


def _what_gc_takes(jvm: _Jvm, stopped: float | None, *, mostly_time: bool) -> str:
    threads = sum(code.threads for code in jvm.gc_codes)
    by = (
        "the VM Thread"
        if jvm.gc_codes and all(c.role == "vm" for c in jvm.gc_codes)
        else words.number(threads, "GC thread")
    )
    if mostly_time and stopped is not None:
        burnt = f" ({naming.cores(jvm.gc_cpu)} by {by})" if jvm.gc_codes else ""
        return f"spends {words.percent(stopped)} of its time in GC{burnt}"
    stands = "" if stopped is None else f", and stands still {words.percent(stopped)} of the time for it"
    return f"burns {naming.cores(jvm.gc_cpu)} in GC, by {by}{stands}"


def _how_full(jvm: _Jvm) -> str:
    """`: the old generation holds 61.2 of 64 MiB after 41 collections in 2 s`, or why that is not known."""
    heap = jvm.heap
    if heap is None:
        return f"; how full its heap is could not be read: {jvm.why_no_heap}" if jvm.why_no_heap else ""
    old = words.of_most(heap.old_used, heap.old_max)
    whole = words.of_most(heap.used, heap.max)
    held = f"the old generation holds {old}" if old else f"the heap holds {whole}" if whole else ""
    young, full = known(heap.young), known(heap.full)
    if young is None or full is None:
        number = words.number(known(heap.pauses) or 0, "pause")
    else:
        number = words.number(young + full, "collection" if young else "full collection")
        number += f" ({full} full)" if young and full else ""
    return f": {held}{' after' if held else ''} {number} in {heap.window:.0f} s"


# What asked for a collection, by the words HotSpot has for it (gcCause.cpp), and what to do about that.
_CAUSES = {
    "System.gc()": "find what calls System.gc() (RMI and direct buffers do), or start with -XX:+DisableExplicitGC",
    "Metadata GC": "look for class loaders that are never freed, or raise -XX:MetaspaceSize and -XX:MaxMetaspaceSize",
    "Heap Inspection": "find the tool that keeps asking for a class histogram",
    "Heap Dump": "find the tool that keeps asking for heap dumps",
    "Diagnostic Command": "find the tool that keeps running GC.run",
}


def _next_step(jvm: _Jvm, limits: Limits) -> str:
    if jvm.heap is None:
        return "see how full the heap is after a collection; look for what allocates, not at application code"
    if gc_direct.at_limit(jvm.heap, limits.direct):
        return gc_direct.NEXT_STEP
    cause = known(jvm.heap.cause) or ""
    asked = next((step for beginning, step in _CAUSES.items() if cause.startswith(beginning)), None)
    return asked or _by_occupancy(jvm.heap, cause, limits)


def _by_occupancy(heap: Heap, cause: str, limits: Limits) -> str:
    full, kept = known(heap.full), heap.full_after_collection or 0.0
    share = heap.old_share if heap.old_share is not None else heap.used_share or 0.0
    if kept >= limits.old_full.warn or (full and share >= NARROW):
        return "the heap stays full after collections: it is too small (-Xmx) or something keeps what it should let go"
    if "Humongous" in cause:
        return "objects of half a region or more fill the heap: allocate smaller ones, or raise -XX:G1HeapRegionSize"
    if full is None:
        return "the collector, which works beside the application, does not keep up: more heap (-Xmx), or less garbage"
    if not full:
        return "the heap is not full, garbage is made too fast: find what allocates (a profiler's allocation view)"
    return "see whether the heap fills up further: a leak, or too small for what is allocated"


def _judge_occupancy(jvm: _Jvm, heap: Heap, limits: Limits) -> Iterator[Finding]:
    share = heap.full_after_collection
    if share is None or limits.old_full.grade(share) is Severity.OK:
        return
    held = words.of_most(heap.old_used, heap.old_max)
    yield _finding(
        jvm,
        "gc.heap-full",
        limits.old_full.grade(share),
        f"the heap of {jvm.who} is nearly full: its old generation holds {held} after the last collection, though GC "
        f"takes only {words.percent(jvm.stopped or 0.0)} of the time yet",
        limits.old_full.crossed("gc.old_full", share),
        [],
    )._replace(
        next_step="watch whether it grows: it is too small (-Xmx) or something keeps what it should let go",
        by_hand=_by_hand(jvm),
    )


def _by_hand(jvm: _Jvm) -> tuple[str, ...]:
    return (f"jstat -gcutil {jvm.pid} 1000 3", f"jcmd {jvm.pid} GC.heap_info")


# ── compilers and safepoints ─────────────────────────────────────────────────────────────────────


def _judge_jit(jvm: _Jvm, limits: Limits) -> Iterator[Finding]:
    code = jvm.role("jit")
    uptime = None if jvm.heap is None else known(jvm.heap.uptime)
    young = uptime is not None and uptime < WARM_UP
    name, limit = ("gc.warm_up", limits.warm_up) if young else ("gc.jit_cpu", limits.jit_cpu)
    if code is None or (severity := limit.grade(code.cpu)) is Severity.OK:
        return
    if uptime is None:
        step = (
            "wait if it started recently; else look for a full code cache or code that is deoptimised again and again"
        )
    elif young:
        step = "wait: it is warming up; if that hurts after each start, bring the load on slowly"
    else:
        step = "look for a full code cache, code that is deoptimised again and again, or classes made anew all the time"
    by = words.number(code.threads, "thread")
    yield _finding(
        jvm,
        "cpu.jit",
        severity,
        f"{jvm.who} burns {naming.cores(code.cpu)} in JIT, by {by}{_compiled(jvm.heap)}",
        limit.crossed(name, code.cpu),
        [code],
    )._replace(
        next_step=step,
        by_hand=(
            f"jcmd {jvm.pid} Compiler.codecache",
            f"jstat -compiler {jvm.pid}",
            f"jstat -printcompilation {jvm.pid}",
        ),
    )


def _compiled(heap: Heap | None) -> str:
    """`: 812 compilations in 2 s, 48 s after it started`; a young JVM warms up, an old one has a storm."""
    if heap is None:
        return ""
    number, uptime = known(heap.compilations), known(heap.uptime)
    made = "" if number is None else f": {words.number(number, 'compilation')} in {heap.window:.0f} s"
    if uptime is None:
        return made
    kind = "it is warming up" if uptime < WARM_UP else "a storm, not the warm-up"
    return f"{made or ':'}{',' if made else ''} {words.age(uptime)} after it started: {kind}"


def _judge_safepoints(jvm: _Jvm, heap: Heap, limits: Limits) -> Iterator[Finding]:
    outside = jvm.outside_gc
    if outside is None or (severity := limits.safepoints.grade(outside)) is Severity.OK:
        return
    number, wait = known(heap.safepoints), known(heap.time_to_safepoint)
    waiting = (wait or 0.0) * (number or 0) / max(heap.window, 1e-6) > outside / 2
    average = "" if wait is None else f", each reached after {words.duration(wait)}"
    yield _finding(
        jvm,
        "cpu.safepoints",
        severity,
        f"{jvm.who} stands still {words.percent(outside)} of its time at safepoints outside GC: "
        f"{words.number(number or 0, 'safepoint')} in {heap.window:.0f} s{average}",
        limits.safepoints.crossed("gc.safepoints", outside),
        [],
    )._replace(
        next_step=(
            "threads take long to stop: look for long counted loops, or start with -XX:+UseCountedLoopSafepoints"
            if waiting
            else "see which operations stop it: dumps by monitoring tools, deoptimisation, revoked biased locks"
        ),
        by_hand=(f"jcmd {jvm.pid} VM.log what=safepoint=info",),
    )


# ── what is fine ─────────────────────────────────────────────────────────────────────────────────


def _ruled_out(jvms: Sequence[_Jvm], bad: set[str]) -> Iterator[Finding]:
    """What was looked at and is not the cause: of several JVMs the one that comes nearest to it."""
    if not jvms:
        return
    among = "" if len(jvms) == 1 else f", the most of {len(jvms)} JVMs"
    if "cpu.gc" not in bad:
        worst = max(jvms, key=lambda jvm: (jvm.stopped or 0.0, jvm.gc_cpu))
        yield _fine("cpu.gc", _fine_gc(worst) + among, worst.evidence())
    if "cpu.jit" not in bad and any(jvm.codes for jvm in jvms):
        worst = max(jvms, key=_jit_cpu)
        yield _fine("cpu.jit", f"JIT {naming.cores(_jit_cpu(worst))}{among}", worst.evidence(worst.role("jit")))
    measured = [(outside, jvm) for jvm in jvms if (outside := jvm.outside_gc) is not None]
    if "cpu.safepoints" not in bad and measured:
        outside, worst = max(measured, key=lambda pair: pair[0])
        yield _fine("cpu.safepoints", f"other safepoints {words.percent(outside)}{among}", worst.evidence())


def _jit_cpu(jvm: _Jvm) -> float:
    code = jvm.role("jit")
    return 0.0 if code is None else code.cpu


def _fine_gc(jvm: _Jvm) -> str:
    if jvm.heap is None or jvm.stopped is None:
        return f"GC {naming.cores(jvm.gc_cpu)}"
    share = jvm.heap.old_share
    full = "" if share is None else f", old generation {words.percent(share)} full"
    return f"GC {words.percent(jvm.stopped)} of the time{full}"


def _fine(rule: str, summary: str, evidence: tuple[str, ...]) -> Finding:
    return Finding(
        rule=rule, key=f"{rule}:box", severity=Severity.OK, subject="this machine", summary=summary, evidence=evidence
    )


def _finding(
    jvm: _Jvm, rule: str, severity: Severity, summary: str, threshold: Threshold, codes: Sequence[Code]
) -> Finding:
    return Finding(
        rule=rule,
        key=f"{rule}:{jvm.name}",
        severity=severity,
        subject=jvm.who,
        summary=summary,
        evidence=jvm.evidence(*codes),
        threshold=threshold,
    )
