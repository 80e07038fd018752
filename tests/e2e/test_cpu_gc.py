"""`opsdoc cpu` on JVMs whose CPU is no code of theirs: a full heap with its numbers, and compilers without end."""

from __future__ import annotations

import pytest
from servers import jdk
from servers.cli import CALM

pytestmark = pytest.mark.xdist_group("java")

MIB = 1 << 20
# On a crowded machine threads get a part of what they want; the time stopped for GC is the wall clock's.
ANY_GC = ("--limit", "gc.cpu=0.02:0.04", "--limit", "gc.time=0.1:0.3")
ANY_JIT = ("--limit", "gc.warm_up=0.02:9", "--limit", "gc.jit_cpu=0.02:9")
NO_CODE = ("--limit", "hot.thread_cpu=9:9", "--limit", "hot.code_cpu=9:9")


def test_a_full_heap_is_the_headline_with_its_numbers(opsdoc, gc_jvm):
    run = opsdoc.json("cpu", "--pid", gc_jvm.pid, *ANY_GC, *NO_CODE, *CALM)
    finding = run.finding("cpu.gc")
    assert (finding["severity"], run.code) == ("critical", 2)
    assert run.report["summary"] == finding["summary"]
    assert f"com.acme.GcBound (pid {gc_jvm.pid})" in finding["summary"]
    assert "% of its time in GC" in finding["summary"]
    assert "the old generation holds" in finding["summary"]
    assert "of 64 MiB after" in finding["summary"]
    assert finding["by_hand"] == [f"jstat -gcutil {gc_jvm.pid} 1000 3", f"jcmd {gc_jvm.pid} GC.heap_info"]
    (heap,) = run.of("heap")
    assert heap["id"] in finding["evidence"]
    assert heap["subject"] == f"heap of {gc_jvm.pid} java"
    assert (heap["collector"], heap["max"], heap["old_max"]) == ("G1", 64 * MIB, 64 * MIB)
    assert heap["old_used"] > 0.8 * heap["old_max"]
    assert heap["gc_time"] > 0.3
    assert heap["young"] + heap["full"] > 0
    assert not [f for f in run.findings if f["rule"] == "cpu.gc" and f is not finding]


def test_serial_gc_is_gc_although_the_vm_thread_does_it(opsdoc, start):
    options = (*jdk.ATTACHABLE, "-XX:-UseG1GC", "-XX:+UseSerialGC", "-Xmx64m", "-Xms64m")
    with start(jdk.java, "GcBound", 0.66, options=options).hot() as program:
        run = opsdoc.json("cpu", "--pid", program.pid, *ANY_GC, *NO_CODE, "--limit", "gc.time=0.02:0.05", *CALM)
        finding = run.finding("cpu.gc")
        assert run.report["summary"] == finding["summary"]
        assert "by the VM Thread)" in finding["summary"]
        assert not [f for f in run.findings if f["rule"] == "cpu.vm" and f["severity"] != "ok"]
        assert run.of("heap")[0]["collector"] == "Serial"


def test_without_perf_data_the_threads_tell_and_the_reason_stands_beside(opsdoc, start):
    options = (*jdk.ATTACHABLE, "-XX:-UsePerfData", "-Xmx64m", "-Xms64m")
    with start(jdk.java, "GcBound", 0.84, options=options).hot() as program:
        run = opsdoc.json("cpu", "--pid", program.pid, *ANY_GC, *NO_CODE, *CALM)
        finding = run.finding("cpu.gc")
        assert finding["threshold"]["name"] == "gc.cpu"
        assert "cores in GC" in finding["summary"]
        assert "could not be read" in finding["summary"]
        assert "-XX:-UsePerfData" in finding["summary"]
        assert run.of("heap") == []
        assert any(u["subject"].endswith(": heap") and u["reason"] == "unsupported" for u in run.unseen)


def test_compilers_without_end_are_named(opsdoc, start):
    with start(jdk.java, "JitStorm", options=jdk.ATTACHABLE).hot() as program:
        run = opsdoc.json("cpu", "--pid", program.pid, *ANY_JIT, *NO_CODE, *CALM)
        finding = run.finding("cpu.jit")
        assert run.report["summary"] == finding["summary"]
        assert f"com.acme.JitStorm (pid {program.pid}) burns" in finding["summary"]
        assert "after it started: it is warming up" in finding["summary"]
        (heap,) = run.of("heap")
        assert heap["id"] in finding["evidence"]
        assert heap["compile_time"] > 0.1
        assert "cpu.gc" in finding["ruled_out"]


def test_direct_buffers_at_their_limit_are_named(opsdoc, start):
    with start(jdk.direct_cache).hot() as program:
        assert program.facts["replaced"] > 0
        run = opsdoc.json("cpu", "--pid", program.pid, *NO_CODE, *CALM)
        finding = run.finding("gc.direct-buffers")
        assert finding["severity"] == "warning"
        assert f"direct buffers of com.acme.DirectCache (pid {program.pid}) are at their limit: " in finding["summary"]
        assert "of 192 MiB beside its heap, and " in finding["summary"]
        assert "MaxDirectMemorySize" in finding["next_step"]
        (heap,) = run.of("heap")
        assert heap["cause"] == "System.gc()"
        assert heap["direct_max"] == 192 * MIB
        assert heap["beside"] > 0.8 * 192 * MIB
        assert heap["full"] > 0
        for other in run.findings:
            if other["rule"] == "cpu.gc" and other["severity"] != "ok":
                assert other["next_step"] == finding["next_step"]
