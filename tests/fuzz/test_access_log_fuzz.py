"""Access logs: any bytes in any format give rows and unread lines; all at once and one by one they give the same."""

from __future__ import annotations

import contextlib
import re
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.model import Malformed
from opsdoc.parsers import tally
from opsdoc.parsers.access_log import columns
from opsdoc.parsers.attempts import visits_of
from opsdoc.parsers.log_format import COMBINED, ERROR_LOG_TIME, LogFormat, compile_format

frugal = settings(max_examples=200, deadline=None)

LITERALS = st.sampled_from([" ", '"', '" "', " - ", " [", "] ", "|", ",", "", '"x":"', "\\", "7", ".", "é"])
VARIABLES = st.sampled_from(
    """remote_addr remote_user time_local time_iso8601 msec request status body_bytes_sent http_user_agent request_time
    host upstream_addr upstream_status upstream_response_time upstream_connect_time upstream_header_time
    upstream_cache_status limit_req_status""".split()
)
VALUES = {
    "remote_addr": ["127.0.0.1", "::1", "unix:"],
    "time_local": ["28/Nov/2026:11:36:33 +0000", "31/Dec/2026:23:59:59 -0330"],
    "time_iso8601": ["2026-11-28T11:36:33+00:00"],
    "msec": ["1795865793.250"],
    "status": ["200", "502", "499"],
    "body_bytes_sent": ["0", "1234"],
    "request_time": ["0.000", "12.345"],
    "host": ["a.test", "-"],
    "upstream_addr": ["-", "10.0.0.1:80", "10.0.0.1:80, unix:/a.sock", "10.0.0.1:80 : [::1]:80", "group"],
    "upstream_status": ["-", "200", "502, 200", "503 : 200"],
    "upstream_response_time": ["-", "0.001", "0.000, 0.003"],
    "upstream_connect_time": ["-", "0.000", "-, 0.003"],
    "upstream_header_time": ["-", "0.001", "-, 0.003"],
    "upstream_cache_status": ["-", "HIT"],
    "limit_req_status": ["-", "PASSED", "REJECTED"],
}
# What a client sends; nginx escapes it.
CLIENT = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    [' "10.6.6.6:80" 502 ', '" "', " [28/Nov/2000:11:36:33 +0000] ", "x ua=", '\\" \\', " - ", ""]
)
# Bytes that have a meaning somewhere in there.
PIECES = st.sampled_from(
    [b"\n", b'"', b'\\"', b"\\", b"\x00", b"\x01", b"\x02", b" ", b", ", b" : ", b"-", b"200", b"\xff", b"[", b"\r"]
)


@st.composite
def format_texts(draw: st.DrawFn) -> str:
    names = draw(st.lists(VARIABLES, min_size=1, max_size=8))
    return draw(LITERALS) + "".join(f"${{{name}}}" + draw(LITERALS) for name in names)


formats = st.builds(compile_format, format_texts(), st.sampled_from(["default", "json", "none"]))


def logged(text: str, escape: str) -> str:
    """A client's text as nginx writes it."""
    if escape == "json":
        special = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
        return "".join(special.get(c) or (f"\\u{ord(c):04X}" if c < " " else c) for c in text)
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02X}" for byte in text.encode())


@st.composite
def lines(draw: st.DrawFn, fmt: LogFormat) -> tuple[bytes, dict[str, bytes]]:
    """A line that nginx could write, and its values."""
    values = {
        name: draw(st.sampled_from(VALUES[name])) if name in VALUES else logged(draw(CLIENT), fmt.escape)
        for name in fmt.variables
    }
    line = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda match: values[match[1] or match[2]], fmt.text)
    return line.encode() + b"\n", {name: value.encode() for name, value in values.items()}


@st.composite
def logs(draw: st.DrawFn, fmt: LogFormat) -> bytes:
    """Many good lines, often the same, with some bad ones among them."""
    few = [draw(lines(fmt))[0] for _ in range(draw(st.integers(1, 4)))]
    order = draw(st.lists(st.sampled_from(few), min_size=1, max_size=90))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(order) - 1))
        line = order[at]
        cut = sorted([draw(st.integers(0, len(line))), draw(st.integers(0, len(line)))])
        order[at] = line[: cut[0]] + draw(PIECES) + line[draw(st.sampled_from(cut)) :]
    data = b"".join(order)
    if b"\n" in data and draw(st.booleans()):  # a line break that moved: all is there, but elsewhere
        at, to = (draw(st.integers(0, data.count(b"\n") - 1)), draw(st.integers(0, len(data))))
        places = [place for place, byte in enumerate(data) if byte == 10]
        data = data[: places[at]] + data[places[at] + 1 :]
        data = data[:to] + b"\n" + data[to:]
    return data


