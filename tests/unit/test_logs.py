"""Log files: rotated names, bisection by time, whole lines, gzip, and files that change under the reader's hands."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from opsdoc.clients import Live
from opsdoc.clients.log_reading import BLOCK, LONGEST_LINE, REACH
from opsdoc.clients.logs import SLACK, GzipLines, LogFiles, LogLines, LogWindow
from opsdoc.model import Denied, Malformed, TimedOut, Unreachable, Unsupported
from opsdoc.parsers.log_format import COMBINED, ERROR_LOG_TIME, compile_format
from opsdoc.redact import Redactor

NOW = 1_795_862_308
COMBINED_TIME = compile_format(COMBINED).time


def live(seconds: float = 30.0, proc: Path = Path("/proc")) -> Live:
    return Live(deadline=time.monotonic() + seconds, redactor=Redactor(), proc=proc)


def line(at: float, text: str = "x") -> bytes:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y/%m/%d %H:%M:%S").encode() + f" {text}\n".encode()


def access(at: float) -> bytes:
    when = datetime.fromtimestamp(at, timezone.utc).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'10.0.0.1 - - [{when}] "GET / HTTP/1.1" 200 2 "-" "curl"\n'.encode()


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def window(path: str, since: float, until: float | None = None, **more: object) -> dict:
    return LogWindow(path, None, since, ERROR_LOG_TIME, until, **more).answer(live())


def read(path: str, since: float, until: float | None = None) -> list[bytes]:
    found = window(path, since, until)
    return LogLines(path, None, found["start"], found["end"]).answer(live()).splitlines(keepends=True)


# ── which files ──────────────────────────────────────────────────────────────────────────────────

ROTATED = """access.log.1 access.log.2.gz access.log-20261122 access.log-20261121.gz access.log-2026112215
access.log-1700000000.gz access-20261122.log access-20261122.log.gz access.1.log access.log.2026-11-22""".split()
OTHERS = """access.log.bak other_access.log access.log.1.swp access-8080.log access.logs access_log access.log.gz.tmp
access.log.1.gz.part ssl-access.log access.log-old access.log.8080 access.log.save.1""".split()


def test_the_rotated_ones_of_a_log_and_no_others(tmp_path):
    for age, name in enumerate(["access.log", *ROTATED, *OTHERS]):
        write(tmp_path / name, b"x\n")
        os.utime(tmp_path / name, (NOW, NOW - age))
    found = LogFiles(str(tmp_path / "access.log"), None, NOW - 1000).answer(live())
    assert [Path(file["path"]).name for file in found["files"]] == ["access.log", *ROTATED]
    assert found["skipped"] == []
    assert [file["gzip"] for file in found["files"]] == [name.endswith(".gz") for name in ["access.log", *ROTATED]]
    first = found["files"][0]
    assert first["inode"] == (tmp_path / "access.log").stat().st_ino
    assert (first["size"], first["modified"]) == (2, NOW)


def test_what_was_written_before_the_window_is_left_out_but_for_the_live_one(tmp_path):
    for name, age in (("error.log", 5000), ("error.log.1", 50), ("error.log.2.gz", 900), ("error.log.3.xz", 60)):
        write(tmp_path / name, b"x\n")
        os.utime(tmp_path / name, (NOW, NOW - age))
    found = LogFiles(str(tmp_path / "error.log"), None, NOW - 100).answer(live())
    assert [Path(file["path"]).name for file in found["files"]] == ["error.log", "error.log.1"]
    assert [(Path(entry["path"]).name, entry["why"]) for entry in found["skipped"]] == [
        ("error.log.3.xz", "it is packed as xz")
    ]


def test_a_link_to_a_dated_file_is_one_file(tmp_path):
    write(tmp_path / "access-20261122.log", b"x\n")
    (tmp_path / "access.log").symlink_to("access-20261122.log")
    found = LogFiles(str(tmp_path / "access.log"), None, 0).answer(live())
    assert [Path(file["path"]).name for file in found["files"]] == ["access.log"]


def test_a_log_that_was_rotated_and_not_yet_opened_again(tmp_path):
    write(tmp_path / "access.log.1", b"x\n")
    found = LogFiles(str(tmp_path / "access.log"), None, 0).answer(live())
    assert [Path(file["path"]).name for file in found["files"]] == ["access.log.1"]


def test_no_such_log(tmp_path):
    for question in (
        LogFiles(str(tmp_path / "x.log"), None, 0),
        LogFiles(str(tmp_path / "none" / "x.log"), None, 0),
        LogWindow(str(tmp_path / "x.log"), None, 0, ERROR_LOG_TIME),
        LogLines(str(tmp_path / "x\0.log"), None, 0, 1),
    ):
        with pytest.raises(Unreachable):
            question.answer(live())


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "syslog:server=1.2.3.4", "stderr"])
def test_what_goes_to_no_file(path, tmp_path):
    for question in (LogFiles(path, None, 0), LogLines(path, None, 0, 1)):
        with pytest.raises(Unsupported):
            question.answer(live())


def test_a_link_to_standard_output_is_not_ours(tmp_path):
    """As in nginx's images: followed by us it would be the file that our own report goes to."""
    (tmp_path / "access.log").symlink_to("/dev/stdout")
    script = (
        "import sys, time; from opsdoc.clients import Live; from opsdoc.clients.logs import LogFiles\n"
        "from opsdoc.redact import Redactor; from opsdoc.model import Unsupported\n"
        "try: LogFiles(sys.argv[1], None, 0).answer(Live(time.monotonic() + 9, Redactor()))\n"
        "except Unsupported as error: print(error.detail)"
    )
    with (tmp_path / "report").open("wb") as report:
        subprocess.run([sys.executable, "-c", script, tmp_path / "access.log"], stdout=report, check=True, timeout=60)
    assert "/dev/stdout, a stream" in (tmp_path / "report").read_text()


