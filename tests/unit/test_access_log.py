"""Access logs of a real nginx 1.22.1 become attempts; formats, times, and what a client cannot make us believe."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from opsdoc.model import Malformed
from opsdoc.parsers import tally as tallies
from opsdoc.parsers import timings
from opsdoc.parsers.access_log import BLOCK, blocks, columns
from opsdoc.parsers.attempts import Attempt, Trace, Visit, visits_of
from opsdoc.parsers.log_format import COMBINED, ERROR_LOG_TIME, LogFormat, compile_format
from opsdoc.parsers.tally import Slot, Tally
from opsdoc.parsers.timings import Quantiles

SAMPLES = Path(__file__).parent / "samples" / "nginx_access"
UPSTREAM = (
    ' rt=$request_time ua="$upstream_addr" us="$upstream_status" urt="$upstream_response_time" '
    'uct="$upstream_connect_time" uht="$upstream_header_time" cs=$upstream_cache_status lrs=$limit_req_status '
    "lcs=$limit_conn_status"
)
OPSDOC = COMBINED + UPSTREAM
CUSTOM = (
    "$msec|$upstream_addr|$upstream_status|$request_time|$upstream_response_time $upstream_connect_time "
    '$upstream_header_time "$http_user_agent" $status $limit_req_status $scheme://$host$request_uri'
)
JSON = (
    '{"time":"$time_iso8601","status":$status,"request":"$request","agent":"$http_user_agent",'
    '"request_time":$request_time,"ua":"$upstream_addr","us":"$upstream_status","urt":"$upstream_response_time",'
    '"uct":"$upstream_connect_time","uht":"$upstream_header_time","cs":"$upstream_cache_status",'
    '"lrs":"$limit_req_status"}'
)
FORMATS = {
    "opsdoc": compile_format(OPSDOC),
    "custom": compile_format(CUSTOM),
    "json": compile_format(JSON, "json"),
}
START = 1795865793  # 28 November 2026, 11:36:33 UTC
OK, SLOW, DEAD, DEAD_2 = "127.0.0.1:19001", "127.0.0.1:19005", "127.0.0.1:19003", "127.0.0.1:19004"


def lines_of(name: str) -> bytes:
    return (SAMPLES / f"{name}.log").read_bytes()


def tally_of(data: bytes, fmt: LogFormat = FORMATS["opsdoc"]) -> Tally:
    tally = Tally()
    for block in tallies.read(data, fmt):
        tally.add(block)
    return tally


def line(
    ua: str = OK,
    us: str = "200",
    urt: str = "0.010",
    uct: str = "0.000",
    uht: str = "0.010",
    *,
    status: int = 200,
    at: int = 0,
    agent: str = "curl",
    user: str = "-",
) -> bytes:
    stamp = f"28/Nov/2026:11:{at // 60:02d}:{at % 60:02d} +0000"
    return (
        f'10.0.0.1 - {user} [{stamp}] "GET / HTTP/1.1" {status} 15 "-" "{agent}" rt=0.010 ua="{ua}" us="{us}" '
        f'urt="{urt}" uct="{uct}" uht="{uht}" cs=- lrs=- lcs=-\n'
    ).encode()


def trace(status: int, *visits: list[Attempt]) -> Trace:
    return Trace(tuple(Visit(tuple(attempts)) for attempts in visits), status)


# ── what nginx writes ────────────────────────────────────────────────────────────────────────────

FINE = Attempt(OK, 200)
EXPECTED = Counter(
    {
        trace(200, [FINE]): 6,
        trace(200, [Attempt(DEAD, 502, "refused"), FINE]): 1,
        trace(502, [Attempt(DEAD, 502, "refused"), Attempt(DEAD_2, 502, "refused")]): 1,
        trace(502, [Attempt("all_dead", 502, "no-live")]): 1,
        trace(200, [Attempt(SLOW, 504, "read-timeout"), FINE]): 1,
        trace(200, [Attempt("127.0.0.1:19006", 502, "closed-early"), FINE]): 1,
        trace(503, [Attempt("127.0.0.1:19007", 503, "http-503")]): 1,
        trace(429, [Attempt("127.0.0.1:19008", 429, "http-429")]): 1,
        trace(200, [Attempt("127.0.0.1:19009", 504, "connect-timeout"), FINE]): 1,
        trace(200, [Attempt("unix:/run/app/miss.sock", 502, "refused"), Attempt("unix:/run/app/uok.sock", 200)]): 1,
        trace(502, [Attempt(DEAD, 502, "refused")]): 2,
        trace(502, [Attempt("127.0.0.1:1", 502, "refused")]): 1,
        trace(200, [Attempt("127.0.0.1:19007", 503, "http-503")], [FINE]): 1,
        trace(499, [Attempt("127.0.0.1:19012", None)]): 1,
        trace(200): 1,  # from the cache
        trace(204): 1,
        trace(400): 1,
        trace(429): 1,  # limited
        trace(502): 1,  # its name could not be resolved
    }
)


@pytest.mark.parametrize("name", FORMATS)
def test_traces_of_a_real_log_in_any_format(name: str) -> None:
    tally = tally_of(lines_of(name), FORMATS[name])
    assert dict(tally.traces) == dict(EXPECTED)
    assert (tally.rows, tally.unread, tally.overflow) == (25, 0, 0)
    assert tally.statuses == {200: 13, 502: 6, 429: 2, 503: 1, 499: 1, 204: 1, 400: 1}
    assert tally.limited == {("req", "REJECTED", 429): 1}
    assert tally.cache == ({} if name == "custom" else {"MISS": 1, "HIT": 1})
    assert (int(tally.first or 0), int(tally.last or 0)) == (START, START + 1)
    assert tally.series(OK) == (Slot(START - 3, 11, 0),)
    assert tally.series("all_dead") == ()  # a group is no server
    assert tally.series("127.0.0.1:19012") == ()  # and a client that left is no failure
    assert tally.times(OK) == Quantiles(11, 0.001, 0.003)
    assert tally.times(SLOW).n == 0
    assert tally.connect(SLOW) == timings.Connects(1, 0.0, 1.0)  # it did accept
    assert tally.connect(DEAD).n == 0
    assert tally.header(OK).n == 11
    assert tally.retry_seconds == Quantiles(5, 0.001, 0.701)


def test_an_agent_that_imitates_fields_makes_no_server() -> None:
    for name, fmt in FORMATS.items():
        assert "6.6.6.6" not in str(dict(tally_of(lines_of(name), fmt).traces))
    agent = lines_of("opsdoc").split(b'"')[5]
    assert b"6.6.6.6" in agent
    assert columns(lines_of("opsdoc"), FORMATS["opsdoc"], ["http_user_agent"]).values["http_user_agent"][0] == agent
    said = columns(lines_of("json"), FORMATS["json"], ["http_user_agent"]).values["http_user_agent"][0]
    assert said == json.dumps('x ua="6.6.6.6:80" us="502" \\ \t é rt=0.1 ua=', ensure_ascii=False)[1:-1].encode()


# ── bad lines ────────────────────────────────────────────────────────────────────────────────────


def test_lines_that_are_not_of_the_format_are_counted_and_leave_the_others_alone() -> None:
    good = [line(at=second) for second in range(3000)]
    bad = [b"\n", b'""""""""""""""""\n', b"\xff\0\n", good[0][:90] + b"\n", good[0].replace(b" us=", b" xx="), b'"\n']
    mixed = list(good)
    for number, one in enumerate(bad):
        mixed.insert(number * 400, one)
    tally = tally_of(b"".join(mixed) + good[0][:-30])
    assert (tally.rows, tally.unread) == (3000, len(bad) + 1)
    assert dict(tally.traces) == {trace(200, [FINE]): 3000}


