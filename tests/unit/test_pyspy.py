"""py-spy's two forms of a dump, recorded from 0.4.2 on Python 3.11, and its complaints, recorded from 0.4.3."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path

import pytest

from opsdoc.clients import Live, pyspy
from opsdoc.clients.pyspy import PythonDump
from opsdoc.model import Denied, Frame, Malformed, ProbeError, Unreachable, Unsupported
from opsdoc.parsers.detect import kind
from opsdoc.parsers.pyspy import build_of, complaint, deleted, parse_json, parse_text
from opsdoc.redact import Redactor

SAMPLES = Path(__file__).parent / "samples"
JSON = (SAMPLES / "pyspy-dump.json").read_bytes()
TEXT = (SAMPLES / "pyspy-dump.txt").read_bytes()
NATIVE = (SAMPLES / "pyspy-dump-native.txt").read_bytes()


def test_json() -> None:
    threads = {thread.tid: thread for thread in parse_json(JSON)}
    assert sorted(tid or 0 for tid in threads) == [11957, 11958, 11959, 11960, 11961]
    hot = threads[11958]
    assert hot.name == "price-engine-hot"
    assert hot.thread_id is not None
    assert hot.thread_id > 1 << 40
    assert hot.frames[1] == Frame("recalculate", "/srv/shop/app.py", 4)
    assert hot.frames[-1] == Frame("Thread._bootstrap", "/usr/local/lib/python3.11/threading.py", 1002)
    assert threads[11961].name == "ü\U0001f600"
    assert (threads[11960].name or "").startswith("split\nThread 1 (active)")
    assert kind(JSON) == "pyspy-json"
    assert parse_json(b"[]") == ()


def test_json_without_os_thread_ids_lines_and_names() -> None:
    # Python 3.10 and older with --nonblocking
    threads = json.loads(JSON)
    threads[0] |= {"os_thread_id": None, "thread_name": None, "active": True, "owns_gil": True}
    threads[0]["frames"] = [{"name": "f\ud800", "filename": "", "line": 0}]
    first = parse_json(json.dumps(threads).encode())[0]
    assert (first.tid, first.name, first.active, first.owns_gil) == (None, None, True, True)
    assert first.frames == (Frame(r"f\ud800"),)


def test_a_thread_that_is_just_starting_has_no_id_yet() -> None:
    threads = json.loads(JSON)
    threads[0]["os_thread_id"] = 0
    assert parse_json(json.dumps(threads).encode())[0].tid is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}x",
        b"1",
        b"null",
        b'"ab"',
        b"[1]",
        b"[{}]",
        b"\xff",
        b"[" * 100_000,
        b"[" + b"9" * 5000 + b"]",
        b'{"a": 1}',
        b"Error: No such process\n",
        JSON.replace(b'"os_thread_id": 11958', b'"os_thread_id": true'),
        JSON.replace(b'"os_thread_id": 11958', b'"os_thread_id": -1'),
        JSON.replace(b'"os_thread_id": 11958', b'"os_thread_id": 1e400'),
        JSON.replace(b'"line": 4', b'"line": "4"'),
        JSON.replace(b'"name": "hot"', b'"name": null'),
    ],
)
def test_other_json(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse_json(data)
    excerpt = caught.value.detail.removeprefix("not the JSON of py-spy dump: ")
    assert len(excerpt) <= 80
    assert excerpt.isprintable()


def test_text() -> None:
    threads = {thread.tid: thread for thread in parse_text(TEXT)}
    hot = threads[11958]
    assert (hot.thread_id, hot.name, hot.active, hot.owns_gil) == (None, "price-engine-hot", False, False)
    assert hot.frames[:2] == (
        Frame("recalculate.<locals>.<genexpr>", "app.py", 4),
        Frame("recalculate", "app.py", 4),
    )
    assert hot.frames[-1] == Frame("Thread._bootstrap", "threading.py", 1002)
    assert threads[11959].name == 'evil (active+gil): "x"'
    assert (threads[11961].active, threads[11961].owns_gil, threads[11961].name) == (True, True, "ü\U0001f600")
    assert threads[11960].name == "split"  # what stands after a line break in a name cannot be told from a thread
    assert kind(TEXT) == "pyspy-text"
    assert parse_text(TEXT.replace(b"\n", b"\r\n")) == parse_text(TEXT)


def test_text_with_native_frames_handles_and_locals() -> None:
    main = parse_text(NATIVE)[0]
    assert main.frames[:2] == (Frame("0x7f1264052f16", "libc.so.6"), Frame("0x7f126405dd90", "libc.so.6"))
    assert main.frames[4] == Frame("Condition.wait", "threading.py", 327)
    (thread,) = parse_text(
        b'Thread 0x7F12640561F5 (idle)\n    f (a b (1).py:3)\n        Arguments:\n            x: "    g (h.py:1)"\n'
        b"    operator()(int) (lib.so)\n"
    )
    assert (thread.thread_id, thread.tid, thread.name) == (0x7F12640561F5, None, None)
    assert [frame.function for frame in thread.frames][1:] == ["operator()(int)"]


@pytest.mark.parametrize("data", [b"", JSON, b"Process 1: x\nPython v3.11.2\n", b"Thread x (idle)\n", b"\xff\xfe"])
def test_other_text(data: bytes) -> None:
    with pytest.raises(Malformed, match=r"^not the text of py-spy dump: b"):
        parse_text(data)


def test_what_no_parser_knows() -> None:
    assert kind(b"") is None
    assert kind(b"[2026-01-01 10:00:00] INFO started\n") is None
    assert kind(b"[2026-01-01 10:00:00] INFO started\nFull thread dump X (1 m):\n") == "hotspot"
    assert kind(b" [ ]\n") == "pyspy-json"
    assert kind(b"Full thread dump X (1 m):\n\nThread 1 (idle)\n") == "hotspot"


# ── when it fails ────────────────────────────────────────────────────────────────────────────────

BACKTRACE = b"\nStack backtrace:\n   0: <E as anyhow::context::ext::StdError>::ext_context\n  10: main\n"
MOVED = (
    b"Error: Failed to get stack traces\n\nCaused by:\n    0: Failed to call get_stack_trace for thread 140324419\n"
    b"    1: Failed to copy PyCodeObject\n    2: Bad address (os error 14)\n    3: Bad address (os error 14)\n"
)
NO_VERSION = b"Error: Failed to find python version from target process\n"
DENIED = b"Permission Denied: Try running again with elevated permissions by going 'sudo env \"PATH=$PATH\" !!'\n"


@pytest.mark.parametrize("backtrace", [b"", BACKTRACE], ids=["plain", "RUST_BACKTRACE=1"])
@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (
            MOVED,
            (
                "Failed to get stack traces: Failed to call get_stack_trace for thread 140324419: "
                "Failed to copy PyCodeObject: Bad address (os error 14)"
            ),
        ),
        (
            b"Error: No such process (os error 3)\n\nCaused by:\n    No such process (os error 3)\n",
            "No such process (os error 3)",
        ),
        (NO_VERSION, "Failed to find python version from target process"),
        (DENIED, DENIED.decode().strip()),
    ],
)
def test_a_complaint_is_one_line(stderr: bytes, said: str, backtrace: bytes) -> None:
    assert complaint(stderr + backtrace) == said


def test_a_complaint_of_nothing() -> None:
    assert complaint(b"") == complaint(b"\n \n") == "no reason given"
    assert len(complaint(b"Error: " + b"x" * 5000)) == 200


@pytest.mark.parametrize(
    ("path", "build"),
    [
        ("/usr/lib/libpython3.6m.so.1.0", "3.6"),
        ("/usr/bin/python3.14", "3.14"),
        ("/opt/lib/libpython3.13t.so.1.0", "3.13t"),
        ("/usr/lib/python3.11/lib-dynload/_json.so", "None"),
        ("/usr/bin/python3", "None"),
    ],
)
def test_which_python_a_process_has_mapped(path: str, build: str) -> None:
    assert str(build_of(frozenset([path]))) == build


def test_a_deleted_library_of_python() -> None:
    row = "7f00-7f01 r-xp 00000000 fe:00 1234 "
    assert deleted(f"{row}  /usr/lib/lib python3.9.so.1.0 (deleted)\n") == "/usr/lib/lib python3.9.so.1.0"
    assert deleted(f"{row}  /usr/lib/libpython3.9.so.1.0\n{row}  /tmp/python/x.db (deleted)\n (deleted)\n") is None


def stand_in(folder: Path, *failures: bytes) -> Path:
    """A program that fails as py-spy was seen to fail, so many times, and then shows its recorded dump."""
    folder.mkdir(exist_ok=True)
    for number, stderr in enumerate(failures, 1):
        (folder / str(number)).write_bytes(stderr)
    script = folder / "py-spy"
    here = shlex.quote(str(folder))
    script.write_text(
        f"#!/bin/sh\ncd {here}\necho run >> runs\nn=$(wc -l < runs)\n"
        f"[ -e $n ] && {{ cat $n >&2; exit 1; }}\ncat {shlex.quote(str(SAMPLES / 'pyspy-dump.json'))}\n"
    )
    script.chmod(0o755)
    return script


def ask(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *failures: bytes, pid: int = 0
) -> tuple[bytes | ProbeError, int]:
    """What a dump of this process answers or raises, and how often py-spy was run."""
    script = stand_in(folder, *failures)
    monkeypatch.setattr(pyspy, "program", lambda: str(script))
    live = Live(deadline=time.monotonic() + 20, redactor=Redactor())
    answer: bytes | ProbeError
    try:
        answer = PythonDump(pid or os.getpid()).answer(live)
    except ProbeError as error:
        answer = error
    return answer, (folder / "runs").read_text().count("run")


def test_a_dump_that_met_memory_on_the_move_is_taken_once_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ask(monkeypatch, tmp_path, MOVED) == (JSON, 2)


def test_and_not_more_than_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer, runs = ask(monkeypatch, tmp_path, MOVED + BACKTRACE, MOVED + BACKTRACE)
    assert (type(answer), runs) == (Malformed, 2)
    assert "changed its stacks while py-spy read them, twice (Failed to get stack traces: " in str(answer)
    assert "main" not in str(answer)


@pytest.mark.parametrize(
    ("stderr", "error", "words"),
    [
        (DENIED, Denied, "may not read the memory of process"),
        (NO_VERSION, Unsupported, "Failed to find python version from target process"),
        (b"Error: No such file or directory (os error 2)\n", Unsupported, "No such file or directory"),
        (b"", Unsupported, "no reason given"),
    ],
)
def test_what_will_not_change_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stderr: bytes, error: type[ProbeError], words: str
) -> None:
    answer, runs = ask(monkeypatch, tmp_path, stderr)
    assert (type(answer), runs) == (error, 1)
    assert words in str(answer)


@pytest.mark.parametrize("stderr", [MOVED, NO_VERSION])
def test_whatever_it_says_of_a_process_that_ended_the_process_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stderr: bytes
) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # a zombie: gone, but its pid is nobody else's
        answer, runs = ask(monkeypatch, tmp_path, stderr, pid=child)
    finally:
        os.waitpid(child, 0)
    assert (type(answer), runs) == (Unreachable, 1)
    assert f"no process {child}" in str(answer)