def count(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n") and bool(data))


def check(data: bytes, fmt: LogFormat) -> None:
    found = columns(data, fmt, fmt.variables)
    assert found.rows + found.unread == count(data)
    assert all(len(column) == found.rows for column in found.values.values())
    counted = tally.Tally()
    total = 0
    for block in tally.read(data, fmt):
        some = block.columns(fmt.variables[::2], fmt.variables[1::2])
        total += some.rows + some.unread
        assert block.rows <= some.rows
        assert all(len(column) == some.rows for column in (*some.values.values(), *some.packed))
        counted.add(block)
    assert total == count(data)
    assert sum(counted.traces.values()) == counted.rows
    assert counted.rows + counted.unread == total
    for server in counted.servers:
        counted.series(server), counted.times(server), counted.connect(server), counted.header(server)
    assert counted.overflow >= 0


@frugal
@given(st.binary(max_size=400), formats, st.data())
def test_any_bytes_in_any_format(data: bytes, fmt: LogFormat, more: st.DataObject) -> None:
    check(data, fmt)
    check(b"".join(more.draw(st.lists(PIECES, max_size=60))), fmt)
    if fmt.time is not None:
        fmt.time.read(data), fmt.time.value(data)
    ERROR_LOG_TIME.read(data)


@frugal
@given(st.text(max_size=80) | format_texts(), st.sampled_from(["default", "json", "none", ""]))
def test_any_format(text: str, escape: str) -> None:
    with contextlib.suppress(Malformed):
        fmt = compile_format(text, escape)
        assert fmt.variables
        check(text.encode(errors="replace"), fmt)


@frugal
@given(formats, st.data())
def test_all_at_once_gives_what_one_by_one_gives(fmt: LogFormat, draw: st.DataObject) -> None:
    data = draw.draw(logs(fmt))
    check(data, fmt)
    wanted = tuple(draw.draw(st.permutations(fmt.variables)))[: draw.draw(st.integers(0, 4))]
    packed = tuple(draw.draw(st.permutations(fmt.variables)))[: draw.draw(st.integers(0, 4))]
    whole = columns(data, fmt, wanted, packed)
    each = [columns(line + b"\n", fmt, wanted, packed) for line in data.split(b"\n")[: count(data)]]
    assert whole.rows == sum(one.rows for one in each)
    for name in whole.values:
        assert whole.values[name] == [value for one in each for value in one.values[name]]
    for place, column in enumerate(whole.packed):
        assert column == [value for one in each for value in one.packed[place]]
    both = columns(data, fmt, (*wanted, *packed))
    assert both.rows == whole.rows
    rows = [whole.layout.values(texts) for texts in zip(*whole.packed, strict=True)]
    for name in whole.layout.names:
        assert [row[name] for row in rows] == both.values[name]


quoted_formats = st.builds(
    lambda names, escape: compile_format(" ".join(f'"${{{name}}}"' for name in names), escape),
    st.lists(VARIABLES, min_size=1, max_size=6, unique=True),
    st.sampled_from(["default", "json"]),
)


@frugal
@given(quoted_formats, st.data())
def test_quoted_fields_come_back(fmt: LogFormat, draw: st.DataObject) -> None:
    written = draw.draw(st.lists(lines(fmt), min_size=1, max_size=40))
    found = columns(b"".join(line for line, _ in written), fmt, fmt.variables)
    assert found.unread == 0
    for name in fmt.variables:
        assert found.values[name] == [values[name] for _, values in written]


MADE = compile_format(
    COMBINED + ' rt=$request_time ua="$upstream_addr" us="$upstream_status" urt="$upstream_response_time" '
    'uct="$upstream_connect_time" uht="$upstream_header_time" cs=$upstream_cache_status lrs=$limit_req_status'
)


@frugal
@given(st.data())
def test_fields_of_the_recommended_format_come_back(draw: st.DataObject) -> None:
    written = draw.draw(st.lists(lines(MADE), min_size=1, max_size=40))
    data = b"".join(line for line, _ in written)
    names = [name for name in MADE.variables if name not in ("remote_user", "body_bytes_sent")]
    found = columns(data, MADE, names)
    assert (found.rows, found.unread) == (len(written), 0)
    for name in names:
        assert found.values[name] == [values[name] for _, values in written]
    counted = tally.Tally()
    for block in tally.read(data, MADE):
        counted.add(block)
    assert counted.statuses == Counter(int(values["status"]) for _, values in written)


@frugal
@given(*[st.binary(max_size=60) | st.lists(PIECES, max_size=20).map(b"".join) for _ in range(4)])
def test_any_attempts(addresses: bytes, statuses: bytes, connects: bytes, headers: bytes) -> None:
    for visit in visits_of(addresses, statuses, connects, headers, 200) + visits_of(addresses, None):
        assert visit.attempts
        assert all(attempt.cause or attempt.status is None or attempt.status < 500 for attempt in visit.attempts)
