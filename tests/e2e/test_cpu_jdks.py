"""`opsdoc cpu` on Java 11 to 25: the hot thread of each, and the code of a virtual thread."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from servers import jdk, programs, users
from servers.cli import CALM
from servers.programs import wait_until

from opsdoc.clients import Live, hotspot
from opsdoc.clients import virtual_threads as client
from opsdoc.clients.virtual_threads import VirtualThreads
from opsdoc.looks.java_stacks import collector, java_threads
from opsdoc.model import TimedOut, Unsupported
from opsdoc.parsers import hotspot_dump
from opsdoc.parsers import java_threads as listing
from opsdoc.redact import Redactor

pytestmark = pytest.mark.xdist_group("java")

HOT = ("--limit", "hot.thread_cpu=0.02:9")
FUNCTION = "com.acme.OrderPricer.recalculate"


def live_for(seconds=20.0, **changes):
    return Live(deadline=time.monotonic() + seconds, redactor=Redactor(), **changes)


def started(pid):
    return int(programs.stat(pid)[19])


def pipes_of(program):
    return sorted(Path("/tmp").glob(f".opsdoc_{program.pid}_*"))


def dump_of(program):
    return hotspot.ThreadDump(program.pid, started(program.pid)).answer(live_for())


def assert_answers(program):
    """The JVM's one attach thread is free, and what was asked of the JVM left no trace in its output or its /tmp."""
    assert hotspot_dump.parse(dump_of(program)).complete
    assert program.alive
    assert program.stray_output() == ""
    assert pipes_of(program) == []


# ── the hot thread of each release ───────────────────────────────────────────────────────────────


@pytest.fixture(params=jdk.RELEASES)
def hot_release(request, shared_jvm):
    return shared_jvm(jdk.hot_one, options=jdk.ATTACHABLE, release=request.param)


def test_the_hot_thread_of_400_is_named_with_its_line_on_every_release(opsdoc, hot_release):
    tid = hot_release.facts["hot_tid"]
    run = opsdoc.json("cpu", "--pid", hot_release.pid, *HOT, *CALM)
    thread = run.thread(tid)
    assert run.of("thread")[0] is thread
    assert (thread["tid_hex"], thread["name"], thread["role"]) == (hex(tid), "order-worker-3", "app")
    assert thread["state"] == "RUNNABLE"
    innermost = thread["frames"][0]
    assert (innermost["function"], innermost["file"], innermost["line"]) == (FUNCTION, "OrderPricer.java", jdk.LINE)
    finding = run.finding("cpu.app-code")
    for words in (f"pid {hot_release.pid}", str(tid), hex(tid), "order-worker-3"):
        assert words in finding["subject"]
    assert f"{FUNCTION} (OrderPricer.java:{jdk.LINE})" in finding["summary"]
    assert (run.stderr, run.report["cost"]["target_files"]) == ("", [])
    assert_answers(hot_release)


@pytest.mark.parametrize("spell", [str, hex])
def test_the_one_thread_is_found_by_its_id_in_decimal_and_hex(opsdoc, hot_release, spell):
    tid = hot_release.facts["hot_tid"]
    run = opsdoc.json("stack", hot_release.pid, "--tid", spell(tid))
    (thread,) = run.of("thread")
    assert (thread["tid"], thread["frames"][0]["function"]) == (tid, FUNCTION)


def test_a_saved_dump_of_java_8_tells_the_thread_by_its_hexadecimal_id(opsdoc, tmp_path):
    """By hand, from the sources of HotSpot 8: no cpu, no elapsed, the id of the kernel in hex."""
    saved = tmp_path / "jstack.txt"
    saved.write_text(
        "2026-11-24 12:00:00\nFull thread dump Java HotSpot(TM) 64-Bit Server VM (25.392-b08 mixed mode):\n\n"
        '"pool-1-thread-1" #23 prio=5 os_prio=0 tid=0x00007f2a3c1d5000 nid=0x5b3b runnable [0x00007f2a0b2f1000]\n'
        "   java.lang.Thread.State: RUNNABLE\n"
        "\tat com.acme.OrderPricer.recalculate(OrderPricer.java:88)\n"
        "\tat java.lang.Thread.run(Thread.java:750)\n\n"
        '"VM Thread" os_prio=0 tid=0x00007f2a3c06b000 nid=0x5b30 runnable \n\n'
        '"GC task thread#0 (ParallelGC)" os_prio=0 tid=0x00007f2a3c01e800 nid=0x5b2e runnable \n\n'
        "JNI global references: 123\n\n"
    )
    for spelled in ("0x5b3b", str(0x5B3B)):
        run = opsdoc.json("stack", "--dump", saved, "--tid", spelled)
        (thread,) = run.of("thread")
        assert (thread["tid"], thread["name"], thread["state"]) == (0x5B3B, "pool-1-thread-1", "RUNNABLE")
        assert (thread["frames"][0]["function"], thread["frames"][0]["line"]) == (FUNCTION, 88)
    roles = {thread["name"]: thread["role"] for thread in opsdoc.json("stack", "--dump", saved).of("thread")}
    assert roles == {"pool-1-thread-1": "app", "VM Thread": "vm", "GC task thread#0 (ParallelGC)": "gc"}


