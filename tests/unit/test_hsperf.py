"""Perf data of real JVMs is read to the last counter, by nobody's leave but the owner's, and lies are refused."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest
from servers import jdk, users
from servers.programs import lacking, stat

from opsdoc.clients import Live, hsperf
from opsdoc.model import Malformed, Unreachable, Unsupported
from opsdoc.parsers.hsperf import MAGIC, parse
from opsdoc.parsers.procfs import parse_status
from opsdoc.redact import Redactor

pytestmark = pytest.mark.xdist_group("java")


def live(proc="/proc"):
    return Live(deadline=time.monotonic() + 20, redactor=Redactor(), proc=Path(proc))


def started(pid):
    return int(stat(pid)[19])


def status_of(pid):
    return parse_status(Path(f"/proc/{pid}/status").read_text())


def file_of(pid):
    (path,) = Path("/tmp").glob(f"hsperfdata_*/{pid}")
    return path


def read(program, **options):
    return hsperf.PerfData(program.pid, started(program.pid)).answer(live(**options))


def options_of(program):
    return hsperf.effective_options(Path(f"/proc/{program.pid}"), status_of(program.pid), live())


# ── the format ───────────────────────────────────────────────────────────────────────────────────


def entry(order, name, value):
    """One entry as HotSpot lays it out: a header of 20 bytes, the name, the value."""
    text = name.encode() + b"\0"
    kind, data, elements = (
        (b"J", struct.pack(order + "q", value), 0) if isinstance(value, int) else (b"B", value, len(value))
    )
    at = (20 + len(text) + 7) // 8 * 8
    length = (at + len(data) + 7) // 8 * 8
    head = struct.pack(order + "iiicbbbi", length, 20, elements, kind, 0, 1, 1, at)
    return (head + text).ljust(at, b"\0") + data.ljust(length - at, b"\0")


def perf_data(*entries, order="<", count=None, used=None, offset=32, accessible=1, major=2):
    body = b"".join(entry(order, name, value) for name, value in entries)
    used = 32 + len(body) if used is None else used
    count = len(entries) if count is None else count
    numbers = (major, 0, accessible, used, 0, 0, offset, count)
    return MAGIC + struct.pack(order + "bbbbiiqii", order == "<", *numbers) + body


def with_length(length):
    data = bytearray(perf_data(("a", 1)))
    struct.pack_into("<i", data, 32, length)
    return bytes(data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(order):
    data = perf_data(("sun.gc.a", -7), ("sun.gc.cause", b"No GC\0rest"), ("java.b", 1 << 62), order=order)
    assert parse(data) == {"sun.gc.a": -7, "sun.gc.cause": "No GC", "java.b": 1 << 62}
    assert parse(data + b"whatever follows") == parse(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not perf data"),
        (MAGIC, "ends early"),
        (b"\x7fELF" + bytes(60), "not perf data"),
        (perf_data(major=1), "version 1"),
        (perf_data(accessible=0), "still setting"),
        (perf_data(("a", 1), used=9999), "claims"),
        (perf_data(("a", 1), count=1 << 30), "claims"),
        (perf_data(("a", 1), count=-1), "claims"),
        (perf_data(("a", 1), offset=-8), "claims"),
        (perf_data(("a", 1), count=2), "ends early"),
        (perf_data(("a", 1))[:-8], "claims"),
        (with_length(400), "bounds"),
        (with_length(20), "bounds"),
        (with_length(-32), "bounds"),
    ],
)
def test_what_is_cut_or_lies_is_malformed(data, why):
    with pytest.raises(Malformed, match=why):
        parse(data)


# ── real JVMs ────────────────────────────────────────────────────────────────────────────────────


def test_it_reads_what_the_jvm_says_itself(hot_jvm):
    print_all = [jdk.tool("jcmd"), str(hot_jvm.pid), "PerfCounter.print"]
    lines = subprocess.run(print_all, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    said = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("sun.perfdata."))
    counters = parse(file_of(hot_jvm.pid).read_bytes())
    assert len(said) > 150
    assert set(said) <= set(counters)
    for name in ("java.rt.vmArgs", "sun.gc.policy.name", "sun.rt.javaCommand", "java.property.java.vm.version"):
        assert f'"{counters[name]}"' == said[name]
    for name in ("sun.os.hrt.frequency", "sun.rt.createVmBeginTime", "sun.gc.generation.1.maxCapacity"):
        assert str(counters[name]) == said[name]


def test_the_answer_has_no_secret_and_nothing_that_nobody_needs(start):
    program = start(jdk.java, "HotOne", 5, 1, options=("-Dpassword=hunter2hunter2",))
    answer = read(program)
    assert "hunter2" in file_of(program.pid).read_bytes().decode("latin-1")
    assert "hunter2" not in json.dumps(answer)
    assert not any(name.startswith(("java.rt", "sun.property")) for name in answer["counters"])
    assert answer["counters"]["sun.gc.policy.name"] == "GarbageFirst"
    assert 0 <= answer["since_begin"] <= answer["age"] + 0.5
    assert hsperf.PerfData(7, 1).key() == "hsperf.read 7"


def test_another_view_of_proc_is_as_good(hot_jvm, tmp_path):
    (tmp_path / "proc").symlink_to("/proc")
    assert read(hot_jvm, proc=tmp_path / "proc")["counters"].keys() == read(hot_jvm)["counters"].keys()


def test_a_jvm_of_another_user(start):
    if os.geteuid() != 0:
        lacking("only root can start a JVM of another user")
    program = start(jdk.java, "HotOne", 5, 1, user=users.NOBODY)
    assert file_of(program.pid).parent.name == "hsperfdata_nobody"
    assert read(program)["counters"]["sun.rt.safepoints"] >= 0


@pytest.mark.parametrize("option", ["-XX:-UsePerfData", "-XX:+PerfDisableSharedMem"])
def test_a_jvm_without_perf_data_says_so(start, option):
    program = start(jdk.java, "HotOne", 5, 1, options=(option,))
    with pytest.raises(Unsupported, match="shares no perf data: it runs with -XX:-UsePerfData or"):
        read(program)
    assert options_of(program) is None


def test_a_file_that_a_cleaner_took_away(start):
    program = start(jdk.java, "HotOne", 5, 1)
    path = file_of(program.pid)
    path.unlink()
    with pytest.raises(Unsupported, match="was deleted"):
        read(program)
    path.symlink_to("/etc/passwd")
    try:
        with pytest.raises(Unsupported, match="was deleted"):
            read(program)
    finally:
        path.unlink()


@pytest.mark.parametrize("kind", ["symlink", "folder", "fifo", "missing", "foreign"])
def test_only_a_plain_file_of_the_jvms_own_user_is_read(tmp_path, kind):
    path = tmp_path / "7"
    status = status_of(os.getpid())
    (tmp_path / "other").write_bytes(b"secret")
    {
        "symlink": lambda: path.symlink_to(tmp_path / "other"),
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "missing": lambda: None,
        "foreign": lambda: path.write_bytes(b"secret"),
    }[kind]()
    if kind == "foreign":
        status = status._replace(euid=status.euid + 1)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(Unsupported):
            hsperf._read(descriptor, "7", "7", status)
    finally:
        os.close(descriptor)


def test_a_huge_file_is_read_to_the_cap(tmp_path):
    with (tmp_path / "7").open("wb") as file:
        file.truncate(1 << 40)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert len(hsperf._read(descriptor, "7", "7", status_of(os.getpid()))) == hsperf.CAP
    finally:
        os.close(descriptor)


def test_another_process_than_was_meant(hot_jvm, idle_python):
    with pytest.raises(Unreachable):
        hsperf.PerfData(hot_jvm.pid, started(hot_jvm.pid) + 1).answer(live())
    with pytest.raises(Unsupported, match="no HotSpot"):
        read(idle_python)
    with pytest.raises(Unreachable):
        hsperf.PerfData(4_194_305, 1).answer(live())


# ── the options a JVM runs with ──────────────────────────────────────────────────────────────────


def test_options_are_known_wherever_they_came_from(start, tmp_path, monkeypatch):
    (tmp_path / "args").write_text("-Dfrom=argfile\n-Xrs\n")
    (tmp_path / "flags").write_text("+ReduceSignalUsage\n")
    (tmp_path / "more").write_text("-Dfrom=vmoptions\n")
    files = (f"@{tmp_path}/args", f"-XX:Flags={tmp_path}/flags", f"-XX:VMOptionsFile={tmp_path}/more")
    words = options_of(start(jdk.java, "HotOne", 5, 1, options=files))
    assert {"-Dfrom=argfile", "-Xrs", "-XX:+ReduceSignalUsage", "-Dfrom=vmoptions", "-Xmx256m"} <= set(words)
    assert "5" not in words, "the application's own arguments are none"


@pytest.mark.parametrize(
    "options",
    [
        ("-Dlong=" + "x" * 1100, "-Xrs"),
        ("-Dlong=" + "é" * 550, "-Xrs"),  # fewer characters than bytes
        ("-XX:PerfMaxStringConstLength=64", "-Da=" + "b" * 60, "-Xrs"),
        ("-Da=" + "b" * 60, "-XX:PerfMaxStringConstLength=64", "-Xrs"),
    ],
)
def test_options_that_were_cut_off_are_not_known(start, options):
    assert options_of(start(jdk.java, "HotOne", 5, 1, options=options)) is None


def test_options_of_what_is_no_jvm(idle_python):
    assert options_of(idle_python) is None
