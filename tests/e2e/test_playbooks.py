"""`opsdoc run` and `opsdoc playbook` as people use them: on real programs, from files, and later from a case."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from servers import jdk, programs
from servers.cli import CALM, schema, under_way

RECORDINGS = Path(__file__).parent.parent / "recordings"

PLAYBOOK = """\
apiVersion: opsdoc/v1
name: who-burns
title: "Who burns the CPU"
params:
  pid: {type: pid, required: true, description: "the process"}
  hot: {type: float, default: 0.05}
steps:
  - id: cpu
    probe: cpu
    with: {pid: "${{ params.pid }}", window: 1s}
  - id: stacks
    probe: stack
    when: steps.cpu.process[0].cpu > params.hot
    with: {pid: "${{ params.pid }}"}
findings:
  - id: verdict
    title: "Who burns it"
    outcomes:
      - severity: critical
        when: steps.cpu.thread[0].cpu > params.hot
        message: "${{ steps.cpu.thread[0].name }} runs ${{ steps.cpu.thread[0].frames[0].function }}"
      - severity: ok
        message: "nobody"
    evidence: ["steps.cpu.thread[0]"]
    advice: ["Look at it.", "$ top -Hp ${{ params.pid }}"]
"""

BAD = {
    "misspelt key": ("window: 1s}", "windw: 1s}", "no key 'windw'", "window"),
    "misspelt key of a step": ("    probe: cpu\n", "    porbe: cpu\n", "porbe", "probe"),
    "duplicate key": ("name: who-burns\n", "name: who-burns\nname: again\n", "twice", ""),
    "unknown step": ("steps.cpu.process[0].cpu", "steps.cpx.process[0].cpu", "cpx", "cpu"),
    "unknown field": ("steps.cpu.thread[0].cpu >", "steps.cpu.thread[0].cpuu >", "cpuu", "cpu"),
    "text above a number": ("when: steps.cpu.process[0].cpu > params.hot", "when: '\"90\" > 5'", "text", ""),
    "Python objects": ("params.hot\n    with", "().__class__\n    with", "", ""),
    "a tower of powers": ("params.hot\n    with", "10**10**9\n    with", "**", ""),
    "an on: key": ("params:\n", "on: push\nparams:\n", "'on'", ""),
    "an alias bomb": ("params:\n", "a: &a [1, 1]\nb: [*a, *a, *a]\nparams:\n", "", ""),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_playbook_is_refused_at_its_place_before_anything_is_run(opsdoc, tmp_path, what):
    old, new, told, near = BAD[what]
    assert old in PLAYBOOK
    path = tmp_path / "bad.yml"
    path.write_text(PLAYBOOK.replace(old, new, 1))
    for words in (("playbook", "validate", path), ("run", path, "-p", "pid=1")):
        run = opsdoc(*words)
        assert (run.code, run.stdout) == (64, ""), run
        assert f"{path}:" in run.stderr
        line, column = run.stderr.split(f"{path}:")[1].split(":")[:2]
        assert line.isdecimal(), run.stderr
        assert column.isdecimal(), run.stderr
        assert told in run.stderr
        assert near in run.stderr


def test_a_file_of_10_mb_is_refused(opsdoc, tmp_path):
    path = tmp_path / "big.yml"
    path.write_text(PLAYBOOK + "# " + "x" * 10_000_000)
    run = opsdoc("playbook", "validate", path)
    assert (run.code, run.stdout) == (64, "")
    assert str(path) in run.stderr


def test_the_shipped_playbooks_are_listed_shown_and_right(opsdoc):
    listed = [line.split()[0] for line in opsdoc("playbook", "list").stdout.splitlines()]
    assert "cpu-hot" in listed
    for name in listed:
        text = opsdoc("playbook", "show", name).stdout
        assert text.startswith("# yaml-language-server: $schema=")
        checked = opsdoc("playbook", "validate", name)
        assert (checked.code, "is right" in checked.stdout) == (0, True)


def test_a_playbook_from_its_steps_to_its_verdict_and_again_from_its_case(opsdoc, hot_python, tmp_path):
    path, case = tmp_path / "who.yml", tmp_path / "case.tar.gz"
    path.write_text(PLAYBOOK)
    files = [tmp_path / f"report.{suffix}" for suffix in ("html", "json", "md")]
    named = [word for file in files for word in ("-o", file)]
    pid = f"pid={hot_python.pid}"
    run = opsdoc.json("run", path, "-p", pid, "--record", case, *named, *CALM)
    assert run.code == 2
    assert [result["step"] for result in run.report["results"]] == ["cpu", "stacks", None]
    (finding,) = run.report["results"][-1]["findings"]
    assert (finding["severity"], finding["by_hand"]) == ("critical", [f"top -Hp {hot_python.pid}"])
    assert finding["summary"] == "order-worker-3 runs recalculate"
    assert run.report["summary"] == finding["summary"]
    for file in files:
        assert "order-worker-3 runs recalculate" in file.read_text()
    schema().validate(json.loads(files[1].read_text()))

    again = opsdoc.json("run", path, "--replay", case, *CALM)
    assert again.code == 2
    assert [r["findings"] for r in again.report["results"]] == [r["findings"] for r in run.report["results"]]
    assert again.report["started"] == run.report["started"]
    path.write_text(PLAYBOOK.replace("severity: critical", "severity: warning"))
    better = opsdoc.json("run", path, "--replay", case, "--skip", "cpu", *CALM)
    assert better.report["results"][0]["status"] == "skipped"
    assert better.report["results"][-1]["severity"] == "unknown", "what needs the step that was left out"


def test_a_dry_run_tells_and_touches_nothing(opsdoc, idle_python, tmp_path):
    path = tmp_path / "who.yml"
    path.write_text(PLAYBOOK)
    run = opsdoc("run", path, "-p", f"pid={idle_python.pid}", "--dry-run", "--skip", "stacks")
    assert run.code == 0
    for told in ("step cpu: opsdoc cpu", "window = 1s", ".attach_pidN", "py-spy", "step stacks", "left out by --skip"):
        assert told in run.stdout
    assert programs.state(idle_python.pid) == "S"


def test_a_step_without_an_answer_is_unknown_and_the_run_ends(opsdoc, idle_python, tmp_path):
    path = tmp_path / "late.yml"
    path.write_text(PLAYBOOK.replace("window: 1s}", "window: 5s}\n    timeout: 1s"))
    run = opsdoc.json("run", path, "-p", f"pid={idle_python.pid}", *CALM)
    assert run.report["results"][0]["status"] == "timeout"
    assert run.report["results"][-1]["severity"] == "unknown"
    assert (run.code, run.left_behind) == (3, ())


CALLS = "trace=open,openat,creat,mkdir,mkdirat,mknodat,unlinkat,renameat2,rename,kill,tkill,tgkill,pidfd_send_signal"
WRITES = re.compile(r'(?:open|openat|creat)\((?:[^"]*, )?"(?P<path>[^"]*)".*O_(?:WRONLY|RDWR|CREAT)')
SIGNALS = re.compile(r"(?:kill|tkill|tgkill|pidfd_send_signal)\((?P<who>[^)]*)\)")


@pytest.mark.xdist_group("java")
def test_a_whole_run_writes_and_signals_nothing_but_what_it_says(opsdoc, hot_jvm_unattached, hot_python, tmp_path):
    """As root, under strace: the run of a playbook with a JVM that has no socket yet, and a Python program."""
    if os.geteuid() != 0 or shutil.which("strace") is None:
        programs.lacking("strace, as root")
    path, trace, out = tmp_path / "who.yml", tmp_path / "trace", tmp_path / "report.json"
    path.write_text(PLAYBOOK.replace("window: 1s}", "window: 2s}"))
    done = 0
    for program in (hot_jvm_unattached, hot_python):
        words = ["run", str(path), "-p", f"pid={program.pid}", "-o", str(out), "-q", *CALM]
        command = ["strace", "-f", "-qq", "-s", "300", "-e", CALLS, "-o", str(trace), *opsdoc.command, *words]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/", check=False)
        assert run.returncode in range(4), run.stderr
        report = json.loads(out.read_text())
        lines = trace.read_text(errors="replace").splitlines()
        announced = [file.rpartition("/")[2] for file in report["cost"]["target_files"]]
        for line in lines:
            written = WRITES.search(line)
            if written and " = -1 " not in line:
                file = written["path"]
                own = file.startswith(("/dev/null", "/dev/tty", str(tmp_path), "/tmp/opsdoc-perf-"))
                ours = own or file.rpartition("/")[2].startswith((".report.json", "report.json"))
                assert ours or any(name.startswith(file) or file in name for name in announced), line
            sent = SIGNALS.search(line)
            if sent and not re.fullmatch(r"\d+, 0", sent["who"]):  # which asks whether it is there
                assert "pidfd_send_signal" in line, line
                assert "SIGQUIT" in line, line
                done += 1
        assert programs.state(program.pid) in "RS"
    assert done == 1, "the JVM was asked for its socket, once"
    assert hot_jvm_unattached.stray_output() == ""


# ── cpu-hot ──────────────────────────────────────────────────────────────────────────────────────

WARM = ("-p", "warm=0.05", "-p", "hot=2", "--limit", "hot.thread_cpu=0.05:9", "--limit", "hot.code_cpu=0.05:9")


def cause(run):
    (found,) = [one for one in run.report["results"][-1]["findings"] if one["rule"] == "cpu-hot.cause"]
    return found


@pytest.mark.xdist_group("java")
def test_cpu_hot_names_the_code_of_a_jvm(opsdoc, hot_jvm):
    run = opsdoc.json("run", "cpu-hot", "-p", f"pid={hot_jvm.pid}", "-p", "window=2s", *WARM, *CALM)
    assert "com.acme.OrderPricer.recalculate" in cause(run)["summary"]
    assert "the code: " in cause(run)["summary"]
    assert [result["step"] for result in run.report["results"]] == ["cpu", "again", None]


def test_cpu_hot_names_the_code_of_a_python_program(opsdoc, hot_python):
    run = opsdoc.json("run", "cpu-hot", "-p", f"pid={hot_python.pid}", "-p", "window=1s", *WARM, *CALM)
    assert "recalculate" in cause(run)["summary"]


@pytest.mark.xdist_group("java")
def test_cpu_hot_blames_the_heap(opsdoc, gc_jvm):
    run = opsdoc.json("run", "cpu-hot", "-p", f"pid={gc_jvm.pid}", "-p", "window=2s", *WARM, *CALM)
    assert "the heap" in cause(run)["summary"]
    assert "MiB" in cause(run)["summary"]


@pytest.mark.xdist_group("java")
def test_a_storm_of_misses_is_blamed_on_a_full_heap(opsdoc, gc_jvm):
    crowded = ("--limit", "gc.cpu=0.02:0.04", "--limit", "gc.time=0.1:0.3", *CALM)  # it gets little CPU then
    run = opsdoc.json("run", "cache-miss-storm", "-p", f"pid={gc_jvm.pid}", "-p", "since=10s", *crowded)
    (blamed,) = [finding for finding in run.findings if finding["rule"] == "cache-miss-storm.cause"]
    assert blamed["summary"].startswith("the heap that is used as a cache is full: ")
    assert "MiB" in blamed["summary"]


@pytest.mark.box
@pytest.mark.usefixtures("quiet_box")
def test_cpu_hot_of_an_idle_program_is_not_cpu(opsdoc, idle_python):
    run = opsdoc.json("run", "cpu-hot", "-p", f"pid={idle_python.pid}", "-p", "window=1s", "-p", "busy=100%", *CALM)
    assert cause(run)["summary"].startswith("not CPU")
    assert run.report["results"][1]["status"] == "skipped"


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.xdist_group("java")
def test_a_stopped_target_makes_its_step_unknown_and_the_others_go_on(opsdoc, start, tmp_path):
    program = start(jdk.hot_one, 10, 3, options=jdk.ATTACHABLE)
    path = tmp_path / "stopped.yml"
    first = PLAYBOOK.replace("    when: steps.cpu.process[0].cpu > params.hot\n", "")
    path.write_text(first)
    with program.stopped():
        run = opsdoc.json("run", path, "-p", f"pid={program.pid}", *CALM)
        assert programs.state(program.pid) == "T"
    by_step = {result["step"]: result for result in run.report["results"]}
    assert "is stopped" in by_step["stacks"]["findings"][0]["summary"]
    assert by_step["cpu"]["observations"]
    assert (run.code, run.left_behind) == (3, ())


def test_an_interrupted_run_reports_what_it_saw(opsdoc, hot_python, tmp_path):
    path = tmp_path / "who.yml"
    path.write_text(PLAYBOOK.replace("window: 1s}", "window: 8s}"))
    run = opsdoc.json("run", path, "-p", f"pid={hot_python.pid}", *CALM, when=under_way(1.5))
    assert (run.code, run.report["interrupted"], run.left_behind) == (130, True, ())
    by_step = {result["step"]: result for result in run.report["results"]}
    assert by_step["cpu"]["observations"]
    assert by_step["stacks"]["status"] == "skipped"
    assert run.wall < 8


@pytest.mark.parametrize("what", ["a recording of one probe", "an archive of nothing", "no archive", "nothing"])
def test_what_is_no_case_is_refused(opsdoc, tmp_path, what):
    path = tmp_path / "case.tar.gz"
    match what:
        case "a recording of one probe":
            path = RECORDINGS / "cpu" / "idle"
        case "an archive of nothing":
            with tarfile.open(path, "w:gz"):
                pass
        case "no archive":
            path.write_bytes(b"x" * 100)
    run = opsdoc("run", "cpu-hot", "--replay", path)
    assert (run.code, run.stdout) == (64, "")
    assert f"cannot replay {path}" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_playbook_comes_from_standard_input_too(opsdoc, hot_python):
    command = [*opsdoc.command, "run", "-", "-p", f"pid={hot_python.pid}", "--json", *CALM]
    done = subprocess.run(command, input=PLAYBOOK, capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stdout)["summary"] == "order-worker-3 runs recalculate"


def test_a_case_is_judged_elsewhere_without_root_and_without_the_target(opsdoc, opsdoc_as_nobody, hot_python, tmp_path):
    case, playbook = tmp_path / "case.tar.gz", tmp_path / "who.yml"
    playbook.write_text(PLAYBOOK)
    run = opsdoc.json("run", playbook, "-p", f"pid={hot_python.pid}", "--record", case, *CALM)
    hot_python.stop()
    folder = opsdoc_as_nobody.folder
    for path in (case, playbook):
        shutil.copy(path, folder / path.name)
        shutil.chown(folder / path.name, opsdoc_as_nobody.user)
    again = opsdoc_as_nobody.json("run", folder / "who.yml", "--replay", folder / "case.tar.gz", *CALM)
    kept = [(r["step"], r["findings"], r["observations"], r["elapsed_seconds"]) for r in run.report["results"]]
    assert [
        (r["step"], r["findings"], r["observations"], r["elapsed_seconds"]) for r in again.report["results"]
    ] == kept
    assert (again.code, again.report["elapsed_seconds"]) == (run.code, run.report["elapsed_seconds"])