# ── the collectors ───────────────────────────────────────────────────────────────────────────────

VM = {"VM Thread", "VM Periodic Task Thread", "RuntimeWorker#"}


@pytest.mark.parametrize("release", jdk.RELEASES)
@pytest.mark.parametrize("kind", ["Serial", "Parallel", "G1", "Z", "Shenandoah"])
def test_the_collector_is_told_by_its_threads(start, release, kind):
    program = start(jdk.java, "HotOne", 5, 2, options=jdk.ATTACHABLE, release=release, collector=kind)
    names = [
        Path(f"/proc/{program.pid}/task/{tid}/comm").read_text().rstrip("\n")
        for tid in os.listdir(f"/proc/{program.pid}/task")
    ]
    assert collector(names) == kind.lower()
    roles = {"gc": set(), "vm": set(), "jit": set(), "app": set()}
    for seen in java_threads(dump_of(program)).values():
        roles[seen.role].add(re.sub(r"\d+$", "", seen.name))
    assert roles["vm"] <= VM
    assert bool(roles["gc"]) == (kind != "Serial")
    assert {"C1 CompilerThread", "C2 CompilerThread"} <= roles["jit"]
    assert "order-worker-" in roles["app"]


# ── virtual threads ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("release", [21, 25])
@pytest.mark.parametrize("name", ["order-7", "-"])
def test_a_hot_virtual_thread_shows_its_own_code(opsdoc, shared_jvm, release, name):
    program = shared_jvm(jdk.hot_virtual, name=name, release=release)
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    thread = run.thread(program.facts["hot_tid"])
    assert [frame["function"] for frame in thread["frames"]][:2] == [FUNCTION, "com.acme.OrderPricer.price"]
    assert thread["frames"][0]["line"] == jdk.LINE
    told = name if (release, name) == (21, "order-7") else f"#{program.facts['virtual']}"  # 25 does not print the name
    assert thread["name"] == f"ForkJoinPool-1-worker-1 carrying {told}"
    assert (thread["role"], thread["state"]) == ("app", "RUNNABLE")
    assert f"{FUNCTION} (OrderPricer.java:{jdk.LINE})" in run.finding("cpu.app-code")["summary"]
    files = run.report["cost"]["target_files"]
    if release == 21:
        (file,) = files
        assert re.fullmatch(rf"/proc/{program.pid}/root/tmp/\.opsdoc_{program.pid}_[0-9a-f]{{16}}", file)
        assert (
            run.stderr
            == f"opsdoc: creates {file} for a moment: a pipe through which the JVM tells of its virtual threads\n"
        )
    else:
        assert (files, run.stderr) == ([], "")
    (result,) = run.report["results"]
    assert (result["status"], result["unseen"]) == ("ok", [])
    one = opsdoc.json("stack", program.pid, "--tid", hex(program.facts["hot_tid"]))
    assert one.of("thread")[0]["frames"][0]["function"] == FUNCTION
    assert_answers(program)


def test_a_virtual_thread_of_another_user_shows_its_code_to_root(opsdoc, start):
    if os.geteuid() != 0:
        programs.lacking("only root can start a program of another user")
    with start(jdk.hot_virtual, user=users.NOBODY).hot() as program:
        run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
        assert run.thread(program.facts["hot_tid"])["frames"][0]["function"] == FUNCTION
        assert_answers(program)


def test_without_files_on_the_target_the_code_of_java_21s_virtual_threads_is_unknown(opsdoc, shared_jvm):
    program = shared_jvm(jdk.hot_virtual, name="order-7", release=21)
    run = opsdoc.json("cpu", "--pid", program.pid, "--no-target-files", *HOT, *CALM)
    thread = run.thread(program.facts["hot_tid"])
    number = program.facts["virtual"]
    assert thread["cpu"] > 0.02
    assert thread["name"] == f"ForkJoinPool-1-worker-1 carrying #{number}"
    assert thread["frames"] is None
    assert f"does not tell the stack of the virtual thread #{number}" in thread["unknown"]["frames"]
    (unseen,) = run.unseen
    assert (unseen["reason"], "--no-target-files" in unseen["detail"]) == ("unsupported", True)
    assert (run.stderr, run.report["cost"]["target_files"]) == ("", [])
    assert_answers(program)