def test_a_pipe_or_a_folder_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        for question in (LogFiles(str(tmp_path / name), None, 0), LogLines(str(tmp_path / name), None, 0, 1)):
            with pytest.raises(Unsupported, match="not a regular file"):
                question.answer(live())


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to be somebody else")
def test_not_permitted(tmp_path):
    path = write(tmp_path / "access.log", line(NOW))
    os.chmod(path, 0)
    os.chmod(tmp_path, 0o711)  # to be entered, but not listed
    for parent in tmp_path.parents[:-2]:  # of the tests; not of /tmp and /
        os.chmod(parent, 0o755)
    os.seteuid(65534)
    try:
        found = LogFiles(path, None, 0).answer(live())
        with pytest.raises(Denied) as caught:
            LogLines(path, None, 0, 1).answer(live())
    finally:
        os.seteuid(0)
    assert len(found["files"]) == 1
    assert "not permitted to look for rotated logs" in found["skipped"][0]["why"]
    assert caught.value.hint.startswith("sudo ")


# ── of another process ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def holder(tmp_path):
    """A process that has a log open."""
    path = write(tmp_path / "access.log", b"".join(line(NOW + second) for second in range(10)))
    script = "import sys; file = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"open\n"
        yield path, child.pid
        child.stdin.close()


def test_a_log_below_the_root_of_a_process(holder):
    path, pid = holder
    found = LogWindow(path, pid, NOW, ERROR_LOG_TIME).answer(live())
    assert (found["start"], found["end"], found["first"], found["last"]) == (0, found["size"], NOW, NOW + 9)
    assert LogLines(path, pid, 0, found["end"]).answer(live()) == Path(path).read_bytes()


def test_a_log_that_was_deleted_is_read_as_long_as_somebody_has_it(holder):
    path, pid = holder
    data = Path(path).read_bytes()
    os.unlink(path)
    (file,) = LogFiles(path, pid, 0).answer(live())["files"]
    assert file["deleted"]
    assert file["size"] == len(data)
    assert LogWindow(path, pid, NOW, ERROR_LOG_TIME, inode=file["inode"]).answer(live())["last"] == NOW + 9
    assert LogLines(path, pid, 0, len(data), file["inode"]).answer(live()) == data
    with pytest.raises(Unreachable, match="no such file"):
        LogFiles(path, None, 0).answer(live())


