"""The single steps of the runbook: top, threads, stack, and stack of a saved dump; demo writes a valid report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from servers import jdk, programs
from servers.cli import CALM, schema
from servers.programs import PY, marked_line

NO_PID = 2**22 + 1  # above the highest pid that Linux gives
JAVA = "com.acme.OrderPricer.recalculate"
PYTHON_LINE = marked_line(PY / "hot_one.py")


def saved(folder, name, *command):
    path = folder / name
    with path.open("wb") as file:
        subprocess.run(command, stdout=file, check=True, timeout=60)
    return path


def jstack(program, folder, *options):
    return saved(folder, "a.stack", jdk.tool("jstack"), *options, str(program.pid))


def pyspy(program, folder, name, *options):
    command = [str(Path(sys.executable).with_name("py-spy")), "dump", "--nonblocking", *options]
    return saved(folder, name, *command, "--pid", str(program.pid))


# ── top ──────────────────────────────────────────────────────────────────────────────────────────


def test_top_ranks_by_what_is_used_now(opsdoc, hot_python, idle_python):
    run = opsdoc.json("top", "-n", 0)
    seen = {process["pid"]: process["cpu"] for process in run.of("process")}
    assert seen[idle_python.pid] < 0.05 < seen[hot_python.pid]
    assert list(seen.values()) == sorted(seen.values(), reverse=True)
    (result,) = run.report["results"]
    assert result["total"]["process"] == result["shown"]["process"] == len(seen)
    assert len(run.of("box")) == 1


def test_top_shows_as_many_as_asked_and_how_many_there_are(opsdoc, hot_python):
    run = opsdoc.json("top", "-n", 1, "--window", "500ms")
    (result,) = run.report["results"]
    assert result["shown"]["process"] == 1 < result["total"]["process"]
    text = opsdoc("top", "-n", 1, "--window", "500ms", *CALM)
    assert (text.code, text.stderr) == (0, "")
    assert text.stdout.startswith("opsdoc top · ")


# ── threads ──────────────────────────────────────────────────────────────────────────────────────


def test_threads_ranks_the_threads_of_a_process(opsdoc, hot_jvm):
    run = opsdoc.json("threads", hot_jvm.pid, "-n", 3, "--limit", "hot.thread_cpu=0.02:9", *CALM[-1:])
    hottest = run.of("thread")[0]
    tid = hot_jvm.facts["hot_tid"]
    assert (hottest["tid"], hottest["tid_hex"], hottest["name"]) == (tid, hex(tid), "order-worker-3")
    (result,) = run.report["results"]
    assert result["total"]["thread"] >= 400 > result["shown"]["thread"] == 3
    assert f"opsdoc stack {hot_jvm.pid} --tid {tid}" in run.finding("cpu.hot-thread")["next_step"]
    assert run.report["cost"]["pauses"] == []


# ── stack ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("spell", [str, hex, "0x{:X}".format], ids=["decimal", "hex", "HEX"])
def test_stack_of_one_thread_by_its_id(opsdoc, hot_jvm, spell):
    tid = hot_jvm.facts["hot_tid"]
    run = opsdoc.json("stack", hot_jvm.pid, "--tid", spell(tid))
    (thread,) = run.of("thread")
    assert (thread["tid"], thread["name"]) == (tid, "order-worker-3")
    functions = [frame["function"] for frame in thread["frames"]]
    assert functions[0] == JAVA
    assert functions[-1] == "java.lang.Thread.run"
    assert thread["cpu"] is None
    assert "--window" in thread["unknown"]["cpu"]
    assert (run.code, run.unseen) == (0, [])


def test_stack_by_bare_hex_as_grep_takes_it(opsdoc, hot_jvm):
    """`b26`; what is all digits is decimal, so a thread whose id has a letter in hex is asked for."""
    tid = next(tid for tid in programs.threads(hot_jvm.pid) if not f"{tid:x}".isdecimal() and tid != hot_jvm.pid)
    run = opsdoc.json("stack", hot_jvm.pid, "--tid", f"{tid:x}")
    assert [thread["tid"] for thread in run.of("thread")] == [tid]


def test_stack_of_all_threads_and_of_the_innermost_frames(opsdoc, hot_jvm):
    run = opsdoc.json("stack", hot_jvm.pid, "--context", 2)
    (result,) = run.report["results"]
    assert result["total"]["thread"] == result["shown"]["thread"] >= 400
    parked = [thread for thread in run.of("thread") if thread["name"].startswith("http-worker-")]
    assert len(parked) >= 390
    assert {len(thread["frames"]) for thread in parked} == {2}
    one = opsdoc("stack", hot_jvm.pid, "--tid", hot_jvm.facts["hot_tid"], "--context", 1)
    assert one.code == 0
    text = " ".join(one.stdout.split())
    assert f"{JAVA} OrderPricer.java:{jdk.LINE}" in text
    assert "com.acme.OrderPricer.price" not in text


def test_stack_of_a_python_program_with_its_cpu(opsdoc, hot_python):
    tid = hot_python.facts["hot_tid"]
    run = opsdoc.json("stack", hot_python.pid, "--window", "500ms")
    assert run.report["results"][0]["total"]["thread"] == 50
    hottest = run.of("thread")[0]
    assert (hottest["tid"], hottest["name"]) == (tid, "order-worker-3")
    assert (hottest["frames"][0]["function"], hottest["frames"][0]["line"]) == ("recalculate", PYTHON_LINE)
    assert hottest["cpu"] > 0.02


def test_stack_of_a_native_program_is_unknown_and_not_ok(opsdoc, native_spinner):
    run = opsdoc.json("stack", native_spinner.pid)
    assert run.code == 3
    assert "the kernel does not tell where" in run.report["summary"]
    assert f"opsdoc stack {native_spinner.pid} --tid" in run.findings[0]["next_step"]


# ── what is not there ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("line", ["cpu --pid {}", "threads {}", "stack {}", "stack {} --tid 7"])
def test_an_unknown_pid_is_unknown_in_one_line(opsdoc, line):
    words = line.format(NO_PID).split()
    run = opsdoc.json(*words)
    assert (run.code, run.stderr) == (3, "")
    assert f"no process {NO_PID}" in run.report["summary"]
    text = opsdoc(*words)
    assert text.code == 3
    assert [row for row in text.stdout.splitlines() if row.startswith("UNKNOWN") and str(NO_PID) in row]


@pytest.mark.parametrize("tid", ["1", "0x1", "fffffff"])
def test_an_unknown_tid_is_unknown_in_one_line(opsdoc, hot_jvm, tid):
    run = opsdoc("stack", hot_jvm.pid, "--tid", tid)
    assert (run.code, run.stderr) == (3, "")
    number = int(tid, 16)
    (line,) = [row for row in run.stdout.splitlines() if row.startswith("UNKNOWN")]
    assert f"no thread {number} ({number:#x}) in process {hot_jvm.pid}" in line


# ── a saved dump ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [(), ("-l",)], ids=["jstack", "jstack -l"])
def test_a_saved_jstack(opsdoc, hot_jvm, tmp_path, options):
    path = jstack(hot_jvm, tmp_path, *options)
    tid = hot_jvm.facts["hot_tid"]
    run = opsdoc.json("stack", "--dump", path, "--tid", hex(tid))
    (thread,) = run.of("thread")
    assert (thread["tid"], thread["name"], thread["source"]) == (tid, "order-worker-3", "saved dump")
    frame = thread["frames"][0]
    assert (frame["function"], frame["file"], frame["line"]) == (JAVA, "OrderPricer.java", jdk.LINE)
    assert (thread["cpu"], "dump" in thread["unknown"]["cpu"]) == (None, True)
    assert run.code == 0
    whole = opsdoc.json("stack", "--dump", path, "--context", 3)
    assert whole.report["results"][0]["total"]["thread"] >= 400
    parked = next(thread for thread in whole.of("thread") if thread["name"] == "http-worker-99")
    assert len(parked["frames"]) == 3


def test_a_saved_dump_with_hostile_names(opsdoc, hostile_jvm, tmp_path):
    tid = hostile_jvm.facts["hot_tid"]
    run = opsdoc.json("stack", "--dump", jstack(hostile_jvm, tmp_path), "--tid", tid)
    (thread,) = run.of("thread")
    assert (thread["name"], thread["frames"][0]["function"]) == ("[red]x[/closed]", JAVA)


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_a_saved_pyspy_dump(opsdoc, hot_python, tmp_path, options):
    path = pyspy(hot_python, tmp_path, "a.dump", *options)
    tid = hot_python.facts["hot_tid"]
    run = opsdoc.json("stack", "--dump", path, "--tid", tid)
    (thread,) = run.of("thread")
    assert (thread["tid"], thread["name"]) == (tid, "order-worker-3")
    assert (thread["frames"][0]["function"], thread["frames"][0]["line"]) == ("recalculate", PYTHON_LINE)
    assert len(opsdoc.json("stack", "--dump", path).of("thread")) == 50


def test_a_saved_dump_needs_neither_the_process_nor_its_user(opsdoc_as_nobody, hot_python):
    path = pyspy(hot_python, opsdoc_as_nobody.folder, "a.dump", "--json")
    hot_python.die()
    run = opsdoc_as_nobody.json("stack", "--dump", path, "--tid", hot_python.facts["hot_tid"])
    assert run.code == 0
    assert run.of("thread")[0]["frames"][0]["function"] == "recalculate"


@pytest.mark.parametrize("tid", ["77", "0x4d"])
def test_an_unknown_tid_in_a_saved_dump(opsdoc, hot_python, tmp_path, tid):
    run = opsdoc("stack", "--dump", pyspy(hot_python, tmp_path, "a.dump"), "--tid", tid)
    assert (run.code, run.stderr) == (3, "")
    (line,) = [row for row in run.stdout.splitlines() if row.startswith("UNKNOWN")]
    assert "no thread 77 (0x4d) in the dump" in line


def test_a_dump_that_is_none_is_unknown_and_a_file_that_is_not_there_is_usage(opsdoc, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("it was like that when I came\n")
    run = opsdoc.json("stack", "--dump", path)
    assert run.code == 3
    assert "not a jstack or py-spy dump" in run.report["summary"]
    missing = opsdoc("stack", "--dump", tmp_path / "no.txt")
    assert (missing.code, missing.stdout) == (64, "")
    assert missing.stderr.count("\n") == 1
    neither = opsdoc("stack")
    assert (neither.code, neither.stdout) == (64, "")
    assert "name a process or a saved dump" in neither.stderr


# ── demo ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_report_of_the_demo_follows_the_schema(opsdoc):
    run = opsdoc("demo", "-q", "-o", "r.json", env={"TMPDIR": str(opsdoc.folder)})
    assert (run.code, run.stdout, run.left_behind) == (0, "", ()), run.stderr
    report = json.loads((opsdoc.folder / "r.json").read_text())
    schema().validate(report)
    assert any("recalculate (order_pricer.py:" in finding["summary"] for finding in report["results"][0]["findings"])
    assert not list(opsdoc.folder.glob("opsdoc-demo-*"))