def test_a_platform_thread_that_is_hot_needs_no_list_of_virtual_threads(opsdoc, shared_jvm):
    program = shared_jvm(jdk.hot_one, options=jdk.ATTACHABLE, release=21)
    assert opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM).report["cost"]["target_files"] == []


# ── the pipe does no harm ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def virtual_jvm(shared_jvm):
    return shared_jvm(jdk.hot_virtual, name="order-7", release=21)


def test_the_list_is_whole_and_has_every_virtual_thread(virtual_jvm):
    listed = VirtualThreads(virtual_jvm.pid, started(virtual_jvm.pid)).answer(live_for())
    found = listing.parse(listed, {virtual_jvm.facts["virtual"]})
    assert found.complete
    assert found.threads[virtual_jvm.facts["virtual"]].name == "order-7"
    assert listed.count(b'"order-waiter-') == 3


def test_what_is_too_much_to_keep_is_read_all_the_same(virtual_jvm, monkeypatch):
    monkeypatch.setattr(client, "KEPT", 2000)
    listed = VirtualThreads(virtual_jvm.pid, started(virtual_jvm.pid)).answer(live_for())
    assert len(listed) == 2000
    assert not listing.parse(listed, {1}).complete
    assert_answers(virtual_jvm)


def test_java_17_has_no_such_list_and_gets_no_pipe(shared_jvm):
    program = shared_jvm(jdk.hot_one, options=jdk.ATTACHABLE, release=17)
    live = live_for()
    with pytest.raises(Unsupported, match="does not tell of its virtual threads"):
        VirtualThreads(program.pid, started(program.pid)).answer(live)
    assert live.target_files == []


@pytest.fixture
def frozen_at_the_pipe(virtual_jvm):
    """The JVM, and an `announce` that stops it: what is asked of it then stays unread until it may go on."""
    yield virtual_jvm, lambda _text: os.kill(virtual_jvm.pid, signal.SIGSTOP)
    os.kill(virtual_jvm.pid, signal.SIGCONT)


def test_a_jvm_that_wakes_after_we_gave_up_finds_nothing_and_makes_nothing(frozen_at_the_pipe):
    program, freeze = frozen_at_the_pipe
    with pytest.raises(TimedOut):
        VirtualThreads(program.pid, started(program.pid)).answer(live_for(2.5, announce=freeze))
    assert pipes_of(program) == []
    os.kill(program.pid, signal.SIGCONT)
    assert_answers(program)


def test_an_interrupted_run_takes_its_pipe_away(frozen_at_the_pipe):
    program, freeze = frozen_at_the_pipe
    live = live_for(announce=freeze)

    def ask():
        with pytest.raises(TimedOut):
            VirtualThreads(program.pid, started(program.pid)).answer(live)

    asked = threading.Thread(target=ask)
    asked.start()
    wait_until(lambda: any((folder / "threads").exists() for folder in pipes_of(program)), "the pipe")
    live.stop(0.2)
    asked.join(5)
    assert not asked.is_alive()
    assert pipes_of(program) == []
    os.kill(program.pid, signal.SIGCONT)
    assert_answers(program)


KILLED = """
import os, signal, sys, threading, time
from opsdoc.clients import Live, virtual_threads as client
from opsdoc.redact import Redactor
pid, started = map(int, sys.argv[1:])
client._read = lambda *_: (print("asked", flush=True), time.sleep(60))
live = Live(deadline=time.monotonic() + 60, redactor=Redactor(), announce=lambda _: os.kill(pid, signal.SIGSTOP))
threading.Thread(target=client.VirtualThreads(pid, started).answer, args=(live,)).start()
"""


def test_a_jvm_that_was_asked_by_one_that_was_killed_does_not_wait_for_it(frozen_at_the_pipe):
    """The pipe that stays behind has no reader, and to open it would block the JVM's attach thread for ever."""
    program, _ = frozen_at_the_pipe
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(program.pid), str(started(program.pid))], stdout=subprocess.PIPE
    ) as asking:
        assert asking.stdout.readline() == b"asked\n"
        asking.kill()
        os.kill(program.pid, signal.SIGCONT)
        assert hotspot_dump.parse(dump_of(program)).complete  # while the killed process is still a zombie
    (folder,) = pipes_of(program)
    assert stat.S_ISFIFO((folder / "threads").lstat().st_mode)
    (folder / "threads").unlink()
    folder.rmdir()
    assert_answers(program)