def test_standard_output_of_another_process(holder, tmp_path):
    _, pid = holder
    (tmp_path / "stdout.log").symlink_to("/dev/stdout")
    with pytest.raises(Unsupported, match="a stream"):
        LogFiles(str(tmp_path / "stdout.log"), pid, 0).answer(live())


# ── where the window begins ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(5))
def test_the_window_holds_all_that_belong_to_it_and_little_else(seed, tmp_path):
    chance = random.Random(seed)
    lines: list[tuple[float, bytes]] = []
    at = float(NOW)
    for number in range(20_000):
        at += chance.choice([0, 0, 0, 1, 1, 2])
        jitter = chance.uniform(-SLACK, 0) * (chance.random() < 0.2)  # buffered workers
        lines.append((int(at + jitter), line(int(at + jitter), f"{number} " + "x" * chance.randrange(120))))
        if chance.random() < 0.05:
            lines.append(
                (0, bytes(chance.randrange(1, 11) for _ in range(chance.randrange(300))).replace(b"\n", b"") + b"\n")
            )
    path = write(tmp_path / "error.log", b"".join(data for _, data in lines)[:-1])
    for _ in range(20):
        since = chance.uniform(NOW - 100, at + 100)
        until = since + chance.choice([0, 10, 1000])
        found = read(path, since, until)
        expected = [data.strip() for time_, data in lines if since <= time_ < until]
        times = [ERROR_LOG_TIME.read(data) for data in found]
        kept = [data.strip() for data, time_ in zip(found, times, strict=True) if time_ and since <= time_ < until]
        assert kept == expected
        assert all(since - 3 * SLACK <= time_ <= until + 3 * SLACK for time_ in times if time_)


def test_small_and_odd_files(tmp_path):
    empty = write(tmp_path / "empty", b"")
    assert window(empty, NOW) | {"reads": 0} == {
        "start": 0,
        "end": 0,
        "size": 0,
        "first": None,
        "last": None,
        "reads": 0,
    }
    one = write(tmp_path / "one", line(NOW)[:-1])
    assert read(one, NOW) == [line(NOW)[:-1]]
    assert read(one, NOW + 60) == []
    cut = write(tmp_path / "cut", b"8 [error] 1#1: the rest of a line\n" + line(NOW) + line(NOW + 1))
    assert read(cut, NOW) == [line(NOW), line(NOW + 1)]
    only_rest = write(tmp_path / "rest", b"no time\n" * 100_000)
    with pytest.raises(Malformed, match="no line has a time"):
        window(only_rest, NOW)


def test_lines_of_megabytes(tmp_path):
    huge = line(NOW + 100, "y" * (3 << 20))
    path = write(tmp_path / "huge", line(NOW) * 1000 + huge + line(NOW + 200) + huge + line(NOW + 300) * 1000)
    found = window(path, NOW + 200)
    lines = LogLines(path, None, found["start"], found["end"]).answer(live()).splitlines(keepends=True)
    assert lines[-1000:] == [line(NOW + 300)] * 1000
    assert line(NOW + 200) in lines
    assert found["reads"] < 300