def test_two_bad_lines_do_not_make_a_good_one() -> None:
    whole = line(agent="one") + line("127.0.0.1:2", agent="two")
    halves = whole.replace(b'"one"', b'"on"e"').replace(b'two"', b"two")  # as many quotation marks as before
    assert halves.count(b'"') == whole.count(b'"')
    found = columns(halves, FORMATS["opsdoc"], ["upstream_addr"])
    assert (found.rows, found.unread) == (0, 2)


def test_quotation_marks_of_one_line_are_not_those_of_the_next() -> None:
    fmt = compile_format('$http_a"$http_b"$http_c')
    found = columns(b'a"b"c"d\ne"f\n1"2"3\n', fmt, fmt.variables)
    assert (found.rows, found.unread) == (1, 2)
    assert found.values == {"http_a": [b"1"], "http_b": [b"2"], "http_c": [b"3"]}


def test_another_format_is_unread() -> None:
    found = columns(lines_of("json"), FORMATS["opsdoc"], ["status", "upstream_addr"])
    assert (found.rows, found.unread) == (0, 25)
    assert columns(b"", FORMATS["json"], ["status"]).values == {"status": []}


def test_last_line_may_lack_its_newline() -> None:
    assert columns(line() + line()[:-1], FORMATS["opsdoc"], ["status"]).values == {"status": [b"200", b"200"]}


