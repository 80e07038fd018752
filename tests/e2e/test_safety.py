"""First, do no harm; never hang, never crash: on programs that die, stand still or would die of a signal."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from servers import jdk, programs
from servers.cli import CALM, Meanwhile, started_child, under_way
from servers.programs import Program, state, wait_until

HOT = ("--limit", "hot.thread_cpu=0.02:9")
JAVA = "com.acme.OrderPricer.recalculate"
SIGTERM_CAUGHT = 1 << (signal.SIGTERM - 1)


def socket_of(program):
    return Path(f"/proc/{program.pid}/root/tmp/.java_pid{program.pid}")


def markers(program):
    """The marker files in the two folders in which they may stand. The tests' programs work in `/`."""
    return [path for folder in ("/", "/tmp") if (path := Path(folder, f".attach_pid{program.pid}")).exists()]


def assert_unharmed(program, run):
    assert program.alive
    assert state(program.pid) not in "Tt"
    assert program.stray_output() == "", "a signal made it print a dump"
    assert markers(program) == []
    assert run.left_behind == ()
    assert run.code != 70, run.stderr


def takes_over_signals(pid):
    """A condition: opsdoc has taken over SIGINT and SIGTERM, which is before its engine starts."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        caught = next(line for line in lines if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) & SIGTERM_CAUGHT)
    return False


# ── programs that die ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "moment", [under_way, lambda: under_way(0.8), lambda: started_child("py-spy")], ids=["early", "later", "py-spy"]
)
def test_a_python_program_may_die_at_any_moment(opsdoc, hot_python, moment):
    death = Meanwhile(moment(), hot_python.die)
    run = opsdoc.json("cpu", "--pid", hot_python.pid, *HOT, *CALM, when=death)
    assert death.done
    assert run.code in (1, 3), "what could not be seen any more is not OK"
    assert run.left_behind == ()
    assert str(hot_python.pid) in str(run.unseen)
    for process in run.of("process"):
        assert (process["cpu"], process["unknown"]["cpu"]) == (None, "it ended within the window")


@pytest.mark.parametrize("seconds", [0, 0.6, 1.2])
def test_a_jvm_may_die_at_any_moment(opsdoc, start, seconds):
    program = start(jdk.hot_one, 20, 3, options=jdk.ATTACHABLE)
    program.say("hot")
    death = Meanwhile(under_way(seconds), program.die)
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM, when=death)
    assert death.done
    assert run.code in (1, 3), "what could not be seen any more is not OK"
    assert str(program.pid) in str(run.unseen)
    socket_path = Path(f"/tmp/.java_pid{program.pid}")
    socket_path.unlink(missing_ok=True)  # what kill -9 leaves is the JVM's own litter


@pytest.mark.parametrize("command", ["threads", "stack"])
def test_the_single_steps_outlive_their_process(opsdoc, hot_python, command):
    death = Meanwhile(under_way(0.3), hot_python.die)
    run = opsdoc.json(command, hot_python.pid, "--window", "1s", when=death)
    assert death.done
    assert run.code == 3
    assert f"no process {hot_python.pid}" in run.report["summary"]


@pytest.mark.xdist_group("java")  # a look at the whole box attaches to JVMs, whosever tests they belong to
def test_a_process_that_dies_is_still_told_of_among_all_others(opsdoc, hot_python):
    death = Meanwhile(started_child("py-spy"), hot_python.die)
    run = opsdoc.json("cpu", "-n", 0, when=death)
    if not death.done:
        pytest.skip("the box is so crowded that the program was not among the hot ones at the first look")
    process = next(process for process in run.of("process") if process["pid"] == hot_python.pid)
    assert process["unknown"]["cpu"] == "it ended within the window"


# ── programs that stand still ────────────────────────────────────────────────────────────────────


def test_a_stopped_python_program_stays_stopped_and_is_seen(opsdoc, hot_python):
    with hot_python.stopped():
        run = opsdoc.json("cpu", "--pid", hot_python.pid, *CALM)
        assert run.code == 0
        assert run.of("process")[0]["state"] == "stopped"
        assert run.of("process")[0]["cpu"] == 0
        assert state(hot_python.pid) == "T"
        stack = opsdoc.json("stack", hot_python.pid, "--tid", hot_python.facts["hot_tid"])
        assert stack.of("thread")[0]["frames"][0]["function"] == "recalculate"
        assert state(hot_python.pid) == "T"
    assert run.left_behind == stack.left_behind == ()


def test_a_stopped_jvm_stays_stopped_and_is_not_waited_for(opsdoc, hot_jvm):
    with hot_jvm.stopped():
        run = opsdoc.json("cpu", "--pid", hot_jvm.pid, *CALM)
        assert run.code == 0
        assert run.of("process")[0]["state"] == "stopped"
        assert any("is stopped: a stopped JVM answers nobody" in unseen["detail"] for unseen in run.unseen)
        stack = opsdoc.json("stack", hot_jvm.pid)
        assert stack.code == 3
        assert "is stopped" in stack.report["summary"]
        assert state(hot_jvm.pid) == "T"
    assert run.report["elapsed_seconds"] < 8, "it waited for the reply of a JVM that could not give one"
    wait_until(lambda: state(hot_jvm.pid) != "T", "it to go on")
    assert_unharmed(hot_jvm, run)


def test_a_jvm_without_a_socket_that_is_stopped_gets_no_signal(opsdoc, start):
    """Its handler would run when it goes on: without the marker, which is gone by then, that prints a dump."""
    program = start(jdk.hot_one, 20, 3)
    with program.stopped():
        run = opsdoc.json("stack", program.pid)
        assert run.code == 3
        assert run.report["cost"]["target_files"] == []
    program.say("hot")
    assert_unharmed(program, run)


@pytest.mark.parametrize("kind", ["python", "jvm"])
def test_a_program_that_is_stopped_meanwhile_stays_so(opsdoc, request, kind):
    program = request.getfixturevalue(f"hot_{kind}")
    try:
        stop = Meanwhile(under_way(0.6), lambda: os.kill(program.pid, signal.SIGSTOP))
        run = opsdoc.json("cpu", "--pid", program.pid, *CALM, when=stop)
        assert stop.done
        assert state(program.pid) == "T"
        assert run.code in (0, 1, 2)
        assert run.left_behind == ()
        assert run.report["elapsed_seconds"] < 30
    finally:
        os.kill(program.pid, signal.SIGCONT)


def test_a_stuck_client_on_the_attach_socket_is_a_blind_spot_and_no_bug(opsdoc, hot_jvm):
    """One that connects and says nothing: the JVM has one listener and room for five that wait."""
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(socket_of(hot_jvm)))
        run = opsdoc.json("cpu", "--pid", hot_jvm.pid, *HOT, *CALM)
    assert run.code == 1
    thread = run.thread(hot_jvm.facts["hot_tid"])
    assert thread["frames"] is None
    assert any(unseen["reason"] == "timeout" for unseen in run.unseen), run.unseen
    assert run.finding("cpu.hot-thread")["severity"] == "warning"
    again = opsdoc.json("stack", hot_jvm.pid, "--tid", hot_jvm.facts["hot_tid"])
    assert again.of("thread")[0]["frames"][0]["function"] == JAVA
    assert_unharmed(hot_jvm, run)


# ── JVMs that a signal would kill or make talk ───────────────────────────────────────────────────

UNSAFE = {
    "a flag": (("-XX:+DisableAttachMechanism",), {}, "was started with -XX:+DisableAttachMechanism"),
    "a variable": (
        (),
        {"JAVA_TOOL_OPTIONS": "-Dx='y' -XX:+DisableAttachMechanism"},
        "was started with -XX:+DisableAttachMechanism",
    ),
    "a file": (("@{folder}/options",), {}, "was started with -XX:+DisableAttachMechanism"),
}


def small_jvm(options, variables):
    env = {**os.environ, **variables}
    return Program([jdk.tool("java"), *options, "-cp", str(jdk.classes()), "com.acme.HotOne", "10", "3"], env=env)


@pytest.fixture(scope="module")
def old_jvms():
    """Old enough to be signalled but for what else forbids it. All at once, so that their age is waited for once."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as made:
        Path(folder, "options").write_text("-XX:+DisableAttachMechanism\n")
        started = {}
        for name, (options, variables, _) in UNSAFE.items():
            started[name] = small_jvm([option.format(folder=folder) for option in options], variables)
            made.callback(started[name].stop)
        for name in ("usual", "held", "xrs"):
            started[name] = small_jvm(["-Xrs"] if name == "xrs" else [], {})
            made.callback(started[name].stop)
        for program in started.values():
            program.wait_age(6)
        yield started


