"""What an nginx tells is total to read: a value or Malformed for any page, title, binary and table."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.model import Malformed
from opsdoc.parsers import nginx_process as process
from opsdoc.parsers.nginx_process import Build, Options
from opsdoc.parsers.nginx_status import (
    LONGEST,
    Peer,
    parse_angie,
    parse_plus,
    parse_plus_versions,
    parse_stub_status,
    parse_vts,
)
from opsdoc.parsers.sockets import ESTABLISHED, parse_tables, survey

frugal = settings(max_examples=200, deadline=None)

KEYS = ["peers", "upstreamZones", "serverZones", "server", "name", "state", "responses", "health", "selected", "total",
        "2xx", "200", "codes", "downtime", "response_time", "responseMsec", "requestCounter", "backup"]  # fmt: skip
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
pages = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner),
    max_leaves=30,
)
parts = st.dictionaries(st.sampled_from(KEYS), scalars, max_size=4)
peers = st.dictionaries(st.sampled_from(KEYS), scalars | parts, max_size=8)


def is_sound(peer: Peer) -> bool:
    counts = (peer.requests, peer.fails, peer.unavail, peer.active, peer.weight, *peer.statuses.values())
    times = (peer.downtime, peer.response_time)
    return (
        all(count is None or (type(count) is int and count >= 0) for count in counts)
        and all(time is None or time >= 0 for time in times)
        and max(len(peer.group), len(peer.server), len(peer.name), len(peer.state or "")) <= LONGEST
        and set(peer.statuses) <= {"1xx", "2xx", "3xx", "4xx", "5xx"}
    )


def total(data: bytes) -> None:
    for parse in (parse_plus, parse_angie, parse_vts):
        with contextlib.suppress(Malformed):
            assert all(map(is_sound, parse(data)))
    for other in (parse_stub_status, parse_plus_versions):
        with contextlib.suppress(Malformed):
            other(data)


@frugal
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    total(data)
    total(b"Active connections: 1 \nserver accepts handled requests\n" + data)


@frugal
@given(pages)
def test_any_json(page: Any) -> None:
    total(json.dumps(page).encode())


@frugal
@given(st.lists(peers, max_size=3), st.text(max_size=400))
def test_servers_with_any_values(found: list[dict[str, Any]], group: str) -> None:
    total(json.dumps({group: {"peers": found}}).encode())
    total(json.dumps({group: {"peers": {str(number): peer for number, peer in enumerate(found)}}}).encode())
    total(json.dumps({"upstreamZones": {group: found}}).encode())


words = st.lists(
    st.sampled_from(["-c", "-p", "-g", "-e", "-qt", "-c/a", "daemon", "off;", "a.conf", ".", "-", "", "}"])
    | st.text(max_size=6),
    max_size=12,
)


@frugal
@given(words, st.booleans(), st.text(max_size=200))
def test_any_command_line(given_words: list[str], cut: bool, configure: str) -> None:
    given_options = process.options(given_words, cut=cut)
    assert isinstance(given_options, Options)
    found = process.paths(given_options, Build("nginx/1.0.0", "1.0.0", configure), "/cwd", cut=cut)
    for path in (found.prefix, found.conf, found.access_log):
        assert path is None or path.startswith("/")


@frugal
@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_title_binary_and_table(data: bytes, at: int) -> None:
    for start in (b"", b"nginx: master process ", b"angie: master process v1 #1 [", b"nginx: worker process"):
        process.title(start + data)
        process.was_cut(start + data, data)
    binary = b"nginx version: " + data + b"\nconfigure arguments: " + data + b"\0"
    made = process.build([binary[:at], binary[at:]])
    assert made.configure is None or len(made.configure) <= 4 * process.LONGEST
    rows = b"  sl  local_address\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 " + data
    process.connected(rows)
    process.outgoing(survey(parse_tables(rows).rows).pairs, ESTABLISHED, 5)


def test_quotes_without_an_end_take_no_time() -> None:
    for text in ("'" * 60_001, "\"'" * 30_000, "a'" * 30_001, "--prefix='" * 6_000):
        process.configured(text, "prefix")