# ── times ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "written", "at"),
    [
        (COMBINED, b'::1 - x [28/Nov/2026:12:36:33 +0100] "G', START),
        (COMBINED, b'1.2.3.4 - [01/Jan/2000:00:00:00 +0000] [28/Nov/2026:11:36:33 +0000] "GET', START),
        (COMBINED, b'1.2.3.4 - - [31/Feb/2026:11:36:33 +0000] "', None),
        (COMBINED, b"1.2.3.4 - - [28/Nov/2026:11:36:33 +00", None),
        ("$time_iso8601 $status", b"2026-11-28T06:06:33-05:30 2", START),
        ("$status $msec $request_uri", b"200 1795865793.250 /1795865794.000 ", START + 0.25),
        ('"$request" "$time_local"', b'"GET [ ] /" "28/Nov/2026:11:36:33 +0000"\n', START),
        ("$request_uri ${msec}", b"/ 1.000 1795865793.500", START + 0.5),
    ],
)
def test_time_of_a_line(text: str, written: bytes, at: float | None) -> None:
    field = compile_format(text).time
    assert field is not None
    assert field.read(written) == at
    assert type(field)(*json.loads(json.dumps(field))) == field


def test_time_of_json_and_of_no_line() -> None:
    field = compile_format('{"uri":"$request_uri","time":"$time_iso8601"}', "json").time
    assert field is not None
    assert field.read(rb'{"uri":"/\"time\":\"\\","time":"2026-11-28T11:36:33+00:00"}') == START
    assert compile_format("$status").time is None
    assert all(block.slot is None and block.first is None for block in blocks(b"200\n", compile_format("$status")))


def test_error_log_is_in_local_time() -> None:
    written = b"2026/11/28 12:36:33 [error] 1#1: *5 connect() failed"
    assert ERROR_LOG_TIME._replace(offset=3600).read(written) == START
    assert ERROR_LOG_TIME.read(b"2026/13/28 12:36:33 [error]") is None
    assert ERROR_LOG_TIME.read(b" 2026/11/28 12:36:33") is None


def test_ten_seconds_are_told_apart_whatever_the_rate() -> None:
    for per_second in (1, 700):
        data = b"".join(line(at=second) for second in range(200) for _ in range(per_second))
        tally = tally_of(data)
        assert [slot.fine for slot in tally.series(OK)] == [10 * per_second] * 20
        assert tally.series(OK)[1].start - tally.series(OK)[0].start == 10
        assert (tally.last or 0) - (tally.first or 0) == 199