@pytest.mark.xdist_group("java")
@pytest.mark.parametrize("name", UNSAFE)
def test_a_jvm_that_forbids_attaching_gets_no_signal(opsdoc, old_jvms, name):
    program, why = old_jvms[name], UNSAFE[name][-1]
    with program.hot():
        run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
        stack = opsdoc.json("stack", program.pid)
    assert run.code == 1
    (unseen,) = run.unseen
    assert unseen["reason"] == "unsupported"
    assert "has no attach socket, and SIGQUIT is not sent" in unseen["detail"]
    assert why in unseen["detail"]
    assert "-XX:+StartAttachListener" in unseen["hint"]
    thread = run.thread(program.facts["hot_tid"])
    assert (thread["frames"], why in thread["unknown"]["frames"]) == (None, True)
    assert "in code that could not be seen" in run.finding("cpu.hot-thread")["summary"]
    assert (stack.code, why in stack.report["summary"]) == (3, True)
    assert run.report["cost"]["target_files"] == run.report["cost"]["pauses"] == []
    assert_unharmed(program, run)


@pytest.mark.xdist_group("java")
def test_xrs_has_its_socket_from_the_start_and_needs_no_signal(opsdoc, old_jvms):
    """SIGQUIT kills a JVM with -Xrs. When a cleaner of /tmp took its socket away, there is no way to it any more."""
    program = old_jvms["xrs"]
    assert socket_of(program).is_socket()
    with program.hot():
        run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
        assert run.thread(program.facts["hot_tid"])["frames"][0]["function"] == JAVA
        assert run.report["cost"]["target_files"] == []
        socket_of(program).unlink()
        run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    (unseen,) = run.unseen
    assert "the JVM has no handler for it, so that it would die" in unseen["detail"]
    assert run.thread(program.facts["hot_tid"])["frames"] is None
    assert_unharmed(program, run)


