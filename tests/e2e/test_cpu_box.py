"""`opsdoc cpu` on the whole box: who is hot now, and whether it is CPU at all."""

from __future__ import annotations

import os
import pwd

import pytest
from servers import programs
from servers.cli import CALM


def processes(run):
    return {process["pid"]: process for process in run.of("process")}


def test_a_process_that_was_busy_for_long_but_idles_now_does_not_win(opsdoc, was_busy_python, native_spinner):
    for command in ("cpu", "top"):
        run = opsdoc.json(command, "-n", 0, "--limit", "hot.thread_cpu=0.02:9")
        seen = processes(run)
        assert was_busy_python.facts["burned"] >= 2.9
        assert seen[was_busy_python.pid]["cpu"] < 0.05 < seen[native_spinner.pid]["cpu"]
        order = list(seen)
        assert order.index(native_spinner.pid) < order.index(was_busy_python.pid)
        assert f"pid {was_busy_python.pid}" not in str([f for f in run.findings if f["severity"] != "ok"])


@pytest.mark.xdist_group("java")  # a look at the whole box attaches to JVMs, whosever tests they belong to
def test_a_hot_process_is_found_among_all_others(opsdoc, native_spinner):
    """The runtime is read from what is mapped; what has none is native, and perf is the way to look at it."""
    run = opsdoc.json("cpu", "-n", 0, "--limit", "hot.thread_cpu=0.02:9", "--limit", "hot.code_cpu=0.02:9", *CALM)
    process = processes(run)[native_spinner.pid]
    assert (process["runtime"], process["user"]) == ("native", pwd.getpwuid(os.geteuid()).pw_name)
    assert process["command"].startswith("/bin/sh -c ")
    assert run.thread(native_spinner.pid)["role"] == "native"
    finding = next(
        f for f in run.findings if f["rule"] == "cpu.native" and f"pid {native_spinner.pid})" in f["subject"]
    )
    assert any(line.startswith(f"perf record -t {native_spinner.pid}") for line in finding["by_hand"])
    (box,) = run.of("box")
    assert box["busy"] > 0.05
    assert run.report["results"][0]["total"]["process"] >= 2


def test_a_process_of_another_user_is_shown_with_its_user(opsdoc, spinner_of_nobody):
    run = opsdoc.json("top", "-n", 0)
    process = processes(run)[spinner_of_nobody.pid]
    assert process["user"] == "nobody"
    assert process["cpu"] > 0.05


def run_while_nobody_else_is_busy(opsdoc, *limits, busy):
    """A run in whose window the box stayed as quiet as it was before; on a shared one somebody else may start."""
    for _ in range(5):
        run = opsdoc.json("cpu", "--limit", "box.steal=99:99", *limits)
        if run.of("box")[0]["busy"] < busy:
            return run
    pytest.skip(f"this box is never idle for the length of a window: {run.report['summary']}")


def test_an_idle_box_is_ok(opsdoc, quiet_box):
    run = run_while_nobody_else_is_busy(opsdoc, busy=0.2)
    assert (run.code, run.report["severity"]) == (0, "ok"), run.report["summary"]
    assert {finding["severity"] for finding in run.findings} == {"ok"}
    assert {"box.busy", "box.not-cpu", "box.steal"} <= {finding["rule"] for finding in run.findings}


def test_an_idle_cpu_with_a_busy_disk_is_not_cpu(opsdoc, busy_disk):
    run = run_while_nobody_else_is_busy(opsdoc, "--limit", "box.iowait=0.05:0.99", busy=0.6)
    finding = run.finding("box.not-cpu")
    assert finding["summary"].startswith("not a CPU problem: the CPUs are")
    assert run.report["summary"] == finding["summary"]
    assert run.code == 1
    assert "iostat -x 1 3" in finding["by_hand"]
    assert not [f for f in run.findings if f["rule"].startswith("cpu.") and f["severity"] != "ok"]


@pytest.mark.box  # beside other tests their runner is a busy parent too
def test_a_fork_storm_names_the_parent(opsdoc, start):
    """CPU that no live process has: the children live for milliseconds, and their parent is what can be stopped."""
    storm = start(programs.fork_storm)
    run = opsdoc.json("top", "-n", 0, "--limit", "box.unattributed=0.02:9")
    parent = processes(run)[storm.pid]
    assert parent["children_cpu"] > 0.05
    named = run.finding("box.short-lived")
    assert f"(pid {storm.pid}) keeps starting processes" in named["summary"]
    assert parent["id"] in named["evidence"]
