"""Parsers of sockets are total: a value or Malformed for any bytes, in time linear in their length."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.model import Malformed
from opsdoc.parsers import sockets as parser

frugal = settings(max_examples=200, deadline=None)

SAMPLE = (Path(__file__).parent.parent / "unit/samples/proc-net.txt").read_bytes()
BLOB = b"\0".join(part.split(b"\n", 1)[1] for part in SAMPLE.split(b"==")[1:])
COUNTERS = "TcpExt: ListenOverflows ListenDrops\nTcpExt: 18 19\nTcp: MaxConn OutSegs\nTcp: -1 7\n"
WORDS = st.sampled_from([b"", b" ", b"\n", b"\0", b":", b"9" * 5000, b"-", b"\xff", b"0A", b"FFFFFFFF", b"cut\n"])
TEXTS = st.text(max_size=200) | st.text("0123456789-, \tTCP:\n", max_size=200)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    for _ in range(draw(st.integers(1, 4))):
        at, to = sorted([draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))])
        data = data[:at] + draw(WORDS) + data[draw(st.sampled_from([at, to])) :]
    return data


def total(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        tables = parser.parse_tables(data)
        for one in (*tables.listeners, *tables.troubled):
            assert parser.address(one.local)
        for one in parser.destinations(parser.survey(tables.rows).pairs, 1024, 65535):
            assert one.ports >= one.time_wait >= 0
            with contextlib.suppress(Malformed):
                parser.address(one.remote)


@frugal
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    total(data)
    total(BLOB[:90] + data)
    with contextlib.suppress(Malformed):
        parser.address(data)
    parser.is_loopback(data)


@frugal
@given(damaged(BLOB))
def test_damaged_tables(data: bytes) -> None:
    total(data)


@frugal
@given(TEXTS | damaged(COUNTERS.encode()).map(lambda data: data.decode("latin-1")))
def test_any_text(text: str) -> None:
    for parse in (
        parser.parse_counters,
        parser.parse_sockstat,
        parser.parse_numbers,
        parser.parse_ports,
        parser.parse_open_files,
    ):
        with contextlib.suppress(Malformed):
            parse(text)


@frugal
@given(st.binary(min_size=1, max_size=60).filter(lambda path: b"\0" not in path))
def test_a_path_moves_no_field(path: bytes) -> None:
    row = b"00000000ac55655c: 00000002 00000000 00010000 0001 01 77 " + path + b"\n"
    tcp, tcp6, _ = BLOB.split(b"\0")
    found = parser.parse_tables(b"\0".join((tcp, tcp6, b"Num\n" + row))).unix
    assert [one.queue for one in found if one.inode == 77] == [0]


def test_a_table_of_nothing_but_beginnings_takes_linear_time() -> None:
    for piece in (b": ", b": 0", b"0", b" ", b": 0100007F:1F90 ", b"00000000ac55655c: 00000002 "):
        began = time.process_time()
        total(BLOB[:90] + piece * (400_000 // len(piece)))
        total(BLOB.rpartition(b"\0")[0] + b"\0" + piece * (400_000 // len(piece)))
        assert time.process_time() - began < 2
