"""Perf data is the target's own memory: any bytes end in counters or in Malformed."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.model import Malformed
from opsdoc.parsers.hsperf import MAGIC, MAX_NAME, MAX_TEXT, parse

frugal = settings(max_examples=300, deadline=None)
ints = st.sampled_from([0, 1, 2, 7, 19, 20, 32, 40, 64, -1, -8, 4096, 2**31 - 1, -(2**31)]) | st.integers(0, 200)


def total(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        for name, value in parse(data).items():
            # A byte that is no UTF-8 is written with four characters.
            assert len(name) <= 4 * MAX_NAME
            assert isinstance(value, int) or len(value) <= 4 * MAX_TEXT


@st.composite
def perf_data(draw: st.DrawFn) -> bytes:
    order = draw(st.sampled_from("<>"))
    body = b""
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(b"JBC\0"))
        body += struct.pack(order + "iiibbbbi", draw(ints), draw(ints), draw(ints), kind, 0, 1, 1, draw(ints))
        body += draw(st.binary(max_size=60))
    used = draw(st.just(32 + len(body)) | ints)
    head = struct.pack(order + "bbbbiiqii", order == "<", 2, 0, 1, used, 0, 0, draw(st.just(32) | ints), draw(ints))
    return MAGIC + head + body


@frugal
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    total(data)
    total(MAGIC + data)
    total(MAGIC + b"\x01\x02\x00\x01" + data)


@frugal
@given(perf_data(), st.integers(0, 300))
def test_offsets_that_lie(data: bytes, cut: int) -> None:
    total(data)
    total(data[:cut])
