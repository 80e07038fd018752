"""The parser of nginx's error.log is total, and nothing that stands in a client's words is taken for a server."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.parsers.error_log import parse, together
from opsdoc.parsers.error_record import doubtful_spans

frugal = settings(max_examples=300, deadline=None)

LINE = (
    b"2026/11/22 21:35:48 [error] 12518#12518: *5 connect() failed (111: Connection refused) while connecting to "
    b'upstream, client: 127.0.0.1, server: , request: "GET /a HTTP/1.1", upstream: "http://10.0.0.1:80/a", host: "h"\n'
)
PIECES = st.sampled_from(
    [
        b"\n",
        b'"',
        b", client: ",
        b', upstream: "http://6.6.6.6:80/',
        b" HTTP/1.1",
        b"%0a",
        b"2026/11/22 21:35:48 [error] 1#1: *1 ",
        b'FastCGI sent in stderr: "',
        b' by zone "z"',
        b"no live upstreams while connecting to upstream",
        b"9" * 30,
        b"\0\xff",
        b"x" * 2048,
        LINE,
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = LINE * draw(st.integers(1, 4))
    for _ in range(draw(st.integers(1, 5))):
        at, to = sorted([draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))])
        data = data[:at] + draw(PIECES) + data[draw(st.sampled_from([at, to])) :]
    return data


def check(data: bytes) -> None:
    tally = parse(data)
    lines = data.count(b"\n") + (data != b"" and not data.endswith(b"\n"))
    assert tally.lines + tally.unread + tally.doubtful + tally.older == lines
    assert (tally.first is None) == (tally.last is None) == (tally.lines == 0)
    assert sum(tally.levels.values()) == tally.lines
    seen = [*tally.events.values(), *tally.limits.values()]
    assert sum(s.times for s in seen) <= tally.lines
    for s in seen:
        assert s.times > 0
        assert tally.first is not None
        assert tally.last is not None
        assert tally.first <= s.first <= s.last <= tally.last
    for event in tally.events:
        assert len(event.subject) <= 4 * 255
    spans = doubtful_spans(data)
    assert all(begin <= end for begin, end in spans)
    assert all(one[1] < other[0] for one, other in pairwise(spans))
    assert together([tally, parse(b"")]) == tally


@frugal
@given(st.binary(max_size=400), st.floats(), st.integers())
def test_any_bytes(data: bytes, since: float, offset: int) -> None:
    check(data)
    check(LINE + data + LINE)
    parse(data, since, offset)
    parse(LINE, since, offset)


@frugal
@given(damaged())
def test_damaged_lines(data: bytes) -> None:
    check(data)


WORDS = st.lists(PIECES.filter(lambda piece: b"\n" not in piece), max_size=6).map(b"".join)


@frugal
@given(WORDS, WORDS, WORDS)
def test_words_of_clients_name_no_server(path: bytes, host: bytes, referrer: bytes) -> None:
    """As nginx since 1.21.1 takes them: no space in a path, none in a host."""
    data = LINE.replace(b"/a", b"/" + path.replace(b" ", b"")).replace(b'"h"', b'"%b"' % host.replace(b" ", b""))
    data = data.rstrip(b"\n") + b', referrer: "' + referrer + b'"\n'
    assert parse(data).failures().keys() <= {"10.0.0.1:80", ""}


@frugal
@given(WORDS, st.integers(1, 3), st.booleans())
def test_lines_within_a_message_name_no_server(text: bytes, forged: int, open_quote: bool) -> None:
    """`open()` of a path with newlines in it, whatever stands around whole lines."""
    fake = LINE.replace(b"10.0.0.1", b"6.6.6.6") * forged
    path = b"/srv/" + text + (b"" if open_quote else b'"') + b"\n" + fake + text
    data = (
        b'2026/11/22 21:35:48 [error] 7#7: *6 open() "' + path + b'" failed (2: No such file or directory), client: '
        b'10.0.0.9, server: , request: "GET /%0a HTTP/1.1"'
    )
    failures = parse(data[:2047] + b"\n" + LINE * 20).failures()
    assert "6.6.6.6:80" not in failures
    assert failures["10.0.0.1:80"]["refused"].times >= 10
