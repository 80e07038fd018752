"""A recording made here is judged elsewhere, by another user and without the target, to the same report."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import tarfile
import time
from pathlib import Path

import pytest
from servers import jdk
from servers.cli import CALM, Meanwhile, under_way

from opsdoc.recording import FORMAT, INDEX


def comparable(report):
    return {name: value for name, value in report.items() if name != "cost"}


def without_cost(text):
    """A text report up to its last part, which tells what the run itself took."""
    body, cost, _ = text.partition("\n  cost ")
    assert cost
    return body


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.fixture
def jvm(start):
    """A small hot JVM of one test, which the test may stop."""
    program = start(jdk.hot_one, 20, 4, options=jdk.ATTACHABLE)
    with program.hot():
        yield program


@pytest.mark.xdist_group("java")
@pytest.mark.parametrize("name", ["case", "case.tar.gz"])
def test_a_recording_comes_to_the_same_report_as_another_user_without_the_target(opsdoc, opsdoc_as_nobody, jvm, name):
    live = opsdoc.json("cpu", "--pid", jvm.pid, "--record", name, *CALM)
    assert live.finding("cpu.app-code")["severity"] in ("warning", "critical")
    recorded = opsdoc.folder / name
    for path in [recorded, *recorded.rglob("*")]:
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
    jvm.stop()

    elsewhere = opsdoc_as_nobody.folder / name
    (shutil.copytree if recorded.is_dir() else shutil.copy)(recorded, elsewhere)
    for path in [elsewhere, *elsewhere.rglob("*")]:
        shutil.chown(path, opsdoc_as_nobody.user)
    again = opsdoc_as_nobody.json("cpu", "--replay", name, *CALM)
    assert again.code == live.code
    assert comparable(again.report) == comparable(live.report)
    assert again.wall < 1.9, "a replay waits for no window"

    texts = [command("cpu", "--replay", name, "-v", *CALM) for command in (opsdoc, opsdoc_as_nobody)]
    assert without_cost(texts[0].stdout) == without_cost(texts[1].stdout)
    assert "recalculate" in texts[0].stdout
    saved = opsdoc.folder / "live.json"
    saved.write_text(live.stdout)
    if opsdoc("report", "--help").code == 0:  # the saved live report reads the same, too
        assert without_cost(opsdoc("report", saved, "-v").stdout) == without_cost(texts[0].stdout)


def test_the_text_of_a_run_and_of_its_replay_are_the_same_but_for_the_cost(opsdoc, hot_python):
    live = opsdoc("cpu", "--pid", hot_python.pid, "--record", "case", "-v", *CALM)
    hot_python.die()
    again = opsdoc("cpu", "--replay", "case", "-v", *CALM)
    assert (again.code, again.stderr) == (live.code, "")
    assert without_cost(again.stdout) == without_cost(live.stdout)
    assert "recalculate" in again.stdout


def test_a_replay_is_judged_by_the_limits_of_today(opsdoc, idle_python):
    opsdoc("top", "--window", "200ms", "--record", "case", *CALM)
    relaxed = opsdoc.json("top", "--replay", "case", *CALM, "--limit", "hot.process_cpu=99:99")
    strict = opsdoc.json("top", "--replay", "case", *CALM, "--limit", "hot.process_cpu=0:0")
    assert (relaxed.code, strict.code) == (0, 2)


# ── interrupted ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["case", "case.tar.gz"])
@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_a_run_that_is_interrupted_is_recorded_and_replays(opsdoc, hot_python, name, seconds):
    live = opsdoc.json("cpu", "--pid", hot_python.pid, "--window", "20s", "--record", name, when=under_way(seconds))
    assert (live.code, live.report["interrupted"], live.left_behind) == (130, True, ())
    assert mode(opsdoc.folder / name) == (0o600 if name.endswith("gz") else 0o700)
    again = opsdoc.json("cpu", "--replay", name)
    assert again.code in (0, 1, 2, 3)
    different = ("cost", "exit_code", "interrupted")  # nobody interrupts the replay
    seen = [{key: value for key, value in run.report.items() if key not in different} for run in (live, again)]
    assert seen[0] == seen[1]
    assert "interrupted" in {unseen["reason"] for unseen in again.unseen}


def test_a_run_that_is_terminated_is_recorded_too(opsdoc):
    run = opsdoc("top", "--window", "20s", "--record", "case", when=under_way(0.3), send=signal.SIGTERM)
    assert run.code == 143
    assert opsdoc("top", "--replay", "case").code in (0, 1, 2, 3)


# ── what is no recording, or not this one ────────────────────────────────────────────────────────


@pytest.fixture
def case(opsdoc):
    """A recording of top, as a folder and as an archive."""
    assert opsdoc("top", "--window", "50ms", "--record", "case").code in (0, 1, 2, 3)
    folder = opsdoc.folder / "case"
    with tarfile.open(opsdoc.folder / "case.tar.gz", "w:gz") as archive:
        for path in (INDEX, "blobs"):
            archive.add(folder / path, path)
    return folder


def everything(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def refused(opsdoc, name, words):
    before = everything(opsdoc.folder)
    run = opsdoc("top", "--replay", name)
    assert (run.code, run.stdout) == (64, ""), run.stderr
    assert run.stderr.startswith("opsdoc: ")
    assert run.stderr.count("\n") == 1
    assert words in run.stderr
    assert everything(opsdoc.folder) == before


def test_what_is_no_recording_is_one_line(opsdoc, case):
    here = opsdoc.folder
    (here / "text").write_text("hello\n")
    (here / "short.tar.gz").write_bytes((here / "case.tar.gz").read_bytes()[:-400])
    (here / "empty").mkdir()
    (here / "none.tar.gz").write_bytes(b"")
    os.mkfifo(here / "pipe")
    refused(opsdoc, "text", "cannot replay text: not a folder or a .tar.gz")
    refused(opsdoc, "short.tar.gz", "cannot replay short.tar.gz")
    refused(opsdoc, "none.tar.gz", "cannot replay none.tar.gz")
    refused(opsdoc, "empty", "cannot replay empty: it is not a recording of opsdoc")
    refused(opsdoc, "nowhere", "cannot replay nowhere: No such file or directory")
    refused(opsdoc, "pipe", "cannot replay pipe: not a folder or a .tar.gz")


def test_a_recording_of_another_format_or_probe_is_named(opsdoc, case):
    index = json.loads((case / INDEX).read_text())
    assert index["format"] == FORMAT
    (case / INDEX).write_text(json.dumps({**index, "format": "opsdoc.recording/99"}))
    refused(opsdoc, "case", "its format is 'opsdoc.recording/99'")
    (case / INDEX).write_text(json.dumps({**index, "probe": "cpu"}))
    refused(opsdoc, "case", "case is a recording of 'cpu': run opsdoc cpu --replay")
    (case / INDEX).write_text(json.dumps({**index, "options": {"window": "soon"}}))
    refused(opsdoc, "case", "bad recorded window 'soon'")


def test_an_archive_with_hostile_members_is_not_unpacked(opsdoc, case):
    with tarfile.open(opsdoc.folder / "evil.tar.gz", "w:gz") as archive:
        for name in ("/tmp/opsdoc-evil", "../opsdoc-evil", "blobs/../../opsdoc-evil"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("blobs/9999")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.add(case / INDEX, INDEX)
        archive.add(case / "blobs", "blobs")
    before = everything(opsdoc.folder)
    run = opsdoc.json("top", "--replay", "evil.tar.gz")
    assert comparable(run.report) == comparable(opsdoc.json("top", "--replay", "case").report)
    assert everything(opsdoc.folder) == before
    assert not Path("/tmp/opsdoc-evil").exists()
    assert not (opsdoc.folder.parent / "opsdoc-evil").exists()


@pytest.mark.parametrize("lost", ["proc.machine", "proc.box", "proc.processes"])
def test_an_answer_that_is_missing_is_unknown_and_says_which(opsdoc, case, lost):
    index = json.loads((case / INDEX).read_text())
    del index["answers"][lost]
    (case / INDEX).write_text(json.dumps(index))
    run = opsdoc.json("top", "--replay", "case")
    assert run.code == 3
    assert run.finding("target.not-recorded")["severity"] == "unknown"
    assert f"the recording has no answer to: {lost}" in {unseen["detail"] for unseen in run.unseen}


def test_bytes_that_are_not_what_they_should_be_are_unknown(opsdoc, case):
    for blob in (case / "blobs").iterdir():
        blob.write_bytes(b"\xff\x00(not a stat line)")
    run = opsdoc.json("top", "--replay", "case")
    assert run.code == 3
    assert run.finding("target.malformed")["severity"] == "unknown"


def test_record_and_replay_do_not_go_together_and_nothing_is_overwritten(opsdoc, case):
    assert opsdoc("top", "--replay", "case", "--record", "other").code == 64
    assert not (opsdoc.folder / "other").exists()
    before = (case / INDEX).read_bytes()
    again = opsdoc("top", "--record", "case")
    assert again.code == 64
    assert "is not an empty directory" in again.stderr
    assert (case / INDEX).read_bytes() == before


def test_a_replay_of_a_long_window_does_not_wait(opsdoc):
    opsdoc("top", "--window", "5s", "--record", "case")
    began = time.monotonic()
    opsdoc("top", "--replay", "case")
    assert time.monotonic() - began < 4.5


def test_a_report_is_not_lost_with_its_recording(opsdoc, tmp_path):
    """The place for the recording is there at the start and gone at the end, as with a disk that fills up."""
    place = tmp_path / "place"
    place.mkdir()
    gone = Meanwhile(under_way(0.2), place.rmdir)
    run = opsdoc("top", "--window", "1s", "--json", "--record", place / "case.tar.gz", when=gone)
    assert gone.done
    assert "is not a directory" in run.stderr
    assert run.code == 64
    assert run.report["exit_code"] == 64
    assert run.of("process")