@pytest.mark.xdist_group("java")
def test_a_young_jvm_gets_no_signal(opsdoc, start):
    for _ in range(3):
        program = start(jdk.hot_one, 10, 3)
        run = opsdoc.json("stack", program.pid)
        if programs.age(program.pid) < 5:
            break
        program.stop()
    else:
        pytest.skip("this box is so slow that no JVM is young when it is looked at")
    assert run.code == 3
    assert "one younger than 5 s may not have its handler yet" in run.report["summary"]
    assert run.report["cost"]["target_files"] == []
    assert_unharmed(program, run)


@pytest.mark.xdist_group("java")
def test_no_target_files_means_no_signal(opsdoc, old_jvms):
    program = old_jvms["usual"]
    socket_of(program).unlink(missing_ok=True)
    with program.hot():
        run = opsdoc.json("cpu", "--pid", program.pid, "--no-target-files", *HOT, *CALM)
    (unseen,) = run.unseen
    assert "--no-target-files forbids the marker file that the signal needs" in unseen["detail"]
    assert run.thread(program.facts["hot_tid"])["frames"] is None
    assert (run.stderr, run.report["cost"]["target_files"]) == ("", [])
    assert not socket_of(program).exists()
    assert_unharmed(program, run)


@pytest.mark.xdist_group("java")
def test_another_tool_that_attaches_at_this_moment_is_not_disturbed(opsdoc, old_jvms):
    program = old_jvms["usual"]
    socket_of(program).unlink(missing_ok=True)
    marker = Path(f"/.attach_pid{program.pid}")
    marker.touch()
    try:
        run = opsdoc.json("stack", program.pid)
        assert marker.exists()
    finally:
        marker.unlink()
    assert run.code == 3
    assert "another tool is attaching at this moment" in run.report["summary"]
    assert_unharmed(program, run)


