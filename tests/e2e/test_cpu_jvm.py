"""`opsdoc cpu` on real JVMs: which thread, which line of code, which cause; and whom nobody fools."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from servers import jdk
from servers.cli import CALM

HOT = ("--limit", "hot.thread_cpu=0.02:9")  # on a crowded machine a spinning thread gets a few percent of a core
FUNCTION = "com.acme.OrderPricer.recalculate"


def socket_of(program):
    return Path(f"/proc/{program.pid}/root/tmp/.java_pid{program.pid}")


def markers(program):
    return [path for path in (f"/proc/{program.pid}/cwd", "/tmp") if Path(path, f".attach_pid{program.pid}").exists()]


def assert_names_the_hot_thread(run, program):
    """Pid, tid, hex, name, function and line: in the thread, and in the one finding."""
    tid = program.facts["hot_tid"]
    thread = run.thread(tid)
    assert run.of("thread")[0] is thread, "the hottest comes first"
    assert (thread["pid"], thread["tid_hex"], thread["name"]) == (program.pid, hex(tid), "order-worker-3")
    assert (thread["role"], thread["state"]) == ("app", "RUNNABLE")
    innermost = thread["frames"][0]
    assert (innermost["function"], innermost["file"], innermost["line"]) == (FUNCTION, "OrderPricer.java", jdk.LINE)
    assert 1 <= thread["agreement"]["seen"] == thread["agreement"]["of"]
    finding = run.finding("cpu.app-code")
    for words in (f"pid {program.pid}", str(tid), hex(tid), "order-worker-3"):
        assert words in finding["subject"]
    assert f"{FUNCTION} (OrderPricer.java:{jdk.LINE})" in finding["summary"]
    assert thread["id"] in finding["evidence"]
    assert finding["by_hand"][0] == f"top -Hp {program.pid}"
    assert run.report["summary"] == finding["summary"]


# ── one hot thread of 400 ────────────────────────────────────────────────────────────────────────


def test_the_hot_thread_of_400_is_named_with_its_line(opsdoc, hot_jvm):
    run = opsdoc.json("cpu", "--pid", hot_jvm.pid, *HOT, *CALM)
    assert_names_the_hot_thread(run, hot_jvm)
    (process,) = run.of("process")
    assert (process["pid"], process["runtime"], process["name"]) == (hot_jvm.pid, "jvm", "java")
    assert "com.acme.HotOne 400 20" in process["command"]
    assert process["threads"] >= 400
    (result,) = run.report["results"]
    assert (result["status"], result["unseen"]) == ("ok", [])
    assert result["window_seconds"] >= 1.9
    assert {"cpu.gc", "cpu.jit"} <= set(run.finding("cpu.app-code")["ruled_out"])


def test_a_person_reads_the_same(opsdoc, hot_jvm):
    run = opsdoc("cpu", "--pid", hot_jvm.pid, "--window", "1s", *HOT, *CALM)
    assert (run.code, run.stderr) == (1, "")
    text = " ".join(run.stdout.split())
    tid = hot_jvm.facts["hot_tid"]
    assert f"WARNING com.acme.HotOne (pid {hot_jvm.pid}) burns" in text
    assert f"in {FUNCTION} (OrderPricer.java:{jdk.LINE}), by thread order-worker-3" in text
    assert f"{tid} {tid:#x} order-worker-3" in text
    assert f"jstack -l {hot_jvm.pid} | grep" in text


@pytest.mark.parametrize(
    ("limits", "severity", "code"),
    [("0.01:0.02", "critical", 2), ("0.01:9", "warning", 1), ("9:9", "ok", 0)],
)
def test_the_severity_and_the_exit_code_follow_the_threshold(opsdoc, hot_jvm, limits, severity, code):
    asked = ("--limit", f"hot.thread_cpu={limits}")
    run = opsdoc.json("cpu", "--pid", hot_jvm.pid, "--window", "1s", *asked, *CALM)
    assert (run.report["severity"], run.code) == (severity, code)
    if severity == "ok":
        assert all(finding["severity"] == "ok" for finding in run.findings)
        return
    threshold = run.finding("cpu.app-code")["threshold"]
    warn, crit = map(float, limits.split(":"))
    assert (threshold["name"], threshold["warn"], threshold["crit"]) == ("hot.thread_cpu", warn, crit)
    assert threshold["value"] == run.thread(hot_jvm.facts["hot_tid"])["cpu"] >= warn
    assert "--limit" in threshold["source"]


def test_the_idle_main_thread_is_idle(opsdoc, hot_jvm):
    """`top -Hp` of Debian 12 shows it with the CPU of the whole process."""
    run = opsdoc.json("threads", hot_jvm.pid, "-n", 0)
    main, hot = (run.thread(hot_jvm.facts[name])["cpu"] for name in ("main_tid", "hot_tid"))
    assert main < 0.05 < hot
    (process,) = run.of("process")
    assert process["cpu"] > 0.05
    for thread in opsdoc.json("cpu", "--pid", hot_jvm.pid, "-n", 0, "--window", "1s").of("thread"):
        assert thread["tid"] != hot_jvm.facts["main_tid"] or thread["cpu"] < 0.05


def test_the_commands_by_hand_show_the_same(opsdoc, hot_jvm):
    run = opsdoc.json("cpu", "--pid", hot_jvm.pid, "--window", "1s", *HOT)
    command = next(line for line in run.finding("cpu.app-code")["by_hand"] if line.startswith("jstack"))
    path = f"{Path(jdk.tool('jstack')).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "PATH": path}
    )
    assert done.stdout.startswith('"order-worker-3"')
    assert f"at {FUNCTION}(OrderPricer.java:{jdk.LINE})" in done.stdout


# ── with a socket to attach to, and without ──────────────────────────────────────────────────────


def test_an_open_socket_needs_no_signal_and_no_file(opsdoc, hot_jvm):
    assert socket_of(hot_jvm).is_socket()
    run = opsdoc.json("cpu", "--pid", hot_jvm.pid, "--no-target-files", *HOT, *CALM)
    assert_names_the_hot_thread(run, hot_jvm)
    cost = run.report["cost"]
    assert (run.stderr, cost["target_files"], markers(hot_jvm)) == ("", [], [])
    assert {pause["pid"] for pause in cost["pauses"]} == {hot_jvm.pid}
    assert 0 < cost["pauses"][0]["seconds"] < 8
    assert hot_jvm.stray_output() == ""


def test_a_missing_socket_is_asked_for_with_a_file_that_is_announced_and_removed(opsdoc, hot_jvm_unattached):
    program = hot_jvm_unattached
    assert not socket_of(program).exists()
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    assert_names_the_hot_thread(run, program)
    marker = f"/proc/{program.pid}/cwd/.attach_pid{program.pid}"
    assert run.report["cost"]["target_files"] == [marker]
    assert run.stderr.count("\n") == 1
    assert run.stderr.startswith(f"opsdoc: creates {marker} for a moment")
    assert markers(program) == []
    assert socket_of(program).is_socket()
    assert program.alive
    assert program.stray_output() == ""
    again = opsdoc.json("stack", program.pid, "--tid", program.facts["hot_tid"])
    assert (again.stderr, again.report["cost"]["target_files"]) == ("", [])
    (thread,) = again.of("thread")
    assert thread["frames"][0]["function"] == FUNCTION


def test_a_socket_that_a_cleaner_of_tmp_took_away_comes_back(opsdoc, hot_jvm):
    hot_jvm.wait_age(6)
    socket_of(hot_jvm).unlink()
    run = opsdoc.json("cpu", "--pid", hot_jvm.pid, *HOT, *CALM)
    assert_names_the_hot_thread(run, hot_jvm)
    assert len(run.report["cost"]["target_files"]) == 1
    assert socket_of(hot_jvm).is_socket()
    assert markers(hot_jvm) == []
    assert hot_jvm.stray_output() == ""


# ── many lukewarm threads, the collector ─────────────────────────────────────────────────────────


def test_60_lukewarm_threads_are_one_culprit(opsdoc, lukewarm_jvm):
    run = opsdoc.json("cpu", "--pid", lukewarm_jvm.pid, "--limit", "hot.code_cpu=0.05:9", *CALM)
    finding = run.finding("cpu.app-code")
    assert [f["rule"] for f in run.findings if f["severity"] != "ok"] == ["cpu.app-code"]
    assert "com.acme.Stock.reserve (Stock.java:" in finding["summary"]
    code = next(code for code in run.of("code") if code["id"] in finding["evidence"])
    assert code["frame"]["function"] == "com.acme.Stock.reserve"
    assert code["threads"] >= 30
    assert max(thread["cpu"] for thread in run.of("thread")) < 0.5 * code["cpu"]
    assert f"by {code['threads']} threads" in finding["summary"]


# ── whom nobody fools ────────────────────────────────────────────────────────────────────────────


def test_a_thread_called_like_an_id_fools_nobody(opsdoc, hostile_jvm):
    tid = hostile_jvm.facts["hot_tid"]
    run = opsdoc.json("cpu", "--pid", hostile_jvm.pid, *HOT, *CALM)
    thread = run.thread(tid)
    assert thread["name"] == "[red]x[/closed]"
    assert thread["frames"][0]["function"] == FUNCTION
    assert "[red]x[/closed]" in run.finding("cpu.app-code")["subject"]
    one = opsdoc.json("stack", hostile_jvm.pid, "--tid", hex(tid))
    assert one.thread(tid)["frames"][0]["function"] == FUNCTION
    b26 = opsdoc.json("stack", hostile_jvm.pid, "--tid", "0xb26")
    if not Path(f"/proc/{hostile_jvm.pid}/task/{0xB26}").exists():
        assert b26.code == 3
        assert b26.of("thread") == []


def test_a_name_that_forges_a_whole_thread_never_gives_its_stack(opsdoc, start):
    with start(jdk.hostile_names, "forge").hot() as program:
        tid = program.facts["hot_tid"]
        runs = [
            opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM),
            opsdoc.json("stack", program.pid, "--tid", tid),
        ]
        everything = opsdoc.json("stack", program.pid)
    for run in runs:
        thread = run.thread(tid)
        if thread["frames"] is None:
            assert "more than one thread" in thread["unknown"]["frames"]
        else:
            assert thread["frames"][0]["function"] == FUNCTION
    functions = {f["function"] for run in (*runs, everything) for t in run.of("thread") for f in t["frames"] or ()}
    assert "com.evil.Nobody.runsThis" not in functions
    assert "com.acme.Parked.waitForWork" in functions


# ── without the right to look ────────────────────────────────────────────────────────────────────


def test_of_a_jvm_of_somebody_else_all_is_seen_but_the_stack_and_it_says_how(opsdoc, opsdoc_as_nobody, hot_jvm):
    asked = ("cpu", "--pid", hot_jvm.pid, *HOT, *CALM)
    run = opsdoc_as_nobody.json(*asked)
    thread = run.thread(hot_jvm.facts["hot_tid"])
    assert thread["cpu"] >= 0.02
    assert thread["name"] == "order-worker-3"
    assert thread["frames"] is None
    assert thread["unknown"]["frames"] == f"not permitted to read /proc/{hot_jvm.pid}/maps"
    (process,) = run.of("process")
    assert "com.acme.HotOne" in process["command"]
    assert (process["user"], process["runtime"]) == ("root", None)
    assert run.finding("cpu.hot-thread")["severity"] == "warning"
    (unseen,) = run.unseen
    assert unseen["reason"] == "denied"
    assert unseen["hint"] == shlex.join(["sudo", *opsdoc_as_nobody.command, *map(str, asked), "--json"])
    assert hot_jvm.stray_output() == ""
    sudo = subprocess.run(
        shlex.split(unseen["hint"])[1:], capture_output=True, text=True, check=False, timeout=60, cwd="/"
    )
    assert f"{FUNCTION} (OrderPricer.java:{jdk.LINE})" in sudo.stdout
