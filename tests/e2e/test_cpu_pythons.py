"""`opsdoc` on Python from 2.7 to 3.14: whose stack is whose, workers, native pools, and what cannot be read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from servers import containers, programs, pythons
from servers.cli import CALM
from servers.programs import PY, Program, cpu_seconds, marked_line, state, wait_until

HOT = ("--limit", "hot.thread_cpu=0.02:9", "--limit", "hot.code_cpu=0.02:9")
LINE = marked_line(PY / "hot_any.py")


def signatures(thread):
    """The thread ids that the functions of a stack are named after."""
    return [int(name[4:]) for name in (f["function"] for f in thread["frames"] or ()) if name.startswith("tid_")]


@pytest.mark.parametrize("version", [*pythons.OLD, *pythons.NEW])
def test_each_of_50_stacks_is_given_to_its_own_thread(opsdoc, start, version):
    program = start(pythons.run, version, "hot_any", 50, 5)
    run = opsdoc.json("stack", program.pid, "-n", 0)
    threads = run.of("thread")
    assert len(threads) == 50
    assert sorted(thread["tid"] for thread in threads) == sorted(programs.threads(program.pid))
    for thread in threads:
        assert signatures(thread) == [thread["tid"]]
        assert thread["tid_hex"] == hex(thread["tid"])
    assert state(program.pid) not in "Tt"
    assert (run.report["cost"]["pauses"], run.unseen, run.stderr) == ([], [], "")


@pytest.mark.parametrize("version", [*pythons.OLD, *pythons.NEW])
def test_the_hot_thread_is_named_with_its_line(opsdoc, start, version):
    with start(pythons.run, version, "hot_any", 50, 5).hot() as program:
        run = opsdoc.json("cpu", "--pid", program.pid, "--window", "1s", *HOT, *CALM)
        thread = run.thread(program.facts["hot_tid"])
        assert run.of("thread")[0] is thread, "the hottest comes first"
        assert run.of("process")[0]["runtime"] == f"python {version}"
        assert thread["role"] == "app"
        if version != "2.7":  # py-spy tells no names there
            assert thread["name"] == "order-worker-3"
        (hot,) = [frame for frame in thread["frames"] if frame["function"] == "recalculate"]
        assert (Path(hot["file"]).name, hot["line"]) == ("hot_any.py", LINE)
        assert signatures(thread) == [thread["tid"]]
        assert f"in recalculate (hot_any.py:{LINE})" in run.finding("cpu.app-code")["summary"]
        assert (run.unseen, run.report["cost"]["pauses"]) == ([], [])
        assert state(program.pid) not in "Tt"


def test_in_a_container_the_ids_of_an_old_python_are_those_inside(opsdoc, start):
    interpreter = pythons.oldest(*reversed(pythons.OLD))
    app = Path(tempfile.mkdtemp(prefix="opsdoc-container-"))
    command = [str(interpreter), str(PY / "hot_any.py"), "20", "5"]
    with start(containers.Contained, command, app, user="root", tmp=None).hot() as program:
        run = opsdoc.json("cpu", "--pid", program.pid, "--window", "1s", *HOT, *CALM)
        thread = run.thread(program.facts["hot_tid"])
        assert thread["ns_tid"] == program.inside["hot_tid"] != thread["tid"]
        assert signatures(thread) == [thread["ns_tid"]]
        assert "recalculate" in [frame["function"] for frame in thread["frames"]]


def test_a_program_that_embeds_python_is_seen_like_any_other(opsdoc, start, tmp_path):
    """As uwsgi does: its executable has no Python in its name, and the library tells."""
    program = start(embedded, tmp_path)
    run = opsdoc.json("stack", program.pid)
    assert [frame["function"] for frame in run.of("thread")[0]["frames"]][-2:] == ["serve", "<module>"]


def embedded(folder):
    """A C program named `app-server` with a Python inside."""
    for version, interpreter in pythons.interpreters().items():
        home = interpreter.parents[1]
        library = next(iter(sorted(home.glob(f"lib/libpython{version}*.so"))), None)
        headers = next(iter(sorted(home.glob(f"include/python{version}*/Python.h"))), None)
        if version.startswith("3") and library and headers:
            break
    else:
        pytest.skip("no Python with its headers and its shared library on this machine")
    if shutil.which("cc") is None:
        programs.lacking("no C compiler")
    script = (
        "import sys\\ndef serve():\\n    sys.stdin.readline()\\nprint('{\\\"ready\\\": true}', flush=True)\\nserve()\\n"
    )
    source = folder / "server.c"
    source.write_text(
        f'#include <Python.h>\nint main(void) {{ Py_Initialize(); PyRun_SimpleString("{script}"); return 0; }}\n'
    )
    command = ["cc", "-o", "app-server", "server.c", f"-I{headers.parent}", f"-L{library.parent}"]
    command += [f"-l{library.stem.removeprefix('lib')}", f"-Wl,-rpath,{library.parent}"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return Program([str(folder / "app-server")], env={**os.environ, "PYTHONHOME": str(home)})


# ── native threads ───────────────────────────────────────────────────────────────────────────────


def test_the_pool_of_a_native_library_is_called_native_and_its_caller_is_python(opsdoc, start):
    pytest.importorskip("numpy")
    program = start(programs.python, "blas_pool", 400)
    if not program.facts["pool"]:
        pytest.skip("this numpy multiplies matrices without a pool of threads")
    program.say("hot")
    (worker,) = program.facts["pool"]
    before = cpu_seconds(program.pid, worker)
    wait_until(lambda: cpu_seconds(program.pid, worker) > before + 0.1, "the pool to be hot")
    run = opsdoc.json("cpu", "--pid", program.pid, "--window", "1s", "-n", 0, *HOT, *CALM)
    native = run.thread(worker)
    assert native["role"] == "native"
    assert native["frames"] or "native code" in native["unknown"]["frames"]
    assert "in native code" in run.finding("cpu.native")["summary"]
    # The thread that called it is in C code too, and what it was called from is known.
    caller = run.thread(program.facts["main_tid"])
    assert caller["role"] == "app"
    assert caller["frames"][0]["function"] == "recalculate"
    line = marked_line(PY / "blas_pool.py")
    assert f"in recalculate (blas_pool.py:{line})" in run.finding("cpu.app-code")["summary"]


# ── workers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["3.6", "3.10", "3.13"])
def test_of_a_master_the_worker_that_burns_the_cpu_is_named(opsdoc, start, version):
    program = start(pythons.run, version, "prefork", 3)
    hot = program.facts["hot_pid"]
    program.say("hot")
    wait_until(lambda: cpu_seconds(hot) > 0.05, "the worker to be hot")
    run = opsdoc.json("cpu", "--pid", program.pid, "--window", "1s", *HOT, *CALM)
    thread = run.of("thread")[0]
    assert (thread["pid"], thread["tid"]) == (hot, hot)
    finding = run.finding("cpu.app-code")
    assert f"(pid {hot})" in finding["summary"]
    assert f"in recalculate (prefork.py:{marked_line(PY / 'prefork.py')})" in finding["summary"]
    assert {process["pid"] for process in run.of("process")} <= {program.pid, *program.facts["workers"]}


# ── what cannot be read ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "reason", "hint"),
    [
        ("python3.14", "it does not know Python 3.14", "pip install -U py-spy"),
        ("python3.15", "it does not know Python 3.15", "python3.15 -m profiling.sampling dump"),
        ("python3.13t", "it knows no free-threaded Python, and this is 3.13t", "perf top -p"),
    ],
)
def test_a_python_that_py_spy_does_not_know_is_unknown_and_it_says_why(opsdoc, start, tmp_path, name, reason, hint):
    """Posed by a shell under that name, about which py-spy says what 0.4.1 says of Python 3.14."""
    poser = tmp_path / name
    shutil.copy(Path("/bin/sh").resolve(), poser)
    program = start(Program, [str(poser), "-c", """echo '{"ready": true}'; read -r word"""])
    run = opsdoc.json("stack", program.pid)
    assert run.code == 3
    (unseen,) = run.unseen
    assert unseen["reason"] == "unsupported"
    assert f"{reason} (Failed to find python version from target process)" in unseen["detail"]
    assert unseen["hint"].startswith(hint)


def test_a_library_that_was_replaced_under_a_running_program_is_named(opsdoc, start, tmp_path):
    """As an upgrade does."""
    for version, interpreter in pythons.interpreters().items():
        libraries = sorted(interpreter.parents[1].glob(f"lib/libpython{version}*.so.1.0"))
        if libraries:
            break
    else:
        pytest.skip("no Python with a shared library on this machine")
    library = tmp_path / libraries[0].name
    shutil.copy(libraries[0], library)
    command = [str(interpreter), str(PY / "hot_any.py"), "3", "3"]
    program = start(Program, command, env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)})
    library.unlink()
    run = opsdoc.json("stack", program.pid)
    assert run.code == 3
    (unseen,) = run.unseen
    assert f"{library} was replaced since it started" in unseen["detail"]
    assert unseen["hint"] == f"grep deleted /proc/{program.pid}/maps"


def test_a_stopped_old_python_stays_stopped_and_is_seen(opsdoc, start):
    program = start(pythons.run, "3.8", "hot_any", 10, 5)
    os.kill(program.pid, signal.SIGSTOP)
    wait_until(lambda: state(program.pid) == "T", "a stopped process")
    run = opsdoc.json("stack", program.pid, "-n", 0)
    assert [signatures(thread) for thread in run.of("thread")] == [[thread["tid"]] for thread in run.of("thread")]
    assert len(run.of("thread")) == 10
    assert state(program.pid) == "T"
