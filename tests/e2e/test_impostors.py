"""Who passes for a JVM: hostile ends of the attach socket cost neither time nor memory, and names prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers import impostor
from servers.cli import CALM

HOT = ("--window", "1s", "--limit", "hot.thread_cpu=0.02:9")
MIB = 1 << 20


@pytest.fixture
def hot_impostor(start):
    """`hot_impostor(mode)`: an impostor whose one busy thread is hot, counted by the kernel alone."""

    def make(mode, launcher=None, age=0.0):
        program = start(impostor.impostor, mode, launcher)
        program.wait_age(age)
        program.say("hot")
        return program

    return make


def assert_unharmed(program, run, signals=0):
    """It lives, nobody signalled it more than it must bear, and opsdoc left nothing and broke nothing."""
    assert program.alive
    assert program.say("count")["signals"] == signals
    assert not Path(f"/.attach_pid{program.pid}").exists()
    assert not Path(f"/tmp/.attach_pid{program.pid}").exists()
    assert run.left_behind == ()
    assert run.code != 70, run.unseen
    assert run.report["cost"]["max_rss_bytes"] < 300 * MIB


def seen_without_its_dump(run, program, why):
    """Its CPU is told, and why there is no dump; whatever stack is shown was not taken from it."""
    assert run.code == 1, run.report["summary"]
    assert any(why in unseen["detail"] for unseen in run.unseen), run.unseen
    thread = run.thread(program.facts["hot_tid"])
    assert thread["cpu"] > 0.02
    assert "attach socket" not in (thread["source"] or "")
    assert "com.acme" not in run.stdout


# ── replies ──────────────────────────────────────────────────────────────────────────────────────

USELESS = {
    "endless": "the reply of the JVM is longer than",
    "long": "the reply of the JVM is longer than",
    "closes": "the JVM",
    "no number": "the JVM answered",
    "an error": "Operation threaddump not recognized!",
    "only a number": "the JVM answered",
    "datagram": "is not the JVM's own socket",
    "never accepts": "does not accept connections on its attach socket",
}


@pytest.mark.parametrize("mode", USELESS)
def test_a_useless_reply_is_a_blind_spot_beside_the_counters(opsdoc, hot_impostor, mode):
    program = hot_impostor(mode)
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    seen_without_its_dump(run, program, USELESS[mode])
    assert "\x1b" not in opsdoc("cpu", "--pid", program.pid, *HOT, *CALM).stdout
    assert_unharmed(program, run)


@pytest.mark.parametrize("mode", USELESS)
def test_stack_says_that_a_reply_was_useless(opsdoc, hot_impostor, mode):
    program = hot_impostor(mode)
    run = opsdoc.json("stack", program.pid)
    assert (run.code, run.of("thread")) == (3, [])
    assert USELESS[mode] in run.report["summary"]
    assert_unharmed(program, run)


def test_a_reply_that_is_cut_short_is_not_taken_for_a_whole_one(opsdoc, hot_impostor):
    """It breaks off within the stack of the hot thread: that it has no frames is not known."""
    program = hot_impostor("cut")
    cpu = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    thread = cpu.thread(program.facts["hot_tid"])
    assert "cut short" in str(thread["unknown"]) + str(cpu.unseen)
    assert thread["frames"] is None or "attach socket" not in thread["source"]
    stack = opsdoc.json("stack", program.pid)
    assert stack.code == 3
    assert "cut short" in stack.report["summary"] + str(stack.unseen)
    assert all(thread["frames"] is None for thread in stack.of("thread"))
    assert_unharmed(program, stack)


def test_a_secret_in_a_reply_that_is_none_is_masked(opsdoc, hot_impostor):
    program = hot_impostor("no number")
    run = opsdoc.json("stack", program.pid)
    assert "hunter2" not in run.stdout
    assert "password=***" in run.report["summary"]


def test_a_jvm_that_never_replies_is_given_up(opsdoc, hot_impostor):
    program = hot_impostor("silent")
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    seen_without_its_dump(run, program, "did not finish its thread dump in time")
    assert run.report["elapsed_seconds"] < 15, "it has 8 s to reply, and one chance"
    assert program.say("count")["connections"] == 2  # whether somebody listens, and the one dump
    assert_unharmed(program, run)


@pytest.mark.parametrize("mode", ["silent", "silent after its head", "drips"])
def test_a_jvm_that_never_ends_its_reply_does_not_hold_the_end_of_the_run(opsdoc, hot_impostor, mode):
    """What the kernel counted until then is told."""
    program = hot_impostor(mode)
    run = opsdoc.json("cpu", "--pid", program.pid, "--timeout", "4s", *HOT, *CALM)
    assert run.report["elapsed_seconds"] < 4.6
    assert run.report["results"][0]["status"] == "timeout"
    assert run.thread(program.facts["hot_tid"])["cpu"] > 0.02
    assert run.of("process")[0]["pid"] == program.pid
    assert run.report["cost"]["pauses"] == [], "whoever did not reply was not seen to pause"
    assert_unharmed(program, run)


def test_the_memory_for_long_replies_is_bounded(opsdoc, hot_impostor):
    """Each of them below the cap, one in every second round."""
    program = hot_impostor("below the cap")
    run = opsdoc.json("cpu", "--pid", program.pid, "--pause-budget", "10s", *HOT, *CALM)
    assert run.thread(program.facts["hot_tid"])["frames"][0]["function"] == "com.acme.Hot.loop"
    assert_unharmed(program, run)


def test_a_dump_that_lies_is_not_believed_about_the_threads_it_contradicts_itself_on(opsdoc, hot_impostor):
    program = hot_impostor("lies")
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    thread = run.thread(program.facts["hot_tid"])
    assert thread["ns_tid"] is None
    assert "more than one thread of the dump claims this id" in str(thread["unknown"]) + str(run.unseen)
    assert "com.acme" not in str(thread["frames"]) + str(run.findings)
    assert {one["tid"] for one in run.of("thread")} <= {program.facts["hot_tid"], program.pid}
    text = opsdoc("cpu", "--pid", program.pid, *HOT, *CALM).stdout
    assert "\x1b" not in text
    assert "\nlines" not in text
    assert_unharmed(program, run)


# ── the signal ───────────────────────────────────────────────────────────────────────────────────


def test_who_never_opens_a_socket_gets_one_signal_and_no_more(opsdoc, hot_impostor, tmp_path):
    """It has libjvm.so mapped, a handler of its own and the name of a JVM: no check can tell it from one."""
    program = hot_impostor("no socket", tmp_path / "java", age=6)
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    seen_without_its_dump(run, program, "did not open its attach socket within")
    assert run.report["cost"]["target_files"] == [f"/proc/{program.pid}/cwd/.attach_pid{program.pid}"]
    assert_unharmed(program, run, signals=1)


def test_a_program_with_a_jvm_in_it_gets_no_signal_unless_its_options_are_known(opsdoc, hot_impostor):
    """A launcher of its own can give the JVM options that stand on no command line."""
    program = hot_impostor("no socket", age=6)
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    seen_without_its_dump(run, program, "was started by python")
    assert run.report["cost"]["target_files"] == []
    assert_unharmed(program, run)


def test_a_young_one_gets_none(opsdoc, hot_impostor):
    program = hot_impostor("no socket")
    run = opsdoc.json("stack", program.pid)
    assert (run.code, run.report["cost"]["target_files"]) == (3, [])
    assert_unharmed(program, run)


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def test_a_thread_that_is_called_a_compiler_is_none_without_a_jvm(opsdoc, start, tmp_path):
    program = start(impostor.called_a_compiler, tmp_path)
    assert Path(f"/proc/{program.pid}/comm").read_text() == "C2 CompilerThre\n"
    assert Path(f"/proc/{program.pid}/cmdline").read_bytes().startswith(b"java\0")
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    assert run.of("process")[0]["runtime"] == "native"
    assert run.thread(program.pid)["role"] == "native"
    assert not [finding for finding in run.findings if finding["rule"] == "cpu.jit" and finding["severity"] != "ok"]
    assert run.report["cost"]["target_files"] == []
    assert (program.alive, program.stray_output(), run.left_behind) == (True, "", ())
