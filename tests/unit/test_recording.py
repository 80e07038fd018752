"""Recordings: the nth ask gets the nth answer at its time, and what is not a recording is refused in one line."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import threading
import time

import pytest

from opsdoc import recording
from opsdoc.clients import Live
from opsdoc.model import Denied, Interrupted, NotRecorded, TimedOut, Unreachable, UsageError
from opsdoc.recording import INDEX, RecordingHost, ReplayHost
from opsdoc.redact import MASK, Redactor

STARTED = "2026-11-03T14:02:11+08:00"
ABOUT = {"tool": "1", "probe": "cup", "options": {"rows": 5}, "cut_short": None}


class Asked:
    def __init__(self, name, what=None):
        self.name = name
        self.what = what

    def key(self):
        return self.name

    def answer(self, live):
        if isinstance(self.what, BaseException):
            raise self.what
        return self.what(live) if callable(self.what) else self.what


class Dump(Asked):
    def recorded(self, value, redactor):
        return redactor.lines(value)


def host_for(seconds=10.0):
    return RecordingHost(Live(deadline=time.monotonic() + seconds, redactor=Redactor()), STARTED)


def plain(answer):
    return answer.value, answer.at, answer.took


def error_of(ask):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the type is what is looked at
        ask()
    error = caught.value
    return type(error), error.detail, error.hint


@pytest.mark.parametrize("name", ["case", "case.tar.gz"])
def test_a_replay_gives_the_same_answers_errors_and_times(tmp_path, name):
    def look(host):
        said = [plain(host.ask(Asked("a", {"list": [1, None, "ü\udcff"], "n": (1, 2)}))), host.now()]
        host.sleep(0.01)
        said += [plain(host.ask(Asked("a", [2]))), plain(host.ask(Dump("dump", b"\xff\0 password=hunter2hunter2 x")))]
        said += [error_of(lambda: host.ask(Asked("b", Denied("not yours", "sudo"))))]
        gathered = host.gather([Asked("c", 1), Asked("b", Unreachable("gone")), Asked("c", 2)])
        said += [host.now(), *(str(one) if isinstance(one, Unreachable) else plain(one) for one in gathered)]
        return [*said, host.now()]

    live = host_for()
    seen = look(live)
    live.save(tmp_path / name, ABOUT)
    replay = ReplayHost(tmp_path / name)
    assert (replay.probe, replay.options, replay.started, replay.cut_short) == ("cup", {"rows": 5}, STARTED, None)
    assert look(replay) == seen
    assert replay.redactor.counts == live.redactor.counts == {"sensitive-key": 1}
    assert seen[0][0] == {"list": [1, None, "ü\udcff"], "n": [1, 2]}  # live and replayed judge the same data
    assert seen[3][0] == b"\xff\0 password=" + MASK.encode() + b" x"


def test_the_nth_ask_gets_the_nth_answer_and_then_there_is_none(tmp_path):
    live = host_for()
    for value in (1, 2):
        live.ask(Asked("a", value))
    live.save(tmp_path / "case", ABOUT)
    replay = ReplayHost(tmp_path / "case")
    assert [replay.ask(Asked("a")).value for _ in range(2)] == [1, 2]
    for key in ("a", "never asked"):
        assert error_of(lambda key=key: replay.ask(Asked(key))) == (
            NotRecorded,
            f"the recording has no answer to: {key}",
            "",
        )


def test_what_was_given_up_is_replayed_as_given_up_even_when_it_came_later(tmp_path):
    def look(host):
        came = threading.Event()
        (late,) = host.gather([Asked("slow", lambda _: came.wait(5) and "late")], within=0.05)
        wait = host.start(Asked("started", "meanwhile"))
        came.set()
        return [type(late), wait().value, host.ask(Asked("slow", "in time")).value]

    live = host_for()
    seen = look(live)
    live.save(tmp_path / "case", ABOUT)
    assert seen == look(ReplayHost(tmp_path / "case")) == [TimedOut, "meanwhile", "in time"]


def test_the_clock_of_a_replay_moves_with_the_answers_and_without_waiting(tmp_path):
    folder = tmp_path / "case"
    write(folder, answers={"a": [{"at": 3.0, "took": 0.5, "answer": 1}, {"at": 1.0, "took": 0.5, "answer": 2}]})
    replay = ReplayHost(folder)
    assert replay.now() == 0
    replay.ask(Asked("a"))
    assert replay.now() == 3.5
    replay.ask(Asked("a"))  # an answer that was gathered earlier does not turn the clock back
    assert replay.now() == 3.5
    began = time.monotonic()
    replay.sleep(60)
    assert replay.now() == 63.5
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("why", ["timeout", "interrupted"])
def test_a_sleep_that_was_cut_short_is_cut_short_again(tmp_path, why):
    live = host_for(0.05 if why == "timeout" else 10)
    if why == "interrupted":
        live.stop(1)
    kind = {"timeout": TimedOut, "interrupted": Interrupted}[why]
    first = error_of(lambda: live.sleep(20))
    live.save(tmp_path / "case", {**ABOUT, "cut_short": why})
    replay = ReplayHost(tmp_path / "case")
    assert replay.cut_short == why
    assert error_of(lambda: replay.sleep(20)) == first
    assert first[0] is kind


def test_a_question_without_an_answer_is_recorded_as_late_and_its_answer_not_at_all(tmp_path):
    over, done = threading.Event(), threading.Event()
    live = host_for(0.1)
    gathered = live.gather([Asked("quick", 1), Asked("stuck", lambda _: over.wait(20))])
    assert isinstance(gathered[1], TimedOut)

    def ask():
        live.ask(Asked("alone", lambda _: over.wait(20)))
        done.set()

    live.live.deadline = time.monotonic() + 10
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    while "alone" not in live._under_way:
        thread.join(0.001)
    live.abandon()
    ended = live.now()
    live.save(tmp_path / "case", {**ABOUT, "cut_short": "timeout"})
    over.set()
    assert done.wait(5)
    replay = ReplayHost(tmp_path / "case")
    assert replay.ask(Asked("quick")).value == 1
    for key in ("stuck", "alone"):
        assert error_of(lambda key=key: replay.ask(Asked(key)))[0] is TimedOut
    assert replay.now() == ended > 0


@pytest.mark.parametrize("name", ["case", "case.tar.gz"])
def test_a_recording_is_its_owners_only(tmp_path, name):
    live = host_for()
    live.ask(Dump("dump", b"x"))
    before = os.umask(0)
    try:
        live.save(tmp_path / name, ABOUT)
    finally:
        os.umask(before)
    for path in [tmp_path / name, *(tmp_path / name).rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    if name.endswith(".gz"):
        with tarfile.open(tmp_path / name) as archive:
            assert {(member.name, member.mode) for member in archive} == {(INDEX, 0o600), ("blobs/0001", 0o600)}


# ── what is no recording ─────────────────────────────────────────────────────────────────────────

GOOD = {
    "format": recording.FORMAT,
    "tool": "1",
    "probe": "cup",
    "options": {},
    "started": STARTED,
    "redactions": {},
    "answers": {"a": [{"at": 0.1, "took": 0.1, "answer": 1}]},
}


def write(folder, **changes):
    folder.mkdir()
    (folder / INDEX).write_text(json.dumps({**GOOD, **changes}))


def packed(parts):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in parts:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def refused(path, words):
    with pytest.raises(UsageError) as caught:
        ReplayHost(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"answers": []},
        {"answers": {"a": [{"at": 0, "took": 0}]}},
        {"answers": {"a": [{"at": "x", "took": "y", "answer": 1}]}},
        {"answers": {"a": [{"at": 0, "took": 0, "blob": "blobs/0001"}]}},
        {"answers": {"a": [{"at": 0, "took": 0, "blob": ["x"]}]}},
        {"answers": {"a": [{"at": 0, "took": 0, "error": {"reason": "denied"}}]}},
        {"answers": {"a": 1}},
        {"options": []},
        {"probe": 1},
        {"started": None},
        {"redactions": {"jwt": "many"}},
        {"redactions": None},
        {"cut_short": "by hand"},
    ],
    ids=str,
)
def test_a_broken_index_is_refused(tmp_path, changes):
    write(tmp_path / "case", **changes)
    refused(tmp_path / "case", "not a recording of opsdoc")


def test_a_foreign_format_is_named(tmp_path):
    write(tmp_path / "case", format="opsdoc.recording/9")
    refused(tmp_path / "case", "its format is 'opsdoc.recording/9', this opsdoc reads 'opsdoc.recording/1'")


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", "{", '"x"', "[" * 100_000, "\xff"])
def test_what_is_no_index_is_refused(tmp_path, text):
    (tmp_path / INDEX).write_text(text, encoding="latin-1")
    refused(tmp_path, "not a recording of opsdoc")


def test_files_that_are_no_archive_are_refused(tmp_path):
    whole = packed([(INDEX, json.dumps(GOOD).encode()), ("blobs/0001", os.urandom(50_000))])
    contents = {
        "text.tar.gz": b"hello",
        "empty.tar.gz": b"",
        "gzip.tar.gz": gzip.compress(b"hello"),
        "short.tar.gz": whole[: len(whole) // 2],
        "header.tar.gz": whole[:20],
        "flipped.tar.gz": whole[:600] + bytes(byte ^ 0xFF for byte in whole[600:700]) + whole[700:],
        "other.tar.gz": packed([("x", b"y")]),
    }
    for name, data in contents.items():
        path = tmp_path / name
        path.write_bytes(data)
        refused(path, "cannot replay")
    refused(tmp_path / "nowhere", "No such file")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "not a recording of opsdoc")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.tar.gz")
    refused(tmp_path / "pipe.tar.gz", "not a folder or a .tar.gz")
    refused(type(tmp_path)("/dev/zero"), "not a folder or a .tar.gz")


def test_of_a_folder_only_the_recording_is_read(tmp_path):
    folder = tmp_path / "case"
    write(folder, answers={"a": [{"at": 0, "took": 0, "blob": "secret"}]})
    (folder / "secret").write_text("x")
    refused(folder, "not a recording")
    write(tmp_path / "other", answers={"a": [{"at": 0, "took": 0, "blob": "blobs/0001"}]})
    (tmp_path / "other" / "blobs").mkdir()
    (tmp_path / "other" / "blobs" / "0001").symlink_to("/etc/passwd")
    refused(tmp_path / "other", "not a recording")


def test_names_and_links_in_an_archive_reach_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    link = tarfile.TarInfo("blobs/0001")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard = tarfile.TarInfo("blobs/0002")
    hard.type, hard.linkname = tarfile.LNKTYPE, INDEX
    parts = [(INDEX, json.dumps(GOOD).encode()), ("/evil", b"x"), ("../evil", b"x"), (link, b""), (hard, b"")]
    (tmp_path / "case.tar.gz").write_bytes(packed(parts))
    before = sorted(tmp_path.parent.iterdir())
    assert ReplayHost(tmp_path / "case.tar.gz").ask(Asked("a")).value == 1
    assert sorted(tmp_path.parent.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["case.tar.gz"]
    for blob in ("blobs/0001", "blobs/0002"):
        index = {**GOOD, "answers": {"a": [{"at": 0, "took": 0, "blob": blob}]}}
        (tmp_path / "case.tar.gz").write_bytes(packed([(INDEX, json.dumps(index).encode()), *parts[1:]]))
        refused(tmp_path / "case.tar.gz", "not a recording")


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "SIZE_CAP", 10_000)
    (tmp_path / "bomb.tar.gz").write_bytes(packed([("blobs/0001", bytes(1_000_000))]))
    refused(tmp_path / "bomb.tar.gz", "is larger than")
