"""Status pages: stub_status of a real nginx; the others as their documents and sources say they are written."""

from __future__ import annotations

import json
import time

import pytest
from servers.nginx import Nginx

from opsdoc.clients import Live
from opsdoc.clients.http import Fetch
from opsdoc.model import Denied, Malformed, Unreachable
from opsdoc.parsers import nginx_status
from opsdoc.parsers.nginx_status import (
    StubStatus,
    parse_angie,
    parse_plus,
    parse_plus_versions,
    parse_stub_status,
    parse_vts,
)
from opsdoc.redact import Redactor

STUB = b"Active connections: 3 \nserver accepts handled requests\n 17 16 40 \nReading: 0 Writing: 1 Waiting: 2 \n"


def test_stub_status():
    assert parse_stub_status(STUB) == StubStatus(3, 17, 16, 40, 0, 1, 2)
    tengine = STUB.replace(b"requests\n 17 16 40", b"requests request_time\n 17 16 40 1234")
    assert parse_stub_status(tengine) == StubStatus(3, 17, 16, 40, 0, 1, 2)
    for bad in (b"", b"<html>", STUB[:60], STUB.replace(b"16", b"x"), b"\xff" * 100, STUB.replace(b"17", b"9" * 5000)):
        with pytest.raises(Malformed, match="not a stub_status page"):
            parse_stub_status(bad)


def test_stub_status_of_a_real_nginx(start):
    site = """server { listen 127.0.0.1:<port>;
        location = /s { stub_status; } location = /closed { deny all; } location / { return 204; } }"""
    nginx = start(Nginx, site, workers=1)
    live = Live(deadline=time.monotonic() + 20, redactor=Redactor())
    first = parse_stub_status(Fetch(f"127.0.0.1:{nginx.port}", "/s").answer(live))
    assert nginx.request("/", 5) == [204] * 5
    second = parse_stub_status(Fetch(f"*:{nginx.port}", "/s").answer(live))
    assert second.requests == first.requests + 6
    assert second.accepts == second.handled > first.accepts
    assert (second.reading, second.writing) == (0, 1)
    with pytest.raises(Denied):
        Fetch(f"127.0.0.1:{nginx.port}", "/closed").answer(live)
    with pytest.raises(Unreachable, match="204"):
        Fetch(f"127.0.0.1:{nginx.port}", "/other").answer(live)


# Written by hand after the example of the OpenAPI document of NGINX Plus, version 9.
PLUS = {
    "shop": {
        "peers": [
            {
                "id": 0,
                "server": "10.0.0.1:8088",
                "name": "app.example:8088",
                "backup": False,
                "weight": 5,
                "state": "up",
                "active": 2,
                "ssl": {"handshakes": 62, "handshakes_failed": 3},
                "requests": 667231,
                "header_time": 20,
                "response_time": 36,
                "responses": {"1xx": 0, "2xx": 666310, "3xx": 0, "4xx": 915, "5xx": 6, "codes": {"200": 666310},
                              "total": 667231},
                "fails": 4,
                "unavail": 1,
                "health_checks": {"checks": 26214, "fails": 0, "unhealthy": 0, "last_passed": True},
                "downtime": 2500,
                "selected": "2022-06-28T15:01:25Z",
            },
            {"id": 1, "server": "10.0.0.2:8088", "backup": True, "weight": 1, "state": "unhealthy", "requests": 0},
        ],
        "keepalive": 3,
        "zombies": 0,
        "zone": "shop",
    },
    "empty": {"peers": []},
}  # fmt: skip


def test_nginx_plus():
    first, second = parse_plus(json.dumps(PLUS).encode())
    assert first == nginx_status.Peer(
        "shop", "10.0.0.1:8088", "app.example:8088", "up", 667231, 4, 1, 2, 2.5, 0.036, False, 5,
        {"1xx": 0, "2xx": 666310, "3xx": 0, "4xx": 915, "5xx": 6}, "plus",
    )  # fmt: skip
    assert (second.server, second.name, second.state, second.backup) == (
        "10.0.0.2:8088", "10.0.0.2:8088", "unhealthy", True,
    )  # fmt: skip
    assert (second.fails, second.downtime, second.response_time, second.statuses) == (None, None, None, {})
    assert parse_plus_versions(b"[1,2,3,4,5,6,7,8,9]") == 9


