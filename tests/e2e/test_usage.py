"""The command line from outside: one line for what is wrong, quiet ends, the cost of the start, doctor and demo."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from servers.cli import started_child

from opsdoc import __version__


def python(code, **options):
    return subprocess.run([sys.executable, *code], capture_output=True, text=True, check=False, timeout=60, **options)


# ── bad usage ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cpux", "no command 'cpux' (did you mean 'cpu'?)"),
        ("--json cpu", "options stand after the command"),
        ("cpu --formt json", "no option '--formt' (did you mean '--format'?); see 'opsdoc cpu --help'"),
        ("cpu -f jsn", "did you mean 'json'"),
        ("cpu --pid", "'--pid' requires an argument"),
        ("cpu --pid x", "bad --pid 'x': write a whole number"),
        ("cpu 12", "no place for '12'"),
        ("cpu --window 5", "bad --window '5': write a duration such as 500ms, 5s or 10m"),
        ("cpu --window 31s", "does not fit into the timeout"),
        ("cpu --limit hot.thred_cpu=1:2", "did you mean 'hot.thread_cpu'"),
        ("cpu -o no/r.html", "cannot write no/r.html: no is not a directory"),
        ("cpu -o link.html", "symlink"),
        ("cpu -o r.htlm", "its suffix names no format"),
        ("cpu --record no/r", "no permission to create files in no"),
        ("cpu --replay empty", "it is not a recording of opsdoc"),
        ("cpu --replay no.tar.gz", "No such file"),
        ("cpu --proc empty", "not a mounted proc"),
        ("schema", "missing report"),
        ("schema reprot", "did you mean 'report'"),
        ("demo -o no/r.html", "no is not a directory"),
    ],
)
def test_a_usage_error_is_one_line_with_64(opsdoc, line, words):
    (opsdoc.folder / "link.html").symlink_to("elsewhere.html")
    (opsdoc.folder / "empty").mkdir()
    before = sorted(opsdoc.folder.iterdir())
    run = opsdoc(*line.split())
    assert (run.code, run.stdout) == (64, "")
    assert run.stderr.startswith("opsdoc: ")
    assert run.stderr.count("\n") == 1
    assert words in run.stderr
    assert sorted(opsdoc.folder.iterdir()) == before


def test_nothing_at_all_is_help_on_stderr_and_not_ok(opsdoc):
    run = opsdoc()
    assert (run.code, run.stdout) == (64, "")
    assert "Usage: opsdoc COMMAND" in run.stderr


def test_a_bad_configuration_file_is_named_with_line_and_column(opsdoc):
    (opsdoc.folder / "opsdoc.yml").write_text("rows: 3\nwindw: 1s\n")
    run = opsdoc("doctor")
    assert run.code == 64
    assert run.stderr == "opsdoc: opsdoc.yml:2:1: no key 'windw' in the configuration (did you mean 'window'?)\n"


def test_control_characters_of_a_bad_word_are_shown_and_not_obeyed(opsdoc):
    run = opsdoc("\x1b[31mcpu\n\r")
    assert run.code == 64
    assert "\x1b" not in run.stderr
    assert "\\x1b[31mcpu" in run.stderr


@pytest.mark.parametrize("line", ["--help", "-h", "cpu --help", "doctor -h", "demo --help", "schema --help"])
@pytest.mark.parametrize("columns", ["60", "80"])
def test_help_is_plain_and_fits(opsdoc, line, columns):
    run = opsdoc(*line.split(), env={"COLUMNS": columns, "LC_ALL": "C", "FORCE_COLOR": "1"})
    assert (run.code, run.stderr) == (0, "")
    assert "Usage: opsdoc" in run.stdout
    assert run.stdout.isascii()
    assert max(len(row) for row in run.stdout.splitlines() if "=" not in row) <= int(columns)


# ── the start ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_needs_nothing(opsdoc, flag):
    run = opsdoc(flag)
    assert (run.code, run.stdout) == (0, f"opsdoc {__version__}\n")
    imported = python(["-X", "importtime", "-m", "opsdoc", flag]).stderr
    assert "typer" not in imported
    assert "opsdoc.model" not in imported


@pytest.mark.parametrize(("line", "used"), [("cpu --window 50ms", "nothing"), ("doctor", "psutil")])
def test_a_json_run_imports_nothing_that_it_does_not_use(tmp_path, line, used):
    argv = ["-X", "importtime", "-m", "opsdoc", *line.split(), "--json"]
    imported = python(argv, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)})
    names = {line.rpartition("|")[2].strip() for line in imported.stderr.splitlines()}
    assert "opsdoc.engine" in names
    heavy = {"rich", "jinja2", "yaml", "pydantic", "psutil", "asyncio", "ssl"} - {used}
    assert {name.partition(".")[0] for name in names} & heavy == set()


# ── quiet ends ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("line", ["doctor --json", "schema report", "--help", "doctor", "--version"])
def test_a_pipe_that_closes_early_is_quiet(opsdoc, line):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        run = subprocess.run(
            [*opsdoc.command, *line.split()],
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            env=opsdoc.env,
            timeout=60,
        )
    assert run.stderr == b""
    assert run.returncode in (0, 3)


def test_without_standard_streams_it_still_writes_its_files(opsdoc):
    command = f"{' '.join(opsdoc.command)} doctor -o r.json <&- >&- 2>&-"
    code = subprocess.run(command, shell=True, check=False, cwd=opsdoc.folder, env=opsdoc.env, timeout=60).returncode
    assert code in (0, 3)
    assert json.loads((opsdoc.folder / "r.json").read_text())["exit_code"] == code


def test_a_full_disk_behind_stdout_is_one_line(opsdoc):
    with open("/dev/full", "w") as out:
        run = subprocess.run(
            [*opsdoc.command, "doctor"], stdout=out, stderr=subprocess.PIPE, check=False, env=opsdoc.env, timeout=60
        )
    assert run.returncode == 64
    assert run.stderr == b"opsdoc: cannot write standard output: No space left on device\n"


@pytest.mark.parametrize("form", ["text", "json", "md", "html"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_of_any_encoding_does_not_crash_it(opsdoc, form, encoding):
    run = opsdoc("doctor", "-f", form, env={"PYTHONIOENCODING": encoding, "LC_ALL": "C"})
    assert run.code in (0, 3)
    assert run.stderr == ""
    run.raw.decode("utf-8" if form == "html" else encoding)
    if form == "json":
        assert run.report["schema"] == "opsdoc.report/1"


def test_the_memory_of_whoever_starts_a_run_is_not_counted_as_its_own():
    code = """