# ── names prove nothing ──────────────────────────────────────────────────────────────────────────


def called_java(folder):
    """A shell that is called java, burns a core, and would tell of SIGQUIT."""
    (folder / "java").symlink_to("/bin/sh")
    script = (
        "exec 3<&0; trap 'echo SIGQUIT came' QUIT; (while read -r word <&3; do :; done; kill -9 $$) & "
        "echo '{\"ready\": true}'; while :; do :; done"
    )
    return Program([str(folder / "java"), "-c", script, "-jar", "shop.jar"])


@pytest.mark.parametrize("command", [("cpu", "--pid"), ("stack",)], ids=["cpu", "stack"])
def test_a_program_that_is_merely_called_java_gets_no_signal_and_no_dump(opsdoc, start, tmp_path, command):
    program = start(called_java, tmp_path)
    assert Path(f"/proc/{program.pid}/comm").read_text() == "java\n"
    limits = (*HOT, *CALM) if command[0] == "cpu" else ()
    run = opsdoc.json(*command, program.pid, *limits)
    cost = run.report["cost"]
    assert (cost["target_files"], cost["pauses"], run.stderr) == ([], [], "")
    if command[0] == "cpu":
        assert run.of("process")[0]["runtime"] == "native"
        assert run.thread(program.pid)["role"] == "native"
    else:
        assert run.code == 3
    assert_unharmed(program, run)


def test_a_python_program_that_calls_itself_java_is_a_python_program(opsdoc, start):
    program = start(programs.pose, ["java", "-jar", "shop.jar"], comm="java", duty=0.5)
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    assert run.of("process")[0]["runtime"].startswith("python")
    assert run.report["cost"]["target_files"] == []
    assert_unharmed(program, run)


# ── Ctrl-C at any moment ─────────────────────────────────────────────────────────────────────────

MOMENTS = {
    "before the engine": lambda: takes_over_signals,
    "as it starts": under_way,
    "in the first look": lambda: under_way(0.15),
    "in the window": lambda: under_way(1.0),
    "while py-spy runs": lambda: started_child("py-spy"),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_leaves_a_report_and_nothing_else(opsdoc, hot_python, moment, number):
    for _ in range(3):  # on a busy box a signal can come when all was seen already: then the report is whole
        run = opsdoc.json("cpu", "--pid", hot_python.pid, *HOT, *CALM, when=MOMENTS[moment](), send=number)
        if (run.report["results"][0]["window_seconds"] or 0) < 1.9:
            break
    assert run.signalled
    assert run.code == run.report["exit_code"] == 128 + number
    assert run.report["interrupted"] is True
    assert run.report["results"][0]["probe"] == "cpu"
    assert run.report["results"][0]["status"] != "ok"
    assert run.stderr == ""
    assert_unharmed(hot_python, run)


def test_what_was_seen_before_an_interrupt_is_in_the_report(opsdoc, hot_jvm):
    run = opsdoc.json("cpu", "--pid", hot_jvm.pid, "--window", "20s", *HOT, *CALM, when=under_way(3))
    assert run.code == 130
    assert run.report["elapsed_seconds"] < 15
    (process,) = run.of("process")
    assert process["cpu"] > 0.02
    thread = run.thread(hot_jvm.facts["hot_tid"])
    assert thread["frames"][0]["function"] == JAVA
    assert run.finding("cpu.app-code")["severity"] == "warning"
    assert any(unseen["reason"] == "interrupted" for unseen in run.unseen)
    assert 0.5 < run.report["results"][0]["window_seconds"] < 15
    assert_unharmed(hot_jvm, run)


def test_a_person_who_interrupts_reads_the_partial_answer(opsdoc, hot_python):
    run = opsdoc("cpu", "--pid", hot_python.pid, *HOT, *CALM, when=under_way(1.0))
    assert run.code == 130
    assert run.stdout.startswith("opsdoc cpu · ")
    assert "interrupted" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr


@pytest.mark.parametrize("command", ["top", "threads", "stack"])
def test_the_single_steps_can_be_interrupted(opsdoc, hot_python, command):
    words = (command,) if command == "top" else (command, hot_python.pid)
    run = opsdoc.json(*words, "--window", "10s", when=under_way(0.5))
    assert (run.code, run.report["exit_code"], run.report["interrupted"]) == (130, 130, True)
    assert run.report["elapsed_seconds"] < 8
    assert_unharmed(hot_python, run)


def test_an_interrupt_during_the_start_is_quiet(opsdoc, tmp_path):
    """Held up at its first import of a library, which is the slowest part of its start."""
    held = tmp_path / "held"
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "typer.py").write_text(f"import time; open({str(held)!r}, 'w').close(); time.sleep(60)\n")
    run = opsdoc("cpu", "--json", env={"PYTHONPATH": str(slow)}, when=lambda pid: held.exists())
    assert run.signalled
    assert (run.code, run.stdout, run.stderr) == (130, "", "")