def test_much_without_a_time_begins_early_rather_than_late(tmp_path):
    garbage = (b"\x01" * 99 + b"\n") * (3 * REACH // 100)
    path = write(tmp_path / "garbage", line(NOW) * 1000 + garbage + line(NOW + 100) * 1000)
    lines = read(path, NOW + 90)
    assert lines[-1000:] == [line(NOW + 100)] * 1000
    assert read(path, NOW, NOW + 10)[:1000] == [line(NOW)] * 1000


def test_the_last_minutes_of_gigabytes(tmp_path):
    """A sparse file whose end is real; of what is before it, only the places where a bisection looks."""
    path = tmp_path / "access.log"
    end = b"\n" + b"".join(access(NOW + second // 100) for second in range(100_000))
    size = (10 << 30) + len(end)
    low = 0
    with path.open("wb") as file:
        file.write(access(NOW - 86_400))
        while size - low > len(end):
            file.seek((low + size) // 2)
            file.write(b"\n" + access(NOW - 80_000))
            low = (low + size) // 2 + 1
        file.seek(size - len(end))
        file.write(end)
    began = time.monotonic()
    found = LogWindow(str(path), None, NOW + 700, COMBINED_TIME).answer(live())
    data = LogLines(str(path), None, found["start"], found["end"], path.stat().st_ino).answer(live())
    took = time.monotonic() - began
    assert data.startswith(access(NOW + 700 - SLACK))
    assert data.endswith(access(NOW + 999))
    assert data.count(b"\n") == 30_000 + 100 * SLACK
    assert found["reads"] <= 25
    assert took < 2


def test_bisection_takes_some_twenty_reads(tmp_path):
    path = tmp_path / "access.log"
    with path.open("wb") as file:
        for minute in range(300):
            file.write(access(NOW + 60 * minute) * 4000)  # 100 MB
    found = LogWindow(str(path), None, NOW + 60 * 299, COMBINED_TIME, NOW + 60 * 300).answer(live())
    assert found["reads"] <= 30
    lines = LogLines(str(path), None, found["start"], found["end"]).answer(live()).splitlines(keepends=True)
    assert lines == [access(NOW + 60 * 299)] * 4000


def test_a_log_that_changes_while_it_is_read(tmp_path):
    path = write(tmp_path / "access.log", line(NOW) * 1000)
    inode = os.stat(path).st_ino
    end = os.path.getsize(path)
    os.rename(path, f"{path}.1")
    write(tmp_path / "access.log", line(NOW + 5))
    assert LogLines(path, None, 0, end, inode).answer(live()) == line(NOW) * 1000  # found under its new name
    assert LogLines(path, None, 0, 22, 0).answer(live()) == line(NOW + 5)
    os.truncate(f"{path}.1", 100)
    with pytest.raises(Unreachable, match="rotated or truncated"):
        LogLines(path, None, 0, end, inode).answer(live())
    os.unlink(f"{path}.1")
    for question in (LogLines(path, None, 0, end, inode), LogWindow(path, None, NOW, ERROR_LOG_TIME, inode=inode)):
        with pytest.raises(Unreachable, match="rotated or truncated"):
            question.answer(live())


def test_no_time_is_left(tmp_path):
    path = write(tmp_path / "access.log", line(NOW) * 1000)
    packed = write(tmp_path / "access.log.2.gz", gzip.compress(line(NOW)))
    for question in (
        LogWindow(path, None, NOW, ERROR_LOG_TIME),
        LogLines(path, None, 0, 100),
        GzipLines(packed, None, NOW, ERROR_LOG_TIME),
    ):
        with pytest.raises(TimedOut):
            question.answer(live(-1))


# ── whole lines ──────────────────────────────────────────────────────────────────────────────────


def test_lines_that_begin_in_each_part_are_all_lines_once(tmp_path):
    data = b"a\n\nbcd\n" + b"e" * 50 + b"\n\n\nfg"
    path = write(tmp_path / "log", data)
    for size in range(1, len(data) + 1):
        parts = [
            LogLines(path, None, start, min(start + size, len(data))).answer(live())
            for start in range(0, len(data), size)
        ]
        assert b"".join(parts) == data
        assert all(part.endswith(b"\n") for part in parts if part and not data.endswith(part))
    assert LogLines(path, None, 3, 3).answer(live()) == b""


def test_a_line_beyond_its_end_is_cut(tmp_path):
    path = write(tmp_path / "log", b"a\n" + b"b" * (3 * LONGEST_LINE) + b"\nc\n")
    found = LogLines(path, None, 0, 10).answer(live())
    assert found == b"a\n" + b"b" * (8 + LONGEST_LINE)
    assert LogLines(path, None, 10, os.path.getsize(path)).answer(live()) == b"c\n"
    with pytest.raises(Unsupported):
        LogLines(path, None, 0, 1 << 40).answer(live())


def test_what_is_recorded_is_masked():
    secret = b'10.0.0.1 - - [x] "GET /?password=hunter2 HTTP/1.1" 200\n'
    for question in (LogLines("/x", None, 0, 1), GzipLines("/x", None, 0, ERROR_LOG_TIME)):
        assert b"hunter2" not in question.recorded(secret, Redactor())


def test_keys_are_short_and_stable():
    for question in (
        LogFiles("/x/a.log", None, NOW),
        LogWindow("/x/a.log", None, NOW, COMBINED_TIME),
        LogLines("/x/a.log", None, 5, 9, 77),
        GzipLines("/x/a.log", None, NOW, COMBINED_TIME),
    ):
        assert question.key().startswith("logs.")
        assert "/x/a.log" in question.key()
        assert len(question.key()) < 60
        assert question.key() != question._replace(pid=7).key()


# ── gzip ─────────────────────────────────────────────────────────────────────────────────────────


def unpack(path: str, since: float = NOW, **more: int) -> bytes:
    return GzipLines(path, None, since, ERROR_LOG_TIME, **more).answer(live())


def test_gzip_from_the_window_on(tmp_path):
    data = b"".join(line(NOW + second // 100, "x" * 80) for second in range(100_000))
    path = write(tmp_path / "a.gz", gzip.compress(data, 1))
    assert unpack(path) == data
    recent = unpack(path, NOW + 900)
    assert data.endswith(recent)
    assert recent.count(b"\n") >= 10_000
    assert len(recent) < len(data) // 10 + (3 << 20)
    assert unpack(path, NOW + 5000).count(b"\n") == 0


def test_gzip_keeps_the_newest(tmp_path):
    data = b"".join(line(NOW + second // 100) for second in range(100_000))
    path = write(tmp_path / "a.gz", gzip.compress(data, 1))
    assert unpack(path, cap=22 * 1000) == data[-22 * 1000 :]
    assert unpack(path, cap=22 * 1000 + 5) == data[-22 * 1000 :]
    assert unpack(path, cap=5) == b""


def test_gzip_of_several_members_and_with_padding(tmp_path):
    first, second = line(NOW) * 3, line(NOW + 1) * 3
    path = write(
        tmp_path / "a.gz", gzip.compress(first + b"half of ") + gzip.compress(b"a line\n" + second) + bytes(512)
    )
    assert unpack(path) == first + b"half of a line\n" + second
    assert unpack(write(tmp_path / "empty.gz", gzip.compress(b""))) == b""
    assert unpack(write(tmp_path / "no-newline.gz", gzip.compress(line(NOW)[:-1]))) == line(NOW)[:-1]


def test_gzip_cut_or_damaged(tmp_path):
    data = b"".join(line(NOW + second, os.urandom(40).hex()) for second in range(20_000))
    packed = gzip.compress(data)
    half = unpack(write(tmp_path / "cut.gz", packed[: len(packed) // 2]))
    assert len(half) > len(data) // 3
    assert data.startswith(half)
    damaged = bytearray(packed)
    damaged[len(packed) // 2 : len(packed) // 2 + 100] = bytes(100)
    assert unpack(write(tmp_path / "damaged.gz", bytes(damaged)))[:1000] == data[:1000]
    for name, nothing in (("zero.gz", b""), ("head.gz", packed[:5]), ("text.gz", data)):
        with pytest.raises(Malformed):
            unpack(write(tmp_path / name, nothing))


def test_gzip_of_zeros_takes_no_memory(tmp_path):
    import resource

    path = write(tmp_path / "bomb.gz", gzip.compress(bytes(64 << 20)) * 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(unpack(path)) <= 2 * LONGEST_LINE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 << 10  # KiB


def test_blocks_are_smaller_than_lines_may_be():
    assert BLOCK < LONGEST_LINE < REACH
