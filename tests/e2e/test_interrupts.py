"""Twenty runs that are interrupted at random moments leave a JVM, a Python and a native program as they were."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from pathlib import Path

import pytest
from servers import jdk, programs
from servers.cli import CALM, under_way
from servers.programs import cpu_seconds, state, wait_until

pytestmark = pytest.mark.xdist_group("java")

RUNS = 20
SEED = 20_261_124
WINDOW = 1.0  # seconds
OLD = 6


@pytest.fixture(scope="module")
def targets():
    """A JVM without a socket, old enough to be signalled, a Python and a native program, all of them hot."""
    with contextlib.ExitStack() as made:
        started = {
            "jvm": jdk.hot_one(100, 10),
            "python": programs.python("hot_one", 20, 5),
            "native": programs.spinner(),
        }
        for program in started.values():
            made.callback(program.stop)
        started["jvm"].wait_age(OLD)
        for name in ("jvm", "python"):
            started[name].say("hot")
        yield started


def socket_of(jvm):
    return Path(f"/tmp/.java_pid{jvm.pid}")


def markers(jvm):
    return [path for folder in ("/", "/tmp") if (path := Path(folder, f".attach_pid{jvm.pid}")).exists()]


def test_interrupted_runs_leave_no_target_stopped_no_attach_file_and_no_child(opsdoc, targets):
    """Over the whole run: from the engine's start to what follows the window. The JVM is signalled in each of them."""
    jvm = targets["jvm"]
    pids = {name: program.pid for name, program in targets.items()}
    moments = random.Random(SEED)
    interrupted = attached = 0
    for number in range(RUNS):
        send, after = moments.choice([signal.SIGINT, signal.SIGTERM]), moments.random() * (WINDOW + 0.5)
        which = f"run {number}: {send.name} after {after:.2f} s"
        socket_of(jvm).unlink(missing_ok=True)
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        run = opsdoc.json("cpu", "-n", 8, "--window", f"{WINDOW:g}s", *CALM, when=under_way(after), send=send)
        interrupted += run.report["interrupted"]
        attached += any(f"pid{jvm.pid}" in file for file in run.report["cost"]["target_files"])
        assert run.code in ((128 + send,) if run.report["interrupted"] else (0, 1, 2, 3)), which
        assert run.left_behind == (), which
        assert markers(jvm) == [], which
        jvm.say("hot")  # whatever a signal made it print stands before its answer
        for name, program in targets.items():
            assert program.alive, f"{which}: {name}"
            assert state(program.pid) not in "TtX", f"{which}: {name}"
            assert program.stray_output() == "", f"{which}: {name}"
        for name, pid in pids.items():
            wait_until(lambda pid=pid, was=before[name]: cpu_seconds(pid) > was, f"{which}: {name} to go on")
    assert interrupted > RUNS / 2, "this test does not interrupt"
    assert attached, "the JVM was never among the hot ones, or interrupted too early each time"


@contextlib.contextmanager
def held(jvm, marker, seconds):
    """Holds the JVM so long in the moment between the marker and its socket, as a collection does; tells when."""
    over, caught = threading.Event(), threading.Event()

    def hold():
        while not over.is_set():
            if marker.exists():
                os.kill(jvm.pid, signal.SIGSTOP)
                caught.set()
                threading.Event().wait(seconds)
                os.kill(jvm.pid, signal.SIGCONT)
                return

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        yield caught
    finally:
        over.set()
        holder.join()


def interrupted_while_held(opsdoc, jvm, seconds):
    """A run that was interrupted when the JVM had got the signal and had not opened its socket yet."""
    marker = Path(f"/.attach_pid{jvm.pid}")
    for _ in range(8):
        socket_of(jvm).unlink(missing_ok=True)
        with held(jvm, marker, seconds) as caught:
            run = opsdoc.json("stack", jvm.pid, when=lambda pid, caught=caught: caught.is_set())
            was_open = socket_of(jvm).exists()
        jvm.say("hot")
        if run.signalled and run.report["interrupted"] and not was_open and run.report["cost"]["target_files"]:
            return run
    return pytest.skip("the JVM was always faster")


def test_a_jvm_that_is_slow_to_answer_when_the_run_is_interrupted_finds_the_marker(opsdoc, targets):
    run = interrupted_while_held(opsdoc, targets["jvm"], 0.25)
    assert run.wall < 5
    assert run.left_behind == ()
    assert markers(targets["jvm"]) == []
    assert targets["jvm"].stray_output() == "", "its marker was gone, so that it printed a dump"


def test_a_jvm_whose_socket_was_deleted_can_be_attached_to_after_an_interrupt(opsdoc, start):
    """One that has neither its socket nor a marker when the signal comes never opens a socket again, 11 to 25."""
    jvm = start(jdk.hot_one, 20, 3, options=jdk.ATTACHABLE)
    jvm.wait_age(OLD)
    try:
        for _ in range(6):
            run = interrupted_while_held(opsdoc, jvm, 1.0)
            assert run.left_behind == ()
            assert jvm.stray_output() == ""
            if "leaves " in run.stderr:
                break
            assert markers(jvm) == [], "interrupted before the signal was sent: then nothing is left"
        else:
            pytest.skip("it was always interrupted before it sent the signal")
        wait_until(socket_of(jvm).exists, "the socket that it was asked for")
        again = opsdoc.json("stack", jvm.pid)
        assert again.code == 0
    finally:
        for marker in markers(jvm):  # left to it on purpose, and announced
            marker.unlink()