import subprocess, sys
held = b"x" * (400 << 20)
subprocess.run([sys.executable, "-m", "opsdoc", "top", "--window", "200ms", "--json", "--exit-zero"], check=True)
"""
    run = python(["-c", code])
    assert json.loads(run.stdout)["cost"]["max_rss_bytes"] < 200 << 20


def test_an_interrupt_before_anything_is_imported_is_quiet():
    code = """
import os, signal, sys
import opsdoc.__main__ as start
assert "typer" not in sys.modules
start._run = lambda _: os.kill(os.getpid(), signal.SIGINT)
start.main()
"""
    run = python(["-c", code])
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "")


def test_an_interrupt_that_was_ignored_stays_ignored_until_a_run_begins():
    code = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
import opsdoc.__main__ as start
start._run = lambda _: signal.raise_signal(signal.SIGINT) or 7
start.main()
"""
    assert python(["-c", code]).returncode == 7


def test_a_bug_is_70_with_what_to_send():
    code = """
import sys
import opsdoc.commands, opsdoc.__main__ as start
def dispatch(_): raise RuntimeError("a \\x1b[31mred\\nherring")
opsdoc.commands.dispatch = dispatch
start.main()
"""
    run = python(["-c", code])
    assert (run.returncode, run.stdout) == (70, "")
    first, second, *_ = run.stderr.splitlines()
    assert first.startswith(
        f"opsdoc: a bug in opsdoc {__version__} ended it: RuntimeError: a \\x1b[31mred herring; please send"
    )
    assert "--record case.tar.gz" in first
    assert second.startswith("Traceback")
    assert "\x1b" not in run.stderr


