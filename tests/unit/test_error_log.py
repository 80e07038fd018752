"""nginx's error.log: every message of a real one, hostile requests, and lines that clients made up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from opsdoc.parsers.error_log import REST, ErrorTally, parse, together
from opsdoc.parsers.error_message import FAILURES, Event, LimitHit, kind_of
from opsdoc.parsers.error_record import LONGEST

SAMPLES = Path(__file__).parent / "samples"
REAL = (SAMPLES / "nginx_error.log").read_bytes()
HOSTILE = (SAMPLES / "nginx_error_hostile.log").read_bytes()
FIELDS, _, NEWLINES = HOSTILE.partition(b"2026/11/28 10:38:56 [error] 7442#7442: *41 ")  # from there on: whole lines

A = "127.0.0.1:29"
TAIL = ', client: 10.0.0.9, server: shop, request: "GET /x HTTP/1.1"'


def one(message: str, level: str = "error", tail: str = TAIL, upstream: str = "http://10.0.0.1:80/x") -> ErrorTally:
    named = f', upstream: "{upstream}"' if upstream else ""
    return parse(f'2026/11/28 10:00:00 [{level}] 7#7: *1 {message}{tail}{named}, host: "shop"\n'.encode())


def numbers(tally: ErrorTally, kind: str) -> dict[str, int]:
    return {subject: seen.times for subject, seen in tally.of(kind).items()}


# ── a real log ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "by_subject"),
    {
        "refused": {f"{A}098": 1, f"{A}099": 14, "[::1]:29099": 1},
        "socket-missing": {"unix:/srv/nginxlab/missing.sock": 3},  # http, fastcgi, uwsgi
        "not-permitted": {"unix:/srv/nginxlab/denied.sock": 1},
        "queue-full": {"unix:/srv/nginxlab/full.sock": 1},
        "connect-timeout": {f"{A}100": 1},
        "read-timeout": {f"{A}002": 7, f"{A}015": 1},  # header, sending
        "closed-early": {f"{A}003": 2},
        "reset": {f"{A}004": 2},
        "cut-short": {f"{A}005": 1, f"{A}006": 1, f"{A}007": 1, f"{A}014": 1, f"{A}020": 1},
        "tls": {f"{A}016": 2, f"{A}017": 2, f"{A}018": 4},
        "invalid": {f"{A}008": 1, f"{A}009": 1, f"{A}011": 1},
        "other": {f"{A}001": 1},  # bind() to an address that is not ours
        "no-live": {"dead": 1, "g_hang": 8, "g_premature": 1, "g_tls_ok": 1, "": 1},  # the line of one was cut
        "resolver": {"nohost.invalid": 1, "servfail.invalid": 1, "slow.invalid": 2},
        "no-resolver": {"nohost.invalid": 1},
        "resolver-down": {"127.0.0.1:29054": 2},
        "buffered": {f"{A}012": 1},
        "body-too-large": {"": 1},
        "connections-out": {"": 4},
        "connections-reused": {"": 1},
        "files-out": {"": 2},
        "worker-died": {"signal 9": 1, "signal 11": 1},
    }.items(),
)
def test_every_kind_in_a_real_log(kind, by_subject):
    assert numbers(parse(REAL), kind) == by_subject


def test_servers_that_were_disabled():
    disabled = numbers(parse(REAL), "disabled")
    assert sum(disabled.values()) == REAL.count(b"temporarily disabled")
    assert disabled["unix:/srv/nginxlab/missing.sock"] == 1


def test_limits_by_zone():
    assert {hit: seen.times for hit, seen in parse(REAL).limits.items()} == {
        LimitHit("requests", "one"): 2,
        LimitHit("requests", "two"): 2,
        LimitHit("requests", "two", delayed=True): 2,
        LimitHit("requests", "dry", dry_run=True): 2,
        LimitHit("requests", "dryd", delayed=True, dry_run=True): 2,
        LimitHit("connections", "c1"): 2,
        LimitHit("connections", "c2", dry_run=True): 1,
    }


def test_lines_levels_and_times():
    tally = parse(REAL, offset=3600)
    assert tally.lines + tally.unread == REAL.count(b"\n")
    assert tally.unread == 12  # of stack traces
    assert (tally.doubtful, tally.older) == (0, 0)
    assert sum(tally.levels.values()) == tally.lines
    assert tally.levels["crit"] == REAL.count(b"[crit]")
    assert tally.first == 1_795_862_308 - 3600  # 2026-11-28 10:38:28 UTC
    assert tally.last == 1_795_863_930 - 3600
    died = tally.of("worker-died")["signal 9"]
    assert died.first == died.last == 1_795_862_360 - 3600


def test_failures_by_server():
    failures = parse(REAL).failures()
    assert {cause for causes in failures.values() for cause in causes} <= FAILURES
    assert failures[f"{A}099"].keys() == {"refused"}
    assert failures[f"{A}099"]["refused"].times == 14
    assert failures[f"{A}099"]["refused"].last > failures[f"{A}099"]["refused"].first


def test_only_the_window():
    since = 1_795_862_640.0
    tally = parse(REAL, since)
    assert tally.older > 100
    assert tally.first >= since
    assert tally.lines + tally.older == parse(REAL).lines
    assert parse(REAL, since + 0.9).lines == tally.lines  # the log has whole seconds
    assert parse(REAL, 1e300).lines == 0
    assert parse(REAL, -1e300).lines == parse(REAL).lines


def test_parts_together_are_the_whole():
    cut = REAL.index(b"\n", len(REAL) // 2) + 1
    assert together([parse(REAL[:cut]), parse(REAL[cut:])]) == parse(REAL)
    assert together([]) == parse(b"")


# ── messages that are hard to provoke ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("connect() failed (113: No route to host) while connecting to upstream", "unreachable"),
        ("connect() to 240.0.0.1:80 failed (101: Network is unreachable) while connecting to upstream", "unreachable"),
        ("connect() failed (110: Connection timed out) while connecting to upstream", "connect-timeout"),
        ("connect() to 10.0.0.1:80 failed (99: Cannot assign requested address) while connecting to upstream",
         "no-local-port"),
        ("connect() to 10.0.0.1:80 failed (13: Permission denied) while connecting to upstream", "not-permitted"),
        ("connect() to unix:/a b.sock failed (11: Resource temporarily unavailable) while connecting to upstream",
         "queue-full"),
        ("connect() to 10.0.0.1:80 failed (11: Resource temporarily unavailable) while connecting to upstream",
         "other"),
        ("recv() failed (104: Connection reset by peer) while reading response header from upstream", "reset"),
        ("writev() failed (32: Broken pipe) while sending request to upstream", "reset"),
        ("upstream timed out (110: Connection timed out) while SSL handshaking to upstream", "tls"),
        ("SSL_read() failed (SSL: error:0A000126:SSL routines::unexpected eof while reading) while reading upstream",
         "cut-short"),
        ("upstream prematurely closed FastCGI stdout while reading response header from upstream", "closed-early"),
        ("upstream rejected request with error 7 while reading response header from upstream", "other"),
    ],
)  # fmt: skip
def test_causes(message, cause):
    assert one(message).failures()["10.0.0.1:80"].keys() == {cause}


@pytest.mark.parametrize(
    "message",
    [
        "upstream timed out (110: Connection timed out) while proxying upgraded connection",  # an idle WebSocket
        "recv() failed (104: Connection reset by peer) while sending to client",
        "SSL_do_handshake() failed (SSL: error:0A00006C:SSL routines::bad key share) while SSL handshaking",
        'FastCGI sent in stderr: "Primary script unknown" while reading response header from upstream',
        "[lua] a.lua:3: upstream timed out (110: Connection timed out) while reading upstream",
        'open() "/x/connect() failed (111: Connection refused) while connecting to upstream" failed (2: No such file)',
        "connect() failed (111: Connection refused) while requesting certificate status, responder: r",
    ],
)  # fmt: skip
def test_what_is_no_failed_attempt(message):
    tally = one(message)
    assert tally.lines == 1
    assert not tally.events


def test_what_was_passed_on_is_no_failure():
    message = 'upstream sent more data than specified in "Content-Length" header while reading upstream'
    assert not one(message, "warn").events
    assert one(message, "error").events


def test_a_client_that_left():
    message = (
        "epoll_wait() reported that client prematurely closed connection, so upstream connection is closed too while "
        "connecting to upstream"
    )
    assert numbers(one(message, "info"), "client-left") == {"10.0.0.1:80": 1}


@pytest.mark.parametrize(
    ("upstream", "address"),
    [
        ("http://10.0.0.1:80/a:b/c", "10.0.0.1:80"),
        ("https://[2001:db8::1]:443/", "[2001:db8::1]:443"),
        ("http://unix:/run/a.sock:/x:y", "unix:/run/a.sock"),
        ("fastcgi://unix:/run/php/php8.2-fpm.sock:", "unix:/run/php/php8.2-fpm.sock"),
        ("grpcs://shop-backend", "shop-backend"),
        ("http:///", ""),
        ("", ""),
    ],
)
def test_addresses(upstream, address):
    assert numbers(one("no live upstreams while connecting to upstream", upstream=upstream), "no-live") == {address: 1}


def test_a_subrequest_a_stream_and_a_request_without_version():
    refused = "connect() failed (111: Connection refused) while connecting to upstream"
    auth = TAIL + ', subrequest: "/auth"'
    assert one(refused, tail=auth).failures().keys() == {"10.0.0.1:80"}
    old = ', client: 10.0.0.9, server: shop, request: "GET /x"'
    line = f'2026/11/28 10:00:00 [error] 7#7: *1 {refused}{old}, upstream: "http://10.0.0.1:80/x"\n'
    assert parse(line.encode()).failures().keys() == {"10.0.0.1:80"}
    tcp = ', client: 10.0.0.9, server: 0.0.0.0:53, upstream: "10.0.0.1:80", bytes from/to client:0/0'
    assert parse(f"2026/11/28 10:00:00 [error] 7#7: *1 {refused}{tcp}\n".encode()).failures().keys() == {"10.0.0.1:80"}


# ── what clients write ───────────────────────────────────────────────────────────────────────────


def test_what_a_client_says_is_no_server_and_no_zone():
    """Quotes in request, host and referrer stand in the log as they came (measured on 1.22.1)."""
    assert b'referrer: "r", upstream: "http://8.8.8.8/", by zone "evil"' in FIELDS
    tally = parse(FIELDS)
    assert tally.doubtful == 0
    assert tally.failures().keys() == {f"{A}098", f"{A}099"}
    assert numbers(tally, "refused") == {f"{A}098": 1, f"{A}099": 4}
    assert numbers(tally, "no-live") == {"dead": 2}
    assert {hit.zone for hit in tally.limits} == {"one"}


def test_spaces_in_a_request_as_nginx_took_them_before_1_21():
    refused = "connect() failed (111: Connection refused) while connecting to upstream"
    forged = ', client: 10.0.0.9, server: shop, request: "GET /x", upstream: "http://6.6.6.6:80/ HTTP/1.1"'
    assert one(refused, tail=forged).failures().keys() == {"10.0.0.1:80"}


def test_whole_lines_of_a_client_do_not_count():
    """`%0a` in a request for a missing file writes a line of its own (measured on 1.22.1): seven ways to hide it."""
    assert NEWLINES.count(b"2026/11/28 10:00:00 [") >= 10
    tally = parse(NEWLINES)
    assert tally.events == {}
    assert tally.limits == {}
    assert tally.doubtful >= 10


def test_lines_of_a_client_among_others():
    own = b"".join(REAL.splitlines(keepends=True)[8:40])
    tally = parse(own + b'2026/11/28 10:40:00 [error] 7#7: *1 open() "/x\n' + NEWLINES.partition(b"\n")[2] + own)
    assert not any("6.6.6.6" in event.subject for event in tally.events)
    assert tally.lines >= 2 * 32 - 12  # what stands within 2,048 bytes before is lost
    assert tally.first > 1_795_860_000


def test_stack_traces_hide_nothing():
    """PHP writes several lines for each request, with refused connections in between."""
    traces = REAL[REAL.rindex(b"*1 connect() failed") - 45 :]
    traces = traces[traces.index(b"\n2026") + 1 :] if not traces.startswith(b"2026") else traces
    tally = parse(traces)
    assert tally.unread == 12
    assert tally.doubtful == 0
    assert numbers(tally, "refused")[f"{A}099"] == traces.count(b"connect() failed")


def test_a_line_that_nginx_cut_counts_without_its_server():
    (cut,) = (line for line in REAL.splitlines() if len(line) == LONGEST - 1)
    tally = parse(cut + b"\n")
    assert numbers(tally, "no-live") == {"": 1}


# ── anything else ────────────────────────────────────────────────────────────────────────────────


def test_no_error_log():
    assert parse(b"") == ErrorTally(0, 0, 0, 0, None, None, {}, {}, {})
    access = b'1.1.1.1 - - [28/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 2 "-" "-"\n'
    assert parse(access * 3)[:2] == (0, 3)
    assert parse(bytes(range(256)) * 10).lines == 0
    assert parse(b"2026/11/28 10:00:00 [error] 7#7: last line").lines == 1
    assert parse(b"9999/99/99 99:99:99 [error] 7#7: no such day\n").last is not None


def test_the_number_of_names_is_bounded(monkeypatch):
    monkeypatch.setattr("opsdoc.parsers.error_log.MOST_EVENTS", 50)
    data = b"".join(
        f"2026/11/28 10:00:00 [error] 7#7: *1 n{n} could not be resolved (3: Host not found){TAIL}\n"
        f"2026/11/28 10:00:00 [error] 7#7: *1 no live upstreams while connecting to upstream{TAIL}"
        f', upstream: "http://g{n}/"\n'.encode()
        for n in range(200)
    )
    tally = parse(data)
    assert len(tally.events) <= 2 * 51
    assert tally.of("resolver")[REST].times > 100
    assert tally.of("no-live")[REST].times > 100
    assert sum(seen.times for seen in tally.events.values()) == 400


@pytest.mark.parametrize(
    "unit",
    [
        b"\n",
        b", client: ",
        b"2026/11/28 10:00:00 [notice] 1#1: y\n, client: x\n",
        b'2026/11/28 10:00:00 [notice] 1#1: "\n',
        b"2026/11/28 10:00:00 [notice] 1#1: a, client: %0a\n",
        b'2026/11/28 10:00:00 [error] 1#1: *1 FastCGI sent in stderr: "\nx, client: y\n',
        b' HTTP/1.1", subrequest: "',
        b"2026/11/28 10:00:00 [error] 1#1: *1 no live upstreams while connecting to upstream, client: "
        + b' HTTP/1.1", subrequest: "", upstream: "' * 60 + b"\n",
    ],
)  # fmt: skip
def test_time_is_linear(unit):
    def took(size: int) -> float:
        data = unit * (size // len(unit))
        began = time.process_time()
        parse(data)
        return time.process_time() - began

    assert took(2_000_000) < 8 * max(took(500_000), 0.02)


def test_speed():
    lines = REAL * 150
    began = time.process_time()
    parse(lines)
    assert lines.count(b"\n") / (time.process_time() - began) > 50_000  # 230,000 on an idle core


def test_kinds_are_documented():
    kinds = {event.kind for event in parse(REAL).events} - FAILURES
    assert kinds
    assert all(f"`{kind}`" in (Event.__doc__ or "") for kind in kinds)
    assert kind_of(b"error", b"") is None
