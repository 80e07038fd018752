"""/proc as text: what it says, whatever a process calls itself."""

from __future__ import annotations

import signal

import pytest

from opsdoc.model import Malformed
from opsdoc.parsers import procfs
from opsdoc.parsers.procfs import (
    CpuTimes,
    mapped_files,
    parse_pressure,
    parse_scan,
    parse_stat,
    parse_status,
    parse_system,
    runtime_of,
)


def line(pid=7, name=b"java", state=b"S", ppid=1, user=10, system=5, threads=3, started=99):
    fields = f"{ppid} 7 7 0 -1 0 0 0 0 0 {user} {system} 2 1 20 0 {threads} 0 {started} 1 2 3 4 5\n"
    return b"%d (%b) %b %b" % (pid, name, state, fields.encode())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"java", "java"),
        (b"my) S 1 (x", "my) S 1 (x"),
        (b"a\nb) R 9 9", "a\nb) R 9 9"),
        (b"", ""),
        (b")", ")"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("名前".encode(), "名前"),
    ],
)
def test_a_name_may_hold_anything_and_moves_no_field(name, shown):
    stat = parse_stat(line(name=name))
    assert (stat.pid, stat.name, stat.state, stat.ppid) == (7, shown, "S", 1)
    assert (stat.user, stat.system, stat.used, stat.children, stat.threads, stat.started) == (10, 5, 15, 3, 3, 99)


@pytest.mark.parametrize("bad", [b"", b"7", b"7 (x", b"7 (x) S 1", b"x (x) S " + b"1 " * 30, line()[:40]])
def test_what_is_no_stat_line_is_malformed_with_its_first_bytes(bad):
    with pytest.raises(Malformed, match="not a stat line"):
        parse_stat(bad)


def test_a_scan_is_read_in_its_order():
    scan = parse_scan(b"\0".join([line(pid=30), b"", line(pid=4, name=b"x\ny"), line(pid=9)]))
    assert list(scan) == [30, 4, 9]
    assert parse_scan(b"") == {}
    with pytest.raises(Malformed):
        parse_scan(line(pid=30) + b"\0" + line(pid=4)[:10])


STAT = """cpu  100 5 50 800 20 1 4 20 7 0
cpu0 60 5 25 400 10 1 4 10 7 0
cpu1 40 0 25 400 10 0 0 10
intr 5 1 2
btime 1700000000
processes 321
procs_running 3
procs_blocked 1
"""


def test_the_system_tells_all_and_each_cpu():
    system = parse_system(STAT)
    assert system.all == CpuTimes(100, 5, 50, 800, 20, 1, 4, 20)
    assert system.all.total == 1000  # guest time stands within user and is not added again
    assert sorted(system.each) == [0, 1]
    assert system.each[1] == CpuTimes(40, 0, 25, 400, 10, 0, 0, 10)
    assert (system.forks, system.runnable, system.blocked) == (321, 3, 1)


def test_columns_that_an_old_kernel_lacks_are_zero():
    old = parse_system("cpu 1 2 3 4\ncpu0 1 2 3 4\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n")
    assert old.all == CpuTimes(1, 2, 3, 4, 0, 0, 0, 0)


@pytest.mark.parametrize("bad", ["", "cpu x", STAT.replace("processes", "x"), STAT.replace("cpu ", "cpux "), "cpu"])
def test_what_is_no_proc_stat_is_malformed(bad):
    with pytest.raises(Malformed, match="not /proc/stat"):
        parse_system(bad)


def test_counters_that_run_backwards_count_as_nothing():
    earlier, later = CpuTimes(10, 0, 0, 50, 9, 0, 0, 5), CpuTimes(12, 0, 0, 60, 3, 0, 0, 4)
    assert later.since(earlier) == CpuTimes(2, 0, 0, 10, 0, 0, 0, 0)


