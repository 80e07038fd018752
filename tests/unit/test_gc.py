"""What a heap did in a window, from two looks at its counters; and what is made of it, with and without them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from servers import jdk
from servers.programs import stat, wait_until

from opsdoc.clients import Live
from opsdoc.clients.hsperf import PerfData
from opsdoc.host import Answer, LiveHost
from opsdoc.looks.heaps import heap
from opsdoc.model import Severity, Unknown, Unseen
from opsdoc.redact import Redactor
from opsdoc.signals.gc import Limits, explains, judge
from opsdoc.signals.heap import Heap
from opsdoc.signals.processes import Code, Process

MIB = 1 << 20
SECOND = 1_000_000_000  # ticks

# ── from counters to a heap ──────────────────────────────────────────────────────────────────────

# A JVM 17 with G1 as it writes them; its capacities have a few bytes too many.
G1 = {
    "sun.os.hrt.frequency": SECOND,
    "sun.os.hrt.ticks": 100 * SECOND,
    "java.property.java.vm.specification.version": "17",
    "sun.gc.policy.name": "GarbageFirst",
    "sun.gc.cause": "No GC",
    "sun.gc.lastCause": "G1 Evacuation Pause",
    "sun.gc.collector.0.name": "G1 young collection pauses",
    "sun.gc.generation.0.name": "young",
    "sun.gc.generation.0.capacity": 4 * MIB + 24,
    "sun.gc.generation.0.maxCapacity": 64 * MIB + 24,
    "sun.gc.generation.0.space.0.used": 1 * MIB,
    "sun.gc.generation.0.space.2.used": MIB // 2,
    "sun.gc.generation.1.name": "old",
    "sun.gc.generation.1.capacity": 60 * MIB + 8,
    "sun.gc.generation.1.maxCapacity": 64 * MIB + 8,
    "sun.gc.generation.1.space.0.used": 58 * MIB,
    "sun.gc.metaspace.used": 5 * MIB,
    "sun.rt.safepoints": 10,
    "sun.rt.safepointTime": 2 * SECOND,
    "sun.rt.safepointSyncTime": 0,
    "java.ci.totalTime": 3 * SECOND,
    "sun.ci.totalCompiles": 200,
    "sun.ci.totalInvalidates": 0,
    **{f"sun.gc.collector.{n}.invocations": 5 for n in range(3)},
    **{f"sun.gc.collector.{n}.time": SECOND for n in range(3)},
    **{f"sun.gc.collector.{n}.lastEntryTime": 90 * SECOND for n in range(3)},
    **{f"sun.gc.collector.{n}.lastExitTime": (91 + n) * SECOND for n in range(3)},
}


def answer(at, counters, *, since_begin=None, age=None):
    value = {
        "counters": counters,
        "since_begin": 100.01 + at if since_begin is None else since_begin,
        "age": age or 101 + at,
    }
    return Answer(value, at, 0.001)


def later(seconds=2, **changes):
    """The counters some seconds later; `collector_0_time=…` is added to sun.gc.collector.0.time."""
    grown = dict(G1)
    grown["sun.os.hrt.ticks"] += seconds * SECOND
    for short, more in changes.items():
        name = next(name for name in grown if name.endswith(short.replace("_", ".")))
        grown[name] += more
    return grown


def measured(now, then=None, span=2.0):
    return heap(7, "heap of 7 java", answer(1.0, then or G1), answer(1.0 + span, now))


def test_rates_come_from_two_looks_and_occupancy_from_the_second():
    now = later(
        collector_0_time=SECOND, collector_1_time=SECOND // 2, collector_0_invocations=30, collector_1_invocations=11,
        safepoints=50, safepointTime=SECOND * 8 // 5, safepointSyncTime=SECOND // 10, totalTime=SECOND, totalCompiles=9,
    )  # fmt: skip
    one = measured(now)
    assert (one.collector, one.gc_time, one.young, one.full, one.pauses) == ("G1", 0.75, 30, 11, 41)
    assert (one.used, one.capacity, one.max) == (59 * MIB + MIB // 2, 64 * MIB, 64 * MIB)
    assert (one.old_used, one.old_max, one.old_share) == (58 * MIB, 64 * MIB, 58 / 64)
    assert (one.last_collection, one.cause) == ("full", "G1 Evacuation Pause")
    assert (one.safepoint_time, one.safepoints, one.time_to_safepoint) == (0.85, 50, 0.002)
    assert (one.compile_time, one.compilations, one.invalidated) == (1.0, 9, 0)
    assert one.metaspace == 5 * MIB
    assert one.uptime == pytest.approx(102.06)  # its own clock allows no more
    assert isinstance(one.concurrent_cpu, Unknown)


def test_the_wait_for_a_safepoint_is_added_where_the_jvm_keeps_it_apart():
    now = later(safepointTime=SECOND, safepointSyncTime=SECOND // 2)
    assert measured(now).safepoint_time == 0.75
    old = {"java.property.java.vm.specification.version": "11"}
    assert measured(now | old, G1 | old).safepoint_time == 0.5


def test_a_collection_under_way_counts_from_its_beginning():
    begun = {"sun.gc.collector.1.lastEntryTime": 101 * SECOND, "sun.gc.cause": "Metadata GC Threshold"}
    one = measured(later(2) | begun)
    assert one.gc_time == pytest.approx(0.53, abs=0.04)  # of 2 s, about 1 s
    assert (one.safepoint_time, one.cause) == (one.gc_time, "Metadata GC Threshold")
    both = measured(later(2) | begun | {"sun.gc.collector.1.lastEntryTime": 95 * SECOND}, G1 | begun | {
        "sun.gc.collector.1.lastEntryTime": 95 * SECOND
    })  # fmt: skip
    assert both.gc_time == 1.0
    ended = measured(later(2, collector_1_time=5 * SECOND), G1 | {"sun.gc.collector.1.lastEntryTime": 95 * SECOND})
    assert ended.gc_time < 0.05, "what it took before the window is not the window's"


def test_a_jvm_without_a_clock_of_its_own_is_as_old_as_the_wall_clock_says():
    without = {name: value for name, value in later(2).items() if name != "sun.os.hrt.ticks"}
    one = heap(7, "x", answer(1, without), answer(3, without, since_begin=102.4, age=102.9))
    assert one.uptime == 102.4
    for wrong in (-5e9, 0, None):  # the wall clock was set
        assert heap(7, "x", answer(1, without), answer(3, without, since_begin=wrong)).uptime >= 93
    assert heap(7, "x", answer(1, without), answer(3, without, since_begin=5e9)).uptime == 104


def test_serial_and_parallel_have_two_halves_of_a_heap():
    one = measured(later() | {"sun.gc.policy.name": "Copy:MSC", "sun.gc.generation.0.maxCapacity": 20 * MIB})
    assert (one.collector, one.max) == ("Serial", 84 * MIB)


def test_collectors_without_generations_have_no_old_one_and_count_pauses():
    others = ("sun.gc.policy", "sun.gc.generation.0", "sun.gc.collector.0", "sun.gc.collector.1")
    then = {name: value for name, value in G1.items() if not name.startswith(others)}
    then["sun.gc.collector.2.name"] = "Z concurrent cycle pauses"
    one = measured(then | {"sun.gc.collector.2.invocations": 11}, then)
    assert (one.collector, one.old_used, one.young, one.full, one.last_collection) == ("ZGC", None, None, None, None)
    assert (one.used, one.max, one.pauses) == (58 * MIB, 64 * MIB, 6)


def test_what_is_not_exported_is_unknown_and_never_0():
    one = heap(7, "x", answer(1, {}), answer(3, {}))
    unknown = {name for name in Heap.fields() if isinstance(getattr(one, name), Unknown)}
    known_or_none = {"pid", "uptime", "window", "old_used", "old_max", "own_time"}
    assert unknown == set(Heap.fields()) - known_or_none
    assert isinstance(heap(7, "x", answer(1, G1), answer(1, G1)).gc_time, Unknown)


def test_counters_that_lie_break_nothing():
    mad = {name: -(2**63) if isinstance(value, int) else "?" for name, value in G1.items()}
    for then, now in ((mad, G1), (G1, mad), (mad, mad)):
        assert measured(now, then).gc_time in (0.0, 1.0)


# ── the verdict ──────────────────────────────────────────────────────────────────────────────────


def process(cpu=1.5, pid=7):
    command = "java -cp /srv com.acme.GcBound 0.84"
    return Process(id=f"p{pid}", subject="7 java", pid=pid, cpu=cpu, name="java", command=command, runtime="jvm")


def code(role, cpu, threads=2, pid=7):
    return Code(id=f"{role}{pid}", subject=role, cpu=cpu, pid=pid, threads=threads, role=role)


def a_heap(pid=7, **changes):
    values = {
        "gc_time": 0.004, "collector": "G1", "used": 30 * MIB, "capacity": 64 * MIB, "max": 64 * MIB,
        "old_used": 22 * MIB, "old_max": 64 * MIB, "last_collection": "young", "young": 3, "full": 0, "pauses": 3,
        "concurrent_cpu": Unknown("no"), "cause": "G1 Evacuation Pause", "safepoint_time": 0.005, "safepoints": 4,
        "time_to_safepoint": 0.0001, "compile_time": 0.1, "compilations": 9, "invalidated": 0, "metaspace": MIB,
        "uptime": 9000.0, "window": 2.0,
    }  # fmt: skip
    return Heap(id=f"h{pid}", subject=f"heap of {pid} java", pid=pid, **{**values, **changes})


def found(*observations, unseen=(), limits=None):
    return list(judge(observations, unseen, limits or Limits()))


def bad(findings):
    return [(f.rule, f.severity.word) for f in findings if f.severity is not Severity.OK]


FULL = {"gc_time": 0.83, "safepoint_time": 0.85, "old_used": 64172851, "young": 30, "full": 11}


def test_a_full_heap_is_named_with_its_numbers():
    findings = found(process(), a_heap(**FULL), code("gc", 1.2))
    assert bad(findings) == [("cpu.gc", "critical")]
    finding = findings[0]
    assert finding.summary == (
        "com.acme.GcBound (pid 7) spends 83 % of its time in GC (1.20 cores by 2 GC threads): "
        "the old generation holds 61.2 of 64 MiB after 41 collections (11 full) in 2 s"
    )
    assert finding.evidence == ("p7", "h7", "gc7")
    assert (finding.threshold.name, finding.threshold.value) == ("gc.time", 0.83)
    assert finding.key == "cpu.gc:com.acme.GcBound"
    assert "too small" in finding.next_step
    assert finding.by_hand == ("jstat -gcutil 7 1000 3", "jcmd 7 GC.heap_info")


@pytest.mark.parametrize(
    ("time_in_gc", "cpu", "severity", "limit"),
    [
        (0.12, 0.1, "warning", "gc.time"),
        (0.12, 0.7, "critical", "gc.cpu"),
        (0.5, 0.3, "critical", "gc.time"),
        (0.01, 0.3, "warning", "gc.cpu"),
        (0.09, 0.19, None, None),
    ],
)
def test_the_worse_of_time_and_cpu_decides(time_in_gc, cpu, severity, limit):
    findings = found(process(), a_heap(gc_time=time_in_gc), code("gc", cpu))
    assert bad(findings) == ([("cpu.gc", severity)] if severity else [])
    if limit:
        assert findings[0].threshold.name == limit
        assert ("burns" if limit == "gc.cpu" else "spends") in findings[0].summary


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"cause": "System.gc()", "full": 3}, "System.gc()"),
        ({"cause": "Metadata GC Threshold"}, "class loaders"),
        ({"cause": "G1 Humongous Allocation"}, "G1HeapRegionSize"),
        ({"cause": "Heap Inspection Initiated GC"}, "histogram"),
        ({"old_used": 62 * MIB, "last_collection": "full"}, "too small"),
        ({"old_used": 50 * MIB, "full": 5}, "too small"),
        ({"young": 400}, "garbage is made too fast"),
        ({"collector": "Serial", "old_used": 62 * MIB, "young": 400}, "garbage is made too fast"),
        ({"young": None, "full": None, "old_used": None}, "does not keep up"),
        ({"young": Unknown("no"), "full": Unknown("no"), "cause": None}, "does not keep up"),
    ],
)
def test_the_next_step_follows_from_the_numbers(changes, step):
    (finding, *_) = found(process(), a_heap(gc_time=0.5, **changes), code("gc", 0.9))
    assert step in finding.next_step


CALLED = {"cause": "System.gc()", "full": 9, "beside": 180 * MIB, "direct_max": 192 * MIB}


def test_direct_buffers_at_their_limit_are_named_by_what_asks_for_room():
    findings = found(process(), a_heap(**CALLED))
    assert bad(findings) == [("gc.direct-buffers", "warning")]
    assert findings[0].summary == (
        "direct buffers of com.acme.GcBound (pid 7) are at their limit: 180.0 of 192 MiB beside its heap, and "
        "9 full collections in 2 s that the program asked for (System.gc()) to make room"
    )
    assert findings[0].threshold.value == 180 / 192
    with_gc = found(process(), a_heap(**CALLED, gc_time=0.5))
    assert bad(with_gc) == [("cpu.gc", "critical"), ("gc.direct-buffers", "warning")]
    assert with_gc[0].next_step == findings[0].next_step


@pytest.mark.parametrize(
    "changes",
    [
        {"cause": "G1 Evacuation Pause"},
        {"cause": None},
        {"full": 0, "pauses": 0},
        {"beside": 100 * MIB},
        {"beside": Unknown("its memory could not be read")},
        {"direct_max": Unknown("this JVM does not export it")},
    ],
)
def test_direct_buffers_are_not_blamed_without_their_marks(changes):
    assert bad(found(process(), a_heap(**{**CALLED, **changes}))) == []


def test_memory_beside_the_heap():
    now, then = answer(3.0, later()), answer(1.0, G1)
    now.value.update(anonymous=300 * MIB, most_direct=192 * MIB)
    one = heap(7, "heap of 7 java", then, now)
    assert (one.beside, one.direct_max) == ((300 - 64 - 5) * MIB, 192 * MIB)
    now.value.update(anonymous=1, most_direct=None)
    one = heap(7, "heap of 7 java", then, now)
    assert (one.beside, one.direct_max) == (0, one.max)
    assert isinstance(measured(later()).beside, Unknown)


def test_serial_gc_collects_in_the_vm_thread():
    serial = a_heap(**FULL, collector="Serial")
    vm = code("vm", 0.8, threads=1)
    finding = found(process(), serial, vm)[0]
    assert "83 % of its time in GC (0.80 cores by the VM Thread)" in finding.summary
    assert finding.evidence == ("p7", "h7", "vm7")
    assert explains(vm, [serial])
    assert not explains(vm, [a_heap(collector="Serial")])
    assert not explains(vm, [a_heap(**FULL)])
    assert not explains(vm, [])
    assert explains(code("gc", 1), [])


def test_without_perf_data_the_threads_are_judged_alone_and_the_reason_is_given():
    reason = "JVM 7 shares no perf data: it runs with -XX:-UsePerfData"
    blind = [
        Unseen(subject="process 71 java: heap", reason="denied", detail="of another"),
        Unseen(subject="process 7 java: heap", reason="unsupported", detail=reason),
    ]
    findings = found(process(), code("gc", 0.7), unseen=blind)
    assert bad(findings) == [("cpu.gc", "critical")]
    assert findings[0].summary == (
        "com.acme.GcBound (pid 7) burns 0.70 cores in GC, by 2 GC threads; "
        f"how full its heap is could not be read: {reason}"
    )
    assert findings[0].threshold.name == "gc.cpu"
    assert [f.summary for f in found(process(), code("app", 1.0), unseen=blind)] == ["GC 0.00 cores", "JIT 0.00 cores"]


def test_a_heap_that_is_full_is_a_warning_before_gc_takes_much():
    findings = found(process(), a_heap(old_used=60 * MIB))
    assert bad(findings) == [("gc.heap-full", "warning")]
    assert "60.0 of 64 MiB" in findings[0].summary
    assert bad(found(process(), a_heap(old_used=60 * MIB, gc_time=0.5))) == [("cpu.gc", "critical")]


@pytest.mark.parametrize("collector", ["Serial", "Parallel"])
def test_garbage_in_an_old_generation_is_no_trouble_until_a_full_collection_left_it(collector):
    grown = {"collector": collector, "old_used": 63 * MIB}
    assert bad(found(process(), a_heap(**grown))) == []
    assert bad(found(process(), a_heap(**grown, last_collection="full"))) == [("gc.heap-full", "warning")]


def test_a_warm_up_and_a_storm_are_said_apart():
    storm = found(process(), a_heap(compilations=812), code("jit", 1.35))[0]
    assert (storm.rule, storm.severity) == ("cpu.jit", Severity.CRITICAL)
    assert storm.summary == (
        "com.acme.GcBound (pid 7) burns 1.35 cores in JIT, by 2 threads: "
        "812 compilations in 2 s, 2 h after it started: a storm, not the warm-up"
    )
    young = found(process(), a_heap(compilations=812, uptime=48.0), code("jit", 1.35))[0]
    assert (young.rule, young.severity, young.threshold.name) == ("cpu.jit", Severity.WARNING, "gc.warm_up")
    assert "48 s after it started: it is warming up" in young.summary
    assert young.next_step.startswith("wait")
    blind = found(process(), code("jit", 0.95))[0]
    assert (blind.severity, blind.summary.endswith("by 2 threads")) == (Severity.CRITICAL, True)


def test_safepoints_outside_gc():
    slow = found(process(), a_heap(safepoint_time=0.6, gc_time=0.05, safepoints=4, time_to_safepoint=0.26))[0]
    assert (slow.rule, slow.severity, slow.threshold.value) == ("cpu.safepoints", Severity.CRITICAL, 0.55)
    assert "4 safepoints in 2 s, each reached after 260.0 ms" in slow.summary
    assert "counted loops" in slow.next_step
    often = found(process(), a_heap(safepoint_time=0.3, safepoints=900))[0]
    assert (often.severity, "which operations" in often.next_step) == (Severity.WARNING, True)
    assert bad(found(process(), a_heap(safepoint_time=0.85, gc_time=0.83), limits=Limits()))[1:] == []


def test_what_was_ruled_out_is_said_once_and_only_of_jvms_that_used_cpu():
    (gc, jit, safepoints) = found(process(), a_heap(), code("jit", 0.02), code("app", 1.0))
    assert gc.summary == "GC 0.4 % of the time, old generation 34 % full"
    assert (jit.summary, safepoints.summary) == ("JIT 0.02 cores", "other safepoints 0.1 %")
    two = found(process(), process(pid=8), a_heap(), a_heap(8, gc_time=0.05), code("app", 1), code("app", 1, pid=8))
    assert two[0].summary == "GC 5.0 % of the time, old generation 34 % full, the most of 2 JVMs"
    assert found(process(0.0), a_heap()) == []
    assert found(process()) == []
    assert found(Process(subject="x", pid=9, cpu=1.0, name="x", runtime="native")) == []
    sick_beside = found(process(), process(pid=8), a_heap(**FULL), a_heap(8), code("app", 1), code("app", 1, pid=8))
    assert [f.rule for f in sick_beside if f.severity is Severity.OK] == ["cpu.jit", "cpu.safepoints"]


# ── real JVMs ────────────────────────────────────────────────────────────────────────────────────


def live_heap(pid, window=1.0):
    host = LiveHost(Live(deadline=time.monotonic() + 30, redactor=Redactor()), "2026-11-03T14:02:11+08:00")
    question = PerfData(pid, int(stat(pid)[19]))
    first = host.ask(question)
    host.sleep(window)
    return heap(pid, f"heap of {pid} java", first, host.ask(question))


def test_a_full_heap_of_a_real_jvm(gc_jvm):
    one = live_heap(gc_jvm.pid)
    assert one.collector == "G1"
    assert one.gc_time > 0.3
    assert one.max == 64 * MIB
    assert 0.8 < one.old_share <= 1
    assert one.young + one.full > 0
    assert one.safepoint_time >= one.gc_time
    (finding, *_) = found(process(pid=gc_jvm.pid), one)
    assert (finding.rule, finding.severity) == ("cpu.gc", Severity.CRITICAL)


@pytest.mark.xdist_group("java")
@pytest.mark.parametrize(
    ("option", "collector", "largest"),
    [("-XX:+UseSerialGC", "Serial", 64), ("-XX:+UseParallelGC", "Parallel", 64), ("-XX:+UseZGC", "ZGC", 64)],
)
def test_each_collector_has_its_name_and_its_heap(start, option, collector, largest):
    program = start(jdk.java, "GcBound", 0.2, options=("-XX:-UseG1GC", option, "-Xmx64m", "-Xms64m"))
    one = live_heap(program.pid, 0.1)
    assert (one.collector, one.max) == (collector, largest * MIB)
    assert 0.2 * 64 * MIB <= one.used <= one.capacity <= one.max
    assert one.gc_time < 0.5


@pytest.mark.xdist_group("java")
def test_the_age_of_a_real_jvm(hot_jvm):
    one = live_heap(hot_jvm.pid, 0.05)
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    age = uptime - int(stat(hot_jvm.pid)[19]) / 100
    assert age - 2 < one.uptime <= age + 0.1


@pytest.mark.xdist_group("java")
def test_a_real_storm_of_compilations(start):
    with start(jdk.java, "JitStorm").hot() as program:
        assert program.facts["jit_share"] > 0
        one = wait_until(lambda: (found := live_heap(program.pid)).compilations > 3 and found, "compilations")
        assert one.compile_time > 0.1