@pytest.mark.xdist_group("java")
def test_an_interrupt_in_the_middle_of_attaching_removes_the_marker(opsdoc, old_jvms):
    """The JVM is held in the moment between the marker and its socket, until opsdoc has gone."""
    program = old_jvms["held"]
    marker = Path(f"/.attach_pid{program.pid}")
    for _ in range(8):
        socket_of(program).unlink(missing_ok=True)
        over, caught = threading.Event(), threading.Event()

        def hold(over=over, caught=caught):
            while not over.is_set():
                if marker.exists():
                    os.kill(program.pid, signal.SIGSTOP)
                    caught.set()
                    return

        holder = threading.Thread(target=hold)
        holder.start()
        try:
            run = opsdoc.json("stack", program.pid, when=lambda pid, caught=caught: caught.is_set())
            left = markers(program)
        finally:
            over.set()
            holder.join()
            os.kill(program.pid, signal.SIGCONT)
        assert left == []
        if run.signalled and not socket_of(program).exists():
            break
    else:
        pytest.skip("the JVM was always faster")
    assert (run.code, run.report["interrupted"]) == (130, True)
    assert run.report["cost"]["target_files"] == [f"/proc/{program.pid}/cwd/{marker.name}"]
    assert run.left_behind == ()
    assert program.alive


@pytest.mark.xdist_group("java")
def test_an_interrupt_in_the_middle_of_attaching_leaves_the_jvm_the_moment_it_needs(opsdoc, old_jvms):
    """Without the marker SIGQUIT would print a dump into its output."""
    program = old_jvms["usual"]
    marker = Path(f"/.attach_pid{program.pid}")
    for _ in range(3):
        socket_of(program).unlink(missing_ok=True)
        seen = threading.Event()
        over = threading.Event()

        def spot(seen=seen, over=over):
            while not over.is_set():
                if marker.exists():
                    seen.set()
                    return

        spotter = threading.Thread(target=spot)
        spotter.start()
        try:
            run = opsdoc("stack", program.pid, when=lambda pid, seen=seen: seen.is_set())
        finally:
            over.set()
            spotter.join()
        assert run.code in (0, 130)
        program.say("rest")
        assert_unharmed(program, run)


# ── the deadline ─────────────────────────────────────────────────────────────────────────────────


def test_the_timeout_ends_a_run_that_would_wait_longer(opsdoc, hot_jvm):
    """A JVM that hangs, as a stopped one would from here on."""
    try:
        stop = Meanwhile(under_way(0.5), lambda: os.kill(hot_jvm.pid, signal.SIGSTOP))
        run = opsdoc.json("stack", hot_jvm.pid, "--window", "1500ms", "--timeout", "4s", when=stop)
    finally:
        os.kill(hot_jvm.pid, signal.SIGCONT)
    assert run.code == 3
    assert run.report["elapsed_seconds"] < 4.5
    assert run.left_behind == ()
