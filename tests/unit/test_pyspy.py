"""py-spy's two forms of a dump, recorded from 0.4.2 on Python 3.11."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opsdoc.model import Frame, Malformed
from opsdoc.parsers.detect import kind
from opsdoc.parsers.pyspy import parse_json, parse_text

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
