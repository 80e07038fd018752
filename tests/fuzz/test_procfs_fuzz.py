"""Parsers of /proc are total: a value or Malformed for any bytes, and a name moves no field."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.model import Malformed
from opsdoc.parsers.procfs import (
    mapped_files,
    parse_pressure,
    parse_scan,
    parse_stat,
    parse_status,
    parse_system,
    runtime_of,
)

frugal = settings(max_examples=200, deadline=None)

FIELDS = b"S 1 7 7 0 -1 0 0 0 0 0 10 5 2 1 20 0 3 0 99 1 2 3"
STAT = b"7 (name) " + FIELDS
SYSTEM = "cpu 1 2 3 4 5 6 7 8\ncpu0 1 2 3 4 5 6 7 8\nprocesses 9\nprocs_running 1\nprocs_blocked 0\n"
STATUS = "State:\tS\nPid:\t7\nUid:\t1\t2\t3\t4\nGid:\t1\t2\t3\t4\nSigIgn:\t0\nSigCgt:\t5\n"
MAPS = "7f00-7f01 r-xp 00000000 08:01 5  /usr/lib/libjvm.so (deleted)\n"
PRESSURE = "some avg10=12.50 avg60=0.00 avg300=0.00 total=5\n"
WORDS = st.sampled_from(
    ["", " ", "\n", ")", "(", "\0", "9" * 5000, "-", "٣", "cpu", ":", "\t", "\ud800", "_1", "NSpid:"]
)
names = st.binary(max_size=40).filter(lambda name: b"\0" not in name)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    for _ in range(draw(st.integers(1, 3))):
        at, to = sorted([draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))])
        text = text[:at] + draw(WORDS) + text[draw(st.sampled_from([at, to])) :]
    return text


def total(parse: Callable[[Any], Any], data: Any) -> None:
    with contextlib.suppress(Malformed):
        parse(data)


@frugal
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    total(parse_stat, data)
    total(parse_scan, data)
    total(parse_stat, b"7 (" + data + b") " + FIELDS)
    text = data.decode("utf-8", "backslashreplace")
    for parse in (parse_system, parse_status, parse_pressure, mapped_files):
        total(parse, text)


@frugal
@given(
    damaged(STAT.decode()),
    damaged(SYSTEM),
    damaged(STATUS),
    damaged(MAPS),
    damaged(PRESSURE),
)
def test_damaged_text(stat: str, system: str, status: str, maps: str, pressure: str) -> None:
    total(parse_stat, stat.encode("utf-8", "surrogatepass"))
    total(parse_scan, stat.encode("utf-8", "surrogatepass"))
    total(parse_system, system)
    total(parse_status, status)
    total(parse_pressure, pressure)
    total(lambda text: runtime_of(mapped_files(text)), maps)


@frugal
@given(st.lists(names, max_size=5))
def test_a_name_moves_no_field(given_names: list[bytes]) -> None:
    scan = b"\0".join(b"%d (%b) %b" % (pid, name, FIELDS) for pid, name in enumerate(given_names))
    stats = parse_scan(scan)
    assert list(stats) == list(range(len(given_names)))
    for stat, name in zip(stats.values(), given_names, strict=True):
        assert stat.name == name.decode("utf-8", "backslashreplace")
        assert stat[2:] == ("S", 1, 10, 5, 3, 3, 99)