# Written by hand after the entries that ngx_http_upstream_zone_module.c of Angie declares.
ANGIE = {
    "shop": {
        "peers": {
            "10.0.0.1:80": {
                "server": "app.example:80",
                "backup": False,
                "weight": 5,
                "state": "unavailable",
                "selected": {"current": 2, "total": 232, "last": "2026-11-22T21:35:48Z"},
                "max_conns": 5,
                "responses": {"200": 222, "204": 8, "302": 2, "xxx": 1},
                "data": {"sent": 543866, "received": 27349934},
                "health": {"fails": 3, "unavailable": 1, "downtime": 1500, "downstart": "2026-11-22T21:36:00Z"},
                "sid": "d0aa",
            },
            "unix:/run/a.sock": {"server": "unix:/run/a.sock", "backup": True, "weight": 1, "state": "up"},
        },
        "keepalive": 2,
    }
}


def test_angie():
    first, second = parse_angie(json.dumps(ANGIE).encode())
    assert first == nginx_status.Peer(
        "shop", "10.0.0.1:80", "app.example:80", "unavailable", 232, 3, 1, 2, 1.5, None, False, 5,
        {"2xx": 230, "3xx": 2}, "angie",
    )  # fmt: skip
    assert (second.server, second.state, second.requests, second.backup) == ("unix:/run/a.sock", "up", None, True)


# Written by hand after the formats of ngx_http_vhost_traffic_status_display_json.h.
VTS = {
    "hostName": "box",
    "nginxVersion": "1.22.1",
    "connections": {"active": 1},
    "serverZones": {"*": {"requestCounter": 1}},
    "upstreamZones": {
        "::nogroups": [{"server": "10.0.0.9:80", "requestCounter": 1, "responses": {}, "weight": 0, "down": False}],
        "shop": [
            {
                "server": "10.0.0.1:80",
                "requestCounter": 70,
                "responses": {"1xx": 0, "2xx": 60, "3xx": 0, "4xx": 1, "5xx": 9},
                "requestMsec": 12,
                "responseMsec": 297,
                "weight": 2,
                "maxFails": 1,
                "failTimeout": 10,
                "backup": False,
                "down": True,
            }
        ],
    },
}


def test_what_vts_counts_and_that_its_down_is_not_believed():
    other, peer = parse_vts(json.dumps(VTS).encode())
    assert other.group == "::nogroups"
    assert peer == nginx_status.Peer(
        "shop", "10.0.0.1:80", "10.0.0.1:80", None, 70, None, None, None, None, 0.297, False, 2,
        {"1xx": 0, "2xx": 60, "3xx": 0, "4xx": 1, "5xx": 9}, "vts",
    )  # fmt: skip
    assert parse_vts(b'{"serverZones": {}}') == (), "before the first request"


PARSERS = [parse_plus, parse_angie, parse_vts, parse_plus_versions]


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "page",
    [b"", b"<html>", b"[]", b"1", b'"x"', b'{"a": 1}', b'{"a": {"peers": 7}}', b"[" * 100_000, b"9" * 5000, b"\xff\xfe",
     b'{"error": {"status": 404, "text": "path not found"}}', b'{"upstreamZones": {"a": {}}}', b"null", b"[true, -1]"],
)  # fmt: skip
def test_pages_of_something_else(parse, page):
    with pytest.raises(Malformed):
        parse(page)


def test_values_that_are_no_counts_are_not_known():
    strange = {"server": 7, "state": [], "requests": -1, "active": True, "downtime": "1", "weight": 1.5,
               "fails": 1 << 70, "backup": 0, "responses": {"2xx": None, "٢xx": 5, "200": 3}}  # fmt: skip
    (peer,) = parse_plus(json.dumps({"a": {"peers": [strange]}}).encode())
    assert peer == nginx_status.Peer("a", "", "", None, *[None] * 8, {"2xx": 3}, "plus")
    assert parse_plus(b'{"a": {"peers": [{"response_time": NaN, "downtime": Infinity}]}}')[0].response_time is None


def test_no_more_servers_than_a_machine_can_have(monkeypatch):
    monkeypatch.setattr(nginx_status, "MOST_PEERS", 3)
    page = {"a": {"peers": [{"server": "x" * 1000}] * 5}}
    peers = parse_plus(json.dumps(page).encode())
    assert len(peers) == 3
    assert len(peers[0].server) == nginx_status.LONGEST
