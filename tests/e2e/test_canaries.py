"""No secret of a command line leaves the machine: not on a stream, in a file, in a recording or in a hint."""

from __future__ import annotations

import os
import tarfile

import pytest
from servers import programs
from servers.secrets import BENIGN, PLANTED

BATCH = 16


def batches(items):
    return [items[at : at + BATCH] for at in range(0, len(items), BATCH)]


def everything(folder):
    """The bytes of all files below a folder, archives unpacked, and of their names."""
    parts = []
    for path in sorted(folder.rglob("*")):
        parts.append(os.fsencode(path.name))
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                parts += [archive.extractfile(member).read() for member in archive if member.isfile()]
        elif path.is_file():
            parts.append(path.read_bytes())
    return b"\n".join(parts)


@pytest.mark.xdist_group("java")  # a look at the whole box attaches to JVMs, whosever tests they belong to
@pytest.mark.parametrize("planted", batches(PLANTED), ids=lambda batch: batch[0].argv[0])
def test_no_canary_gets_out(opsdoc, start, tmp_path, planted):
    for one in planted:
        start(programs.pose, one.argv, duty=0.02)
    written = ["-o", "r.html", "-o", "r.json", "-o", "r.md", "-o", "r.txt"]
    runs = [
        opsdoc("top", "-n", 0, "-v", *written, "--record", "rec"),
        opsdoc("cpu", "-n", 60, "-v", "--json", "--window", "1s", "--record", "case.tar.gz"),
        opsdoc("top", "-n", 0, "-v", "--replay", "rec"),
    ]
    out = "".join(run.stdout + run.stderr for run in runs).encode(errors="surrogateescape") + everything(tmp_path)
    got_out = [one for one in planted if one.secret.encode() in out]
    assert got_out == []
    for run in runs[:1]:  # each was looked at, so there was something to hide
        shown = [one for one in planted if one.argv[0].rpartition("/")[2].partition("=")[0] in run.stdout]
        assert len(shown) == len(planted)
    assert sum(runs[1].report["redactions"].values()) > 0


def test_ordinary_words_survive(opsdoc, start):
    pids = {start(programs.pose, one.argv, duty=0.02).pid: one for one in BENIGN}
    run = opsdoc.json("top", "-n", 0)
    commands = {o["pid"]: o["command"] for o in run.of("process")}
    damaged = {pid: commands[pid] for pid, one in pids.items() if one.survives not in commands[pid]}
    assert damaged == {}


def test_a_secret_on_our_own_command_line_is_not_repeated(opsdoc_as_nobody, start):
    hot = start(programs.spinner)
    run = opsdoc_as_nobody.json(
        "cpu", "--pid", hot.pid, "--limit", "hot.thread_cpu=0.1:0.2", "-o", "password=Kq7zOwn.json"
    )
    assert any(blind["hint"].startswith("sudo ") for blind in run.unseen)
    assert "Kq7zOwn" not in run.stdout + run.stderr
