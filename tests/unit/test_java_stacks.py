"""Java dumps to threads: whose work it is, what a virtual thread does, and what is missing from a dump."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsdoc.clients.virtual_threads import VirtualThreads
from opsdoc.looks.java_stacks import HotspotStacks, collector, java_role, java_threads
from opsdoc.looks.stacks import Partial, Seen
from opsdoc.model import Frame, Malformed
from opsdoc.parsers.hotspot_dump import JavaThread

SAMPLES = Path(__file__).parent / "samples"
CARRIER = {"21": 6565, "25": 6698}
NUMBER = {"21": 24, "25": 27}
HOT = "com.acme.OrderPricer.recalculate"
STACKS = HotspotStacks(7, 10)


def sample(version: str) -> bytes:
    return (SAMPLES / f"hotspot-{version}.txt").read_bytes()


def listed(*frames: str, number: int = NUMBER["21"], more: str = "", name: str = "order-7") -> bytes:
    stack = ", ".join(f'"{frame}"' for frame in frames)
    thread = f'{{ "tid": "{number}", "name": "{name}", {more} "stack": [{stack}] }}'
    return f'{{ "threadDump": {{ "threadContainers": [ {{ "threads": [ {thread} ] }} ] }} }}'.encode()


RUNS = (f"{HOT}(OrderPricer.java:6)", "java.base/java.lang.VirtualThread.run(Unknown Source)")


def carrier(complement: bytes | None = None, version: str = "21") -> Seen:
    return STACKS.read(sample(version), {CARRIER[version]}, complement)[CARRIER[version]]


# ── virtual threads ──────────────────────────────────────────────────────────────────────────────


def test_java_25_tells_what_a_carrier_runs() -> None:
    seen = carrier(version="25")
    assert (seen.name, seen.state, seen.doubt) == ("ForkJoinPool-1-worker-1 carrying #27", "RUNNABLE", None)
    assert seen.frames[0] == Frame(HOT, "OrderPricer.java", 6)


def test_java_21_tells_it_in_its_list() -> None:
    seen = carrier(listed(*RUNS))
    assert (seen.name, seen.state, seen.doubt) == ("ForkJoinPool-1-worker-1 carrying order-7", "RUNNABLE", None)
    assert [frame.function for frame in seen.frames] == [HOT, "java.lang.VirtualThread.run"]
    assert [frame.origin for frame in seen.frames] == ["app", "runtime"]
    assert carrier(listed(*RUNS, name="")).name == "ForkJoinPool-1-worker-1 carrying #24"


@pytest.mark.parametrize(
    ("complement", "why"),
    [
        (None, "the thread dump of this Java does not tell the stack of the virtual thread #24 that it carried"),
        (listed(*RUNS, number=25), "the virtual thread #24 that it carried had ended"),
        (listed(*RUNS, number=25)[:-9], "too many threads to find the virtual thread #24"),
        (listed("java.base/java.lang.VirtualThread.park(Unknown Source)", *RUNS), "#24 that it carried was waiting"),
        (listed(*RUNS, more='"state": "WAITING",'), "was waiting when its stack was asked for"),
        (listed(*RUNS, more='"carrier": "3",'), "had moved to another thread"),
        (listed(), "was between two states"),
        (b"{0}", "not a JSON dump of threads: b'{0}'"),
    ],
)
def test_what_was_not_seen_is_a_doubt_and_never_the_schedulers_frames(complement: bytes | None, why: str) -> None:
    seen = carrier(complement)
    assert seen.doubt is not None
    assert why in seen.doubt
    assert (seen.frames, seen.state) == ((), None)
    assert seen.name.startswith("ForkJoinPool-1-worker-1 carrying ")


def test_the_list_is_asked_for_only_when_a_wanted_carrier_was_not_told() -> None:
    asked = STACKS.complement([sample("21")], {CARRIER["21"]})
    assert asked == VirtualThreads(7, 10)
    assert asked.key() == "hotspot.virtual-threads 7"
    assert STACKS.complement([sample("21")], {6560}) is None  # the hot platform thread
    assert STACKS.complement([sample("25")], {CARRIER["25"]}) is None
    assert STACKS.complement([sample("17"), b"no dump", b"   Carrying virtual thread #1"], {1, 6771}) is None
    # One look within a change from thread to thread is made good by another.
    within = (
        sample("25").replace(b"   Mounted virtual thread #27\n\tat", b"   Mounted\n\tno").replace(b"\tat com", b"\tno")
    )
    assert STACKS.complement([within, sample("25")], {CARRIER["25"]}) is None


def test_the_list_is_recorded_without_secrets() -> None:
    from opsdoc.redact import Redactor

    kept = VirtualThreads(7, 10).recorded(listed(*RUNS, name="--password=hunter2hunter2"), Redactor())
    assert b"hunter2" not in kept


# ── a dump without its end ───────────────────────────────────────────────────────────────────────


def test_a_dump_cut_short_says_so_and_what_it_has_is_believed() -> None:
    whole = java_threads(sample("17"))
    assert not isinstance(whole, Partial)
    cut = sample("17")[: sample("17").index(b'"VM Thread"')]
    seen = java_threads(cut)
    assert isinstance(seen, Partial)
    assert "cut short" in seen.reason
    assert seen[6771] == whole[6771]
    assert 0 < len(seen) < len(whole)


def test_a_thread_that_is_cut_before_its_own_code_is_left_out() -> None:
    data = sample("17")
    head = data.index(b'"price-engine-hot-0"')
    own = data.index(b"recalculate", head)
    cut = data[: data.index(b"\n", head) + 1]
    assert 6771 not in java_threads(cut)
    with pytest.raises(Malformed, match="cut short"):
        java_threads(cut, {6771})
    seen = java_threads(data[: data.index(b"\n", own) + 1], {6771})
    assert [frame.function for frame in seen[6771].frames] == [HOT]
    assert isinstance(seen, Partial)


# ── roles and collectors ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("role", "names"),
    [
        (
            "gc",
            (
                "GC Thread#0, ParGC Thread#1, G1 Main Marker, G1 Conc#0, G1 Refine#0, G1 Service"
                ", G1 Young RemSet Sampling, ZWorker#0, ZWorkerYoung#0, ZWorkerOld#1, ZDriver, ZDriverMinor, ZDirector"
                ", ZStat, ZUncommitter#0, ZUnmapper, XWorker#0, XDriver, XDirector, XStat, XUncommitter"
                ", CMS Main Thread, Shenandoah GC Threads#0, Shenandoah Control Thread, Concurrent Mark-Sweep GC Thread"
                ", GC task thread#0 (ParallelGC), Gang worker#0 (Parallel GC Threads)"
                ", G1 Concurrent Refinement Thread#0"
            ),
        ),
        ("vm", "VM Thread, VM Periodic Task Thread, RuntimeWorker#0, Something new"),
        ("jit", "C1 CompilerThread0, C2 CompilerThread12, Sweeper thread"),
    ],
)
def test_the_roles_of_the_vms_own_threads(role: str, names: str) -> None:
    for name in names.split(", "):
        number = 7 if role == "jit" else None
        assert java_role(JavaThread(name, number, 1, None, None, False, None, None)) == role, name
        frames = (Frame("com.acme.A.b"),)
        assert java_role(JavaThread(name, 7, 1, None, None, False, "RUNNABLE", None, frames)) == "app"


ALWAYS = ("java", "VM Thread", "C2 CompilerThre", "order-worker-3")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("serial", ALWAYS),
        ("parallel", (*ALWAYS, "GC Thread#0")),
        ("parallel", (*ALWAYS, "ParGC Thread#0", "ParGC Thread#1")),
        ("g1", (*ALWAYS, "GC Thread#0", "G1 Main Marker", "G1 Conc#0")),
        ("z", (*ALWAYS, "ZDirector", "ZWorker#0")),
        ("z", (*ALWAYS, "XDirector", "XWorker#0")),
        ("shenandoah", (*ALWAYS, "Shenandoah GC T")),
        ("unknown", (*ALWAYS, "GC Thread#0", "CMS Main Thread")),
        ("unknown", ("java", "java")),  # Java 8 names no thread of the VM's
        ("unknown", ()),
    ],
)
def test_the_collector_by_the_names_of_threads(kind: str, names: tuple[str, ...]) -> None:
    assert collector(names) == collector(reversed(names)) == kind
    assert STACKS.costly(names) == (kind in ("serial", "parallel", "unknown"))


@pytest.mark.parametrize(
    ("at_work", "seen"),
    [
        (True, Seen("w", "RUNNABLE", "app", (Frame("f"),))),
        (False, Seen("w", "WAITING", "app", (Frame("f"),))),
        (True, Seen("VM Thread", None, "vm", ())),
        (True, Seen("w", None, "app", (), "two claim its id")),
    ],
)
def test_who_is_at_work(at_work: bool, seen: Seen) -> None:
    assert STACKS.at_work(seen) is at_work