def test_pressure_is_a_share():
    assert parse_pressure("some avg10=12.50 avg60=0.00 avg300=0.00 total=5\n") == 0.125
    for bad in ("", "full avg10=1.00 ", "some avg10=nan ", "some avg10=1 "):
        with pytest.raises(Malformed):
            parse_pressure(bad)


STATUS = "Name:\tx\\nUid: 9\nState:\tS (sleeping)\nPid:\t70\nNSpid:\t70\t7\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n"
MASKS = "SigIgn:\t0000000000000001\nSigCgt:\t0000000000000005\n"


def test_status_tells_ids_user_and_signals():
    status = parse_status(STATUS + MASKS)
    assert (status.state, status.ids, status.euid, status.egid) == ("S", (70, 7), 2, 6)
    assert status.catches(signal.SIGQUIT)
    assert not status.catches(signal.SIGHUP)  # caught, says one mask, and ignored, says the other
    assert not status.catches(signal.SIGTERM)
    assert parse_status((STATUS + MASKS).replace("NSpid:\t70\t7\n", "")).ids == (70,)
    with pytest.raises(Malformed):
        parse_status(STATUS)


def test_the_runtime_is_what_is_mapped_not_how_it_is_called():
    maps = (
        "7f00-7f01 r-xp 00000000 08:01 5  /usr/lib/jvm/java 17/lib/server/libjvm.so (deleted)\n"
        "7f00-7f01 rw-p 00000000 00:00 0\n7f00-7f01 rw-p 00000000 00:00 0 [heap]\n"
    )
    assert mapped_files(maps) == {"/usr/lib/jvm/java 17/lib/server/libjvm.so"}
    assert runtime_of(mapped_files(maps)) == "jvm"
    assert runtime_of(frozenset({"/x/libjvm.so", "/x/libj9vm29.so"})) == "openj9"
    assert runtime_of(frozenset({"/usr/bin/python3.11"})) == "python 3.11"
    assert runtime_of(frozenset({"/opt/lib/libpython3.12.so.1.0"})) == "python 3.12"
    assert runtime_of(frozenset({"/usr/bin/node"})) == "node"
    assert runtime_of(frozenset({"/usr/bin/java"})) == "native"
    assert runtime_of(frozenset()) == "native"


@pytest.mark.parametrize(
    ("path", "runtime"),
    [
        ("/usr/bin/ruby3.1", "ruby 3.1"),
        ("/usr/lib/x86_64-linux-gnu/libruby-3.1.so.3.1.2", "ruby 3.1"),
        ("/usr/local/lib/libruby.so.3.3.0", "ruby 3.3"),
        ("/usr/local/bin/ruby", "ruby"),
        ("/usr/bin/php8.2", "php 8.2"),
        ("/usr/sbin/php-fpm8.2", "php 8.2"),
        ("/usr/local/sbin/php-fpm", "php"),
        ("/usr/lib/apache2/modules/libphp8.2.so", "php 8.2"),
        ("/usr/local/bin/node", "node"),
        ("/usr/lib/x86_64-linux-gnu/libnode.so.108", "node"),
        ("/usr/bin/perl", "perl"),
        ("/usr/bin/perl5.36.0", "perl 5.36"),
        ("/usr/lib/x86_64-linux-gnu/libperl.so.5.36.0", "native"),  # perf and vim map it too
        ("/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.1/libcoreclr.so", "dotnet"),
        ("/srv/node/server", "native"),
        ("/srv/ruby.conf", "native"),
        ("/srv/phpunit", "native"),
    ],
)
def test_the_runtime_by_a_name(path, runtime):
    assert runtime_of(frozenset({"/usr/lib/libc.so.6", path})) == runtime


def test_the_version_is_taken_from_whichever_file_tells_it():
    assert runtime_of(frozenset({"/usr/local/bin/ruby", "/usr/local/lib/libruby.so.3.3.0"})) == "ruby 3.3"


def test_nothing_of_a_record_can_hold_its_separator():
    assert procfs.SEPARATOR == b"\0"
