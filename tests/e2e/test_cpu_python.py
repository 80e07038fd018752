"""`opsdoc cpu` on real Python programs: which thread, which line of code; and what can be seen of those of others."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from servers import programs
from servers.cli import CALM
from servers.programs import PY, marked_line, state

HOT = ("--limit", "hot.thread_cpu=0.02:9")  # on a crowded machine a spinning thread gets a few percent of a core
LINE = marked_line(PY / "hot_one.py")
WHERE = f"recalculate (hot_one.py:{LINE})"


def assert_names_the_hot_thread(run, program):
    """Pid, tid, hex, name, function and line: in the thread, and in the one finding."""
    tid = program.facts["hot_tid"]
    thread = run.thread(tid)
    assert run.of("thread")[0] is thread, "the hottest comes first"
    assert (thread["pid"], thread["tid_hex"], thread["name"]) == (program.pid, hex(tid), "order-worker-3")
    innermost = thread["frames"][0]
    assert (innermost["function"], Path(innermost["file"]).name, innermost["line"]) == (
        "recalculate",
        "hot_one.py",
        LINE,
    )
    assert [frame["function"] for frame in thread["frames"][1:3]] == ["price", "work"]
    assert 1 <= thread["agreement"]["seen"] == thread["agreement"]["of"]
    finding = run.finding("cpu.app-code")
    for words in (f"hot_one.py (pid {program.pid})", str(tid), hex(tid), "order-worker-3"):
        assert words in finding["subject"]
    assert WHERE in finding["summary"]
    assert run.report["summary"] == finding["summary"]


def test_the_hot_thread_of_50_is_named_with_its_line(opsdoc, hot_python):
    run = opsdoc.json("cpu", "--pid", hot_python.pid, "-n", 0, *HOT, *CALM)
    assert_names_the_hot_thread(run, hot_python)
    assert run.code == 1
    (process,) = run.of("process")
    assert process["threads"] == 50
    assert re.fullmatch(r"python 3\.\d+", process["runtime"])
    (result,) = run.report["results"]
    assert (result["status"], result["unseen"], run.stderr) == ("ok", [], "")
    assert result["window_seconds"] >= 1.9
    # The main thread, which `top -Hp` of Debian 12 shows with the CPU of the whole process, is idle.
    main = [thread["cpu"] for thread in run.of("thread") if thread["tid"] == hot_python.facts["main_tid"]]
    assert all(cpu < 0.05 for cpu in main)
    # Nobody was stopped, nothing was written.
    assert (run.report["cost"]["pauses"], run.report["cost"]["target_files"]) == ([], [])
    assert run.left_behind == ()
    assert state(hot_python.pid) not in "Tt"


def test_a_person_reads_the_same(opsdoc, hot_python):
    run = opsdoc("cpu", "--pid", hot_python.pid, "--window", "1s", *HOT, *CALM)
    assert (run.code, run.stderr) == (1, "")
    text = " ".join(run.stdout.split())
    tid = hot_python.facts["hot_tid"]
    assert f"WARNING hot_one.py (pid {hot_python.pid}) burns" in text
    assert f"in {WHERE}" in text
    assert f"{tid} {tid:#x} order-worker-3" in text
    assert f"py-spy dump --nonblocking --pid {hot_python.pid}" in text


def test_the_command_by_hand_shows_the_same(opsdoc, hot_python):
    run = opsdoc.json("cpu", "--pid", hot_python.pid, "--window", "1s", *HOT)
    command = next(line for line in run.finding("cpu.app-code")["by_hand"] if line.startswith("py-spy"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path}
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True, timeout=60, env=env, cwd=PY)
    assert f"recalculate (hot_one.py:{LINE})" in done.stdout


@pytest.mark.parametrize(("limits", "severity", "code"), [("0.01:0.02", "critical", 2), ("9:9", "ok", 0)])
def test_the_severity_and_the_exit_code_follow_the_threshold(opsdoc, hot_python, limits, severity, code):
    asked = ("--limit", f"hot.thread_cpu={limits}")
    run = opsdoc.json("cpu", "--pid", hot_python.pid, "--window", "1s", *asked, *CALM)
    assert (run.report["severity"], run.code) == (severity, code)


def test_60_lukewarm_threads_are_one_culprit(opsdoc, lukewarm_python):
    run = opsdoc.json("cpu", "--pid", lukewarm_python.pid, "--limit", "hot.code_cpu=0.05:9", *CALM)
    assert [f["rule"] for f in run.findings if f["severity"] != "ok"] == ["cpu.app-code"]
    finding = run.finding("cpu.app-code")
    assert "in reserve (lukewarm.py:" in finding["summary"]
    code = next(code for code in run.of("code") if code["id"] in finding["evidence"])
    assert code["frame"]["function"] == "reserve"
    assert code["threads"] >= 20
    assert max(thread["cpu"] for thread in run.of("thread")) < 0.5 * code["cpu"]
    assert f"by {code['threads']} threads" in finding["summary"]


# ── without the right to look ────────────────────────────────────────────────────────────────────


def test_of_a_program_of_somebody_else_all_is_seen_but_the_stack_and_it_says_how(opsdoc_as_nobody, hot_python):
    asked = ("cpu", "--pid", hot_python.pid, *HOT, *CALM)
    run = opsdoc_as_nobody.json(*asked)
    thread = run.thread(hot_python.facts["hot_tid"])
    assert thread["cpu"] >= 0.02
    assert thread["frames"] is None
    assert thread["unknown"]["frames"] == f"not permitted to read /proc/{hot_python.pid}/maps"
    (process,) = run.of("process")
    assert "hot_one.py 50 15" in process["command"]
    assert (process["user"], process["runtime"]) == ("root", None)
    assert process["unknown"]["runtime"] == f"not permitted to read /proc/{hot_python.pid}/maps"
    finding = run.finding("cpu.hot-thread")
    assert "in code that could not be seen" in finding["summary"]
    (unseen,) = run.unseen
    assert unseen["reason"] == "denied"
    assert unseen["hint"] == shlex.join(["sudo", *opsdoc_as_nobody.command, *map(str, asked), "--json"])
    assert run.report["results"][0]["status"] == "partial"
    # The command that it names is the one that shows it.
    sudo = subprocess.run(
        shlex.split(unseen["hint"])[1:], capture_output=True, text=True, check=False, timeout=60, cwd="/"
    )
    assert WHERE in sudo.stdout


def test_the_stack_of_a_program_of_somebody_else_is_unknown_and_it_says_how(opsdoc_as_nobody, hot_python):
    run = opsdoc_as_nobody("stack", hot_python.pid)
    assert run.code == 3
    text = " ".join(run.stdout.split())
    assert text.startswith("opsdoc stack")
    assert "UNKNOWN" in text
    assert f"not permitted to read /proc/{hot_python.pid}/maps" in text
    assert shlex.join(["sudo", *opsdoc_as_nobody.command, "stack", str(hot_python.pid)]) in text


def test_ones_own_program_needs_no_root(opsdoc_as_nobody, start):
    """Where the kernel lets only root read the memory of others (ptrace_scope), the reason and the command are told."""
    python = Path(opsdoc_as_nobody.command[0]).with_name("python")
    folder = opsdoc_as_nobody.folder / "py"
    folder.mkdir(mode=0o755)
    for name in ("hot_one.py", "stage.py"):
        (folder / name).write_text((PY / name).read_text())
    program = start(programs.python, "hot_one", 10, 3, python=str(python), folder=folder, user=opsdoc_as_nobody.user)
    with program.hot():
        run = opsdoc_as_nobody.json("cpu", "--pid", program.pid, *HOT, *CALM)
        if run.unseen:
            assert run.unseen[0]["hint"].startswith("sudo ")
            return
        assert_names_the_hot_thread(run, program)