def test_lines_out_of_order_end_in_some_slot() -> None:
    data = b"".join(line(at=100 * (number % 7)) for number in range(2 * BLOCK // len(line())))
    tally = tally_of(data)
    assert sum(slot.fine for slot in tally.series(OK)) == tally.rows == data.count(b"\n")


# ── what the format does not say ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "connect", "header", "cause"),
    [
        (b"502", None, None, "failed-502"),
        (b"502", b"-", None, "refused"),
        (b"502", b"0.000", None, "failed-502"),
        (b"502", None, b"-", "failed-502"),
        (b"502", None, b"0.001", "http-502"),
        (b"504", None, None, "failed-504"),
        (b"504", b"-", None, "connect-timeout"),
        (b"504", b"0.000", b"0.001", "http-504"),
        (b"500", None, None, "http-500"),
        (b"500", b"-", b"-", "other"),
        (b"404", b"0.000", b"-", ""),
        (b"101", None, None, ""),
        (b"xyz", None, None, "other"),
        (b"-", b"-", b"-", ""),
    ],
)
def test_cause_is_only_what_can_be_told(status: bytes, connect: bytes, header: bytes, cause: str) -> None:
    assert visits_of(b"[::1]:80", status, connect, header)[0].attempts[0].cause == cause


def test_last_living_server_dies() -> None:
    attempts = visits_of(b"10.0.0.1:80, grp", b"502, 502", b"-, -", b"-, -", 502)[0].attempts
    assert [attempt.cause for attempt in attempts] == ["refused", "no-live"]


def test_without_upstream_status_the_client_tells_of_the_last_attempt() -> None:
    attempts = visits_of(b"10.0.0.1:80, 10.0.0.2:80", None, None, None, 504)[0].attempts
    assert [attempt.cause for attempt in attempts] == ["other", "failed-504"]
    assert visits_of(b"10.0.0.1:80", None, None, None, 499)[0].attempts[0].given_up


def test_lists_of_different_lengths() -> None:
    attempts = visits_of(b"10.0.0.1:80, 10.0.0.2:80", b"502", b"-", b"-")[0].attempts
    assert [attempt.cause for attempt in attempts] == ["refused", "other"]


def test_log_without_upstreams() -> None:
    fmt = compile_format(COMBINED)
    tally = tally_of(b"".join(one.rsplit(b" rt=", 1)[0] + b"\n" for one in lines_of("opsdoc").splitlines()), fmt)
    assert (tally.rows, tally.unread) == (25, 0)
    assert tally.has("status")
    assert not tally.has("upstream_addr")
    assert tally.servers == ()
    assert tally.statuses[502] == 6


def test_request_time_stands_in_for_the_missing_response_time() -> None:
    fmt = compile_format("$status $upstream_addr $request_time")
    tally = tally_of(b"200 10.0.0.1:80 0.030\n502 10.0.0.1:80 0.100\n200 10.0.0.1:80, 10.0.0.2:80 0.500\n", fmt)
    assert tally.times("10.0.0.1:80") == Quantiles(1, 0.03, 0.03)


# ── what a client cannot do, and where it can ────────────────────────────────────────────────────


def test_a_client_between_fields_without_quotes() -> None:
    fmt = compile_format("$remote_addr $http_user_agent $status $upstream_addr $upstream_status")
    assert fmt.forgeable == ()
    found = columns(b"1.1.1.1 x 200 6.6.6.6:80 502 500 10.0.0.1:80, 10.0.0.2:80 502, 200\n", fmt, ["upstream_addr"])
    assert found.values["upstream_addr"] == [b"10.0.0.1:80, 10.0.0.2:80"]


def test_what_a_client_can_imitate_is_said() -> None:
    assert compile_format("$http_referer $status $upstream_addr $http_user_agent").forgeable == (
        "status",
        "upstream_addr",
    )
    assert compile_format('"$request" $status "$http_user_agent"', "none").forgeable
    assert not compile_format('"$status" $upstream_addr', "none").forgeable
    assert not FORMATS["opsdoc"].forgeable


def test_logged_escapes_of_json_do_not_move_columns() -> None:
    fmt = compile_format('{"a":"$http_x","b":"$upstream_addr"}', "json")
    data = b'{"a":"x\\",\\"b\\":\\"6.6.6.6:80","b":"1"}\n{"a":"\\\\","b":"2"}\n{"a":"\x01","b":"3"}\n{"a":"","b":""}\n'
    found = columns(data, fmt, ["http_x", "upstream_addr"])
    assert found.values["upstream_addr"] == [b"1", b"2", b""]
    assert found.values["http_x"][1] == b"\\\\"
    assert found.unread == 1


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────


def test_distinct_things_are_capped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MOST_SERVERS", 10)
    monkeypatch.setattr(tallies, "MOST_TRACES", 20)
    monkeypatch.setattr(timings, "MOST_BINS", 30)
    tally = tally_of(b"".join(line(f"10.0.0.{number}:80") for number in range(100)))
    assert len(tally.servers) == 10
    assert len(tally.traces) == 20
    assert sum(tally.traces.values()) + 80 == tally.rows
    assert tally.overflow == 80 + 90 + 3 * (100 - 30)


def test_a_list_without_end_is_cut() -> None:
    visits = visits_of(b" : ".join([b"1.1.1.1:80, " * 50 + b"x" * 1000] * 50), b"502")
    assert sum(len(visit.attempts) for visit in visits) == 64
    assert max(len(attempt.address) for visit in visits for attempt in visit.attempts) <= 256


def test_times_beyond_the_first_lines_are_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timings, "ALL_TIMED", 1000)
    monkeypatch.setattr(timings, "ONE_IN", 8)
    data = b"".join(line(urt=f"0.{number % 500:03d}", at=number // 400 % 3600) for number in range(60_000))
    times = tally_of(data).times(OK)
    assert 1000 < times.n < 20_000
    assert times.p50 == pytest.approx(0.25, abs=0.05)
    assert times.p95 == pytest.approx(0.475, abs=0.02)


def test_long_times_have_three_digits() -> None:
    data = line(urt="12.345") + line(urt="0.999") + line(urt="1.004")
    assert tally_of(data).times(OK) == Quantiles(3, 1.0, 12.3)


# ── formats ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["", "no variable", "a $ b $status", "$status\n", "$status" * 3000, "${}"])
def test_what_is_no_format(text: str) -> None:
    with pytest.raises(Malformed):
        compile_format(text)
    with pytest.raises(Malformed):
        compile_format("$status", "yes")


def test_format_keeps_its_parts() -> None:
    fmt = FORMATS["opsdoc"]
    assert fmt.variables[:3] == ("remote_addr", "remote_user", "time_local")
    assert fmt.quoted
    assert not compile_format("$status").quoted
    with pytest.raises(KeyError):
        _ = columns(line(), fmt, ["no_such"]).values["no_such"]