# ── output and environment ───────────────────────────────────────────────────────────────────────


def test_the_environment_stands_between_options_and_files(opsdoc):
    (opsdoc.folder / "opsdoc.yml").write_text("timeout: 20s\ncolor: always\n")
    assert json.loads(opsdoc("doctor", env={"OPSDOC_FORMAT": "json"}).stdout)["title"] == "doctor"
    assert "\x1b[" in opsdoc("doctor").stdout
    assert "\x1b[" not in opsdoc("doctor", env={"NO_COLOR": "1"}).stdout
    assert "\x1b[" in opsdoc("doctor", "--color", "always", env={"NO_COLOR": "1"}).stdout
    assert opsdoc("doctor", env={"OPSDOC_TIMEOUT": "5"}).code == 64


def test_no_colour_and_no_progress_when_nobody_looks(opsdoc):
    run = opsdoc("doctor", env={"TERM": "xterm-256color"})
    assert "\x1b" not in run.stdout
    assert run.stderr == ""


# ── schema, doctor, demo ─────────────────────────────────────────────────────────────────────────


def without_times(report):
    """What a replay must repeat; how long it took is compared where the clock is tested."""
    results = [{**result, "elapsed_seconds": None} for result in report["results"]]
    return {**report, "cost": None, "elapsed_seconds": None, "results": results}


def test_doctor_follows_the_schema_and_replays_to_the_same_report(opsdoc):
    schema = json.loads(opsdoc("schema", "report").stdout)
    live = opsdoc("doctor", "--json", "--record", "seen")
    assert live.code in (0, 3)
    jsonschema.validate(live.report, schema)
    seen = {sight["subject"] for sight in live.of("sight")}
    assert seen == {"privileges", "all processes", "Python stacks", "pressure (PSI)", "perf", "configuration"}
    replayed = opsdoc("doctor", "--json", "--replay", "seen")
    assert replayed.code == live.code
    assert without_times(replayed.report) == without_times(live.report)
    other = opsdoc("cpu", "--replay", "seen")
    assert (other.code, "is a recording of 'doctor'" in other.stderr) == (64, True)


def test_doctor_tells_others_the_exact_command(opsdoc_as_nobody):
    run = opsdoc_as_nobody.json("doctor")
    assert run.code == 3
    processes = next(sight for sight in run.of("sight") if sight["subject"] == "all processes")
    assert not processes["visible"]
    assert re.fullmatch(r"sudo /\S+( -m opsdoc)? doctor --json", processes["change"])
    assert processes["change"] in {unseen["hint"] for unseen in run.unseen}


def test_demo_finds_its_own_hot_line_and_leaves_nothing_but_the_report(opsdoc):
    run = opsdoc("demo", env={"TMPDIR": str(opsdoc.folder)}, timeout=60)
    assert run.code == 0, run.stderr + run.stdout
    assert "recalculate (order_pricer.py:" in run.stdout.splitlines()[2]
    date = time.strftime("%Y-%m-%d")
    written = [path.name for path in opsdoc.folder.iterdir() if path.name != "home"]
    assert written == [f"opsdoc-demo-{date}.html"]
    assert str(opsdoc.folder / written[0]) in run.stderr
    assert run.left_behind == ()
    assert "recalculate" in (opsdoc.folder / written[0]).read_text()


@pytest.mark.parametrize("moment", [lambda _: 0.4, lambda _: 1.2, started_child("order_pricer")])
def test_demo_can_be_interrupted_at_any_moment(opsdoc, moment):
    when = moment(0) if isinstance(moment(0), float) else moment
    run = opsdoc("demo", "-o", "r.html", env={"TMPDIR": str(opsdoc.folder)}, when=when)
    assert run.code == 130, run.stderr
    assert run.left_behind == ()
    assert not list(Path(opsdoc.folder).glob("opsdoc-demo-*"))
