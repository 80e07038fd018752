"""Servers behind nginx: each way to fail is named as itself, and nothing is green that nobody looked at."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from opsdoc.model import Severity, Unknown
from opsdoc.signals import upstream_cause
from opsdoc.signals.amounts import duration, listed, percent
from opsdoc.signals.balance import deviations, medians_of_others
from opsdoc.signals.nginx_workers import Nginx
from opsdoc.signals.peers import UpstreamGroup, UpstreamServer, standing, state_of
from opsdoc.signals.proxying import ProxyPass
from opsdoc.signals.upstream import Limits, judge

SIGNALS = Path(upstream_cause.__file__).parent
OTHERS = ("untried", "proxying", "rate_limit", "access_log", "nginx_workers")
A, B, C = "10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080"


def server(address=A, attempts=1000, failures=None, **more):
    given = {
        "id": f"s-{address}",
        "subject": f"backend {address}",
        "group": "backend",
        "server": address,
        "attempts": attempts,
        "failures": failures or {},
        "probed": "connects",
        "masked_retries": 0,
        "last_success": 0.1,
        "window": 600.0,
        **more,
    }
    return UpstreamServer(**given)


def dead(address=B, attempts=60, cause="refused", probed="refused", **more):
    ago = {"last_failure": 4.0, "last_success": None, "masked_retries": attempts}
    return server(address, attempts, {cause: attempts}, probed=probed, **{**ago, **more})


def group(requests=2000, lost=0, servers=2, **more):
    share = lost / requests if isinstance(requests, int) and requests else None
    given = {
        "id": "g",
        "subject": "backend",
        "requests": requests,
        "lost": lost,
        "error_share": share,
        "masked": 0,
        "no_live": 0,
        "server_count": servers,
        "primaries": servers,
        "workers": 4,
        "access_log": "/var/log/nginx/access.log",
        "error_log": "/var/log/nginx/error.log",
        **more,
    }
    return UpstreamGroup(**given)


def passing(**more):
    given = {"id": "p", "subject": "shop.example /api → backend", "group": "backend", "place": "nginx.conf:31"}
    return ProxyPass(**{**given, **more})


def judged(*observations, **limits):
    return list(judge(list(observations), [], Limits()._replace(**limits)))


def bad(*observations):
    return [finding for finding in judged(*observations) if finding.severity is not Severity.OK]


def only(*observations):
    (found,) = bad(*observations)
    return found


# ── a dead server ────────────────────────────────────────────────────────────────────────────────


def test_a_dead_server_of_two_is_a_warning_with_cause_evidence_and_what_nginx_does():
    found = only(group(), server(), dead())
    assert (found.rule, found.severity, found.key) == (
        "upstream.down",
        Severity.WARNING,
        f"upstream.down:backend/{B}",
    )
    assert found.summary == (
        "10.0.0.12:8080 of backend refuses connections: 60 of 60 attempts failed, refuses now; each of 4 workers takes "
        "it out by itself (no zone): up to 4 attempts fail every 10 s"
    )
    assert found.confidence == "60 of 60 attempts, the probe agrees"
    assert found.evidence == (f"s-{B}", "g")
    assert (found.threshold.name, found.threshold.value) == ("upstream.failing_share", 1.0)
    assert "nothing listens there" in found.next_step
    assert found.by_hand == (
        f"curl -sv --max-time 2 -o /dev/null http://{B}/",
        f"tail -n 10000 /var/log/nginx/access.log | grep -F {B} | tail -n 20",
        f"tail -n 10000 /var/log/nginx/error.log | grep -F {B} | tail -n 5",
    )


def test_it_is_critical_once_clients_lose_requests_or_nothing_else_serves():
    found = only(group(lost=60), server(), dead(masked_retries=0))
    assert found.severity is Severity.CRITICAL
    assert (found.threshold.name, found.threshold.value) == ("upstream.lost_share", 0.03)
    assert only(group(lost=1), server(), dead(masked_retries=59)).severity is Severity.WARNING
    off = server(A, 0, state="off", probed=None)
    assert only(group(), off, dead()).rule == "upstream.all-down"


@pytest.mark.parametrize(
    ("cause", "probed", "words", "step", "command"),
    [
        ("socket-missing", "socket missing", "has no socket", "start what should listen", "ls -l /run/b.sock"),
        ("connect-timeout", "no answer", "does not accept connections in time", "firewall", "ss -tn state syn-sent"),
        ("unreachable", "no route", "has no route to it", "route", "ip route get 10.0.0.12"),
        ("read-timeout", "connects", "accepts, but does not answer in time", "requests wait for", "curl"),
        ("closed-early", "connects", "closes the connection before it answers", "keep-alive timeout", "curl"),
        ("reset", "reset", "resets connections", "accept queue", "curl"),
        ("tls", "tls failed", "fails the TLS handshake", "proxy_ssl_server_name", "openssl s_client"),
        ("invalid", "connects", "answers with what is no valid response", "proxy_buffer_size", "curl"),
    ],
)
def test_each_cause_has_its_own_words_next_step_and_commands(cause, probed, words, step, command):
    address = "unix:/run/b.sock" if cause == "socket-missing" else B
    found = only(group(), server(), dead(address, cause=cause, probed=probed))
    assert found.rule == "upstream.down"
    assert f"{address} of backend {words}: 60 of 60" in found.summary
    assert step in found.next_step
    assert any(line.startswith(command) for line in found.by_hand)


def test_the_error_log_names_the_reason_why_it_could_not_connect():
    found = only(group(), server(), dead(cause="refused", probed=None, error_log={"unreachable": 60}))
    assert "has no route to it" in found.summary


@pytest.mark.parametrize(
    ("cause", "probed", "words", "command"),
    [
        ("queue-full", "queue full", "has a full accept queue: 60 of 60", "ss -lx"),
        ("not-permitted", "connects", "does not let nginx connect: 60 of 60", "namei -l /run/b.sock"),
    ],
)
def test_what_only_the_error_log_tells_of_a_socket(cause, probed, words, command):
    found = only(group(), server(), dead("unix:/run/b.sock", probed=probed, error_log={cause: 60}))
    assert found.rule == "upstream.down"
    assert words in found.summary
    assert any(line.startswith(command) for line in found.by_hand)


@pytest.mark.parametrize(
    ("probed", "now"),
    [
        ("tls ok", "fine"),
        ("http 204", "fine"),
        ("http 429", "erring"),
        ("http 502", "erring"),
        ("not http", "erring"),
        ("closed early", "erring"),
        ("queue full", "dead"),
        ("not permitted", "unclear"),
        ("no local port", "unclear"),
        ("skipped", "unclear"),
        ("http x", "unclear"),
        (Unknown("no"), "unclear"),
        (None, "unclear"),
    ],
)
def test_how_a_server_stands_by_the_probe(probed, now):
    assert server(probed=probed).now == now


def test_a_probe_alone_finds_a_server_that_no_request_tried():
    found = only(group(), server(), server(B, 0, probed="refused", last_success=None))
    assert found.severity is Severity.WARNING
    assert "refuses connections: no request tried it in this time, refuses now" in found.summary
    assert found.confidence == "no attempt in the log, one connection tried now"


def test_few_attempts_say_so_and_the_probe_decides():
    found = only(group(requests=3), server(attempts=1), dead(attempts=2))
    assert found.confidence == "2 of 2 attempts, the probe agrees"
    assert not bad(group(), server(), server(B, 10, {"read-timeout": 1}, last_failure=1.0))


def test_a_probe_that_an_answer_contradicts_is_told_as_a_disagreement():
    found = only(group(), server(), server(B, probed="refused", last_success=0.4))
    assert (found.rule, found.severity) == ("upstream.down", Severity.WARNING)
    assert "refuses now, though nginx had an answer from it 400 ms before the end of the log" in found.summary
    assert found.confidence == "the probe and the log disagree"


# ── whether nginx takes it out ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("of_group", "of_server", "words"),
    [
        ({"zone": "z"}, {}, "nginx takes it out for 10 s after 1 failed attempt, all workers together (zone z)"),
        ({"workers": 1}, {"max_fails": 3}, "nginx takes it out for 10 s after 3 failed attempts"),
        ({"workers": 8}, {"max_fails": 3}, "8 workers takes it out by itself (no zone): up to 24 attempts fail every"),
        ({"workers": None}, {"fail_timeout": 30.0}, "each worker takes it out by itself, for 30 s after 1 failed"),
        ({}, {"max_fails": 0, "place": "up.conf:7"}, "nginx never takes it out: max_fails=0 (up.conf:7)"),
    ],
)
def test_ejection_is_by_worker_zone_and_max_fails(of_group, of_server, words):
    assert words in only(group(**of_group), server(), dead(**of_server)).summary


def test_a_server_that_answers_503_is_not_taken_out_and_the_line_is_named():
    sick = server(B, 1000, {"http-503": 1000}, share=0.5, counted=False, last_success=None, last_failure=0.2)
    line = passing(next_upstream_place="/etc/nginx/nginx.conf:31")
    found = only(group(lost=1000), server(), sick, line)
    assert (found.rule, found.severity) == ("upstream.errors", Severity.CRITICAL)
    assert found.summary == (
        "10.0.0.12:8080 of backend answers 503: 1,000 of 1,000 attempts, connects now and has 50 % of the requests; "
        "nginx will not take it out: proxy_next_upstream lacks http_503 (/etc/nginx/nginx.conf:31)"
    )
    assert "add http_503" in found.next_step
    assert found.evidence == (f"s-{B}", "g", "p")
    listed_there = passing(next_upstream=("error", "timeout", "http_503"))
    assert "takes it out" in only(group(lost=1000), server(), sick, listed_there).summary
    unwritten = only(group(lost=1000), server(), sick, passing(module="fastcgi"))
    assert "fastcgi_next_upstream lacks http_503 (it is not written; nginx.conf:31)" in unwritten.summary


def test_servers_that_fail_alike_are_one_finding_about_what_they_share():
    sick = [server(address, 400, {"http-500": 50}, last_failure=0.2) for address in (A, B, C)]
    found = only(group(requests=1200, lost=150, servers=3), *sick)
    assert (found.rule, found.severity, found.subject) == ("upstream.errors", Severity.CRITICAL, "backend")
    assert "all 3 servers of backend answer 500, about equally often: 150 of 1,200 attempts failed" in found.summary
    uneven = [sick[0], sick[1], server(C, 400, {"http-500": 300}, last_failure=0.2)]
    assert len([f for f in bad(group(lost=0), *uneven) if f.rule == "upstream.errors"]) == 3


def test_timeouts_are_told_with_how_long_clients_wait():
    found = only(group(), server(), server(B, 400, {"read-timeout": 60}, last_failure=1.0), passing(read_timeout=5.0))
    assert found.rule == "upstream.timeouts"
    assert "accepts, but does not answer in time (5 s): 60 of 400 attempts failed, connects now" in found.summary


def test_what_fails_now_and_then_is_failing():
    found = only(group(), server(), server(B, 400, {"closed-early": 40}, last_failure=1.0))
    assert (found.rule, found.threshold.value) == ("upstream.failing", 0.1)


# ── all of them ──────────────────────────────────────────────────────────────────────────────────


def test_all_down_is_one_finding_by_cause():
    down = [dead(A), dead(B), dead(C, cause="connect-timeout", probed="no answer")]
    found = only(group(lost=900, servers=3, no_live=43), *down)
    assert (found.rule, found.severity, found.key) == (
        "upstream.all-down",
        Severity.CRITICAL,
        "upstream.all-down:backend",
    )
    assert found.summary == (
        f"all 3 servers of backend are down: {A} and {B} refuse connections; {C} does not accept connections in time; "
        "43 requests got 502 at once (no live upstreams)"
    )
    assert found.evidence == ("g", f"s-{A}", f"s-{B}", f"s-{C}")


def test_the_only_server_of_a_group_is_never_taken_out():
    found = only(group(requests=4, lost=4, servers=1), dead(A, 4))
    assert (found.rule, found.severity) == ("upstream.single", Severity.CRITICAL)
    assert found.summary == (
        f"{A}, the only server of backend, refuses connections: 4 of 4 attempts failed, refuses now; every request "
        "gets 502, and nginx never takes it out: max_fails does not apply to the only server of a group"
    )
    slow = only(group(servers=1, lost=60), dead(A, cause="read-timeout", probed="connects"), passing(read_timeout=30.0))
    assert "every request waits 30 s for a 504" in slow.summary
    implicit = group(subject=A, servers=1, implicit=True)
    found = only(implicit, dead(A, 4, group=A), passing(group=A))
    assert found.summary.startswith(f"{A}, the only server behind shop.example /api → backend, refuses")


def test_servers_that_answer_nothing_but_errors_fail_and_are_not_called_down():
    sick = [dead(address, 400, cause="http-503", probed="connects", masked_retries=0) for address in (A, B)]
    assert only(group(lost=800), *sick).summary.startswith(f"both servers of backend fail: {A} and {B} answer 503")
    assert "answers 503: 400 of 400 attempts failed, connects now; every request gets 503, and" in (
        only(group(servers=1, lost=400), sick[0]).summary
    )


def test_a_single_name_with_two_addresses_is_no_single_server():
    name = dead("app:8080", addresses=("10.0.0.1", "10.0.0.2"))
    assert only(group(servers=1), name).rule == "upstream.all-down"


def test_no_live_upstreams_are_critical_even_when_all_is_well_again():
    well = [server(a, 400, {"http-503": 4}, last_failure=60.0) for a in (A, B)]
    found = only(group(no_live=7, lost=7), *well)
    assert (found.rule, found.severity) == ("upstream.all-down", Severity.CRITICAL)
    assert "had no server of backend left to try: 7 requests got 502 at once" in found.summary
    assert "now 2 of 2 may serve" in found.summary
    assert found.threshold.name == "upstream.no_live"


# ── over time ────────────────────────────────────────────────────────────────────────────────────


def test_what_refused_until_minutes_ago_and_connects_now_has_recovered():
    back = server(B, 500, {"refused": 40}, last_failure=180.0, last_success=0.2, masked_retries=40)
    (found,) = [f for f in judged(group(), server(), back) if f.rule == "upstream.recovered"]
    assert found.severity is Severity.OK
    assert found.summary == (
        f"{B} of backend refused connections until 3 min before the end of the log (40 of 500 attempts) and connects "
        "now: recovered"
    )


def test_a_recovery_that_no_answer_confirms_is_a_warning():
    found = only(group(), server(), dead(probed="connects", last_failure=2.0))
    assert (found.rule, found.severity) == ("upstream.recovered", Severity.WARNING)
    assert "nginx cannot reach it as opsdoc can" in found.summary


def test_a_connection_does_not_prove_that_a_hanging_server_recovered():
    assert only(group(), server(), dead(cause="read-timeout", probed="connects")).rule == "upstream.down"


def test_a_silence_that_may_be_chance_is_no_recovery():
    rare = server(B, 20, {"http-500": 10}, last_failure=60.0, last_success=30.0)
    assert standing(rare) == "failing"
    assert standing(rare.replaced(last_failure=300.0)) == "recovered"


def test_flapping_is_three_changes():
    flaps = server(B, 300, {"closed-early": 150}, transitions=4, last_failure=1.0)
    found = only(group(), server(), flaps)
    assert found.rule == "upstream.flapping"
    assert "comes and goes: 4 changes between failing and fine in 10 min" in found.summary
    assert only(group(), server(), flaps.replaced(transitions=2)).rule == "upstream.failing"


# ── odd traffic ──────────────────────────────────────────────────────────────────────────────────


def test_failures_that_clients_do_not_see_have_a_price_and_a_culprit():
    sick = server(B, 1000, {"connect-timeout": 40}, masked_retries=40, last_failure=1.0)
    found = only(group(masked=42, retry_seconds=0.501), server(masked_retries=2), sick)
    assert (found.rule, found.threshold.value) == ("upstream.masked", 0.021)
    assert found.summary == (
        "clients of backend saw success, but 2.1 % of the requests (42 of 2,000) needed another server, which costs "
        f"501 ms each (median); {B} causes 95 % of them: it does not accept connections in time"
    )


def test_slow_is_three_times_the_median_of_the_siblings():
    peers = [server(A, p95=0.12), server(B, p95=1.6, header_p95=1.5), server(C, p95=0.14)]
    found = only(group(servers=3), *peers)
    assert (found.rule, found.severity) == ("upstream.slow", Severity.WARNING)
    assert found.summary.startswith(
        f"{B} of backend is slow: one request in 20 takes over 1.6 s, 12 times the 130 ms of its 2 siblings"
    )
    assert "it is the program: the first byte takes 1.5 s" in found.summary
    assert found.threshold.value == pytest.approx(1.6 / 0.13)
    assert not bad(group(servers=2), server(A, p95=0.004), server(B, p95=0.04))
    assert not bad(group(servers=2), server(A, p95=0.1), server(B, attempts=19, p95=1.6))
    assert not bad(group(servers=1), server(A, p95=9.0))


def test_a_backup_that_serves_is_told_with_the_primaries_that_are_out():
    backup = server(C, 1900, backup=True)
    found = bad(group(backup_attempts=1900, servers=2, primaries=1), dead(A), backup)
    assert [f.rule for f in found] == ["upstream.down", "upstream.backup"]
    assert f"{C} had 1,900 of 1,960 attempts; of the primaries {A} refuses connections" in found[1].summary
    assert not bad(group(backup_attempts=4), server(A, 3000), server(C, 4, backup=True))


def test_parts_are_judged_by_weight_on_first_attempts():
    even = [server(A, first_attempts=750, weight=3), server(B, first_attempts=250)]
    assert not bad(group(), *even)
    uneven = [server(A, first_attempts=500, weight=3), server(B, first_attempts=500)]
    found = only(group(), *uneven)
    assert (found.rule, found.threshold.value) == ("upstream.unbalanced", 1.0)
    assert f"{B} has 50 % of the requests, by its weight 25 %" in found.summary
    assert not bad(group(), *(s.replaced(first_attempts=200) for s in uneven))  # too few
    assert not bad(group(), uneven[0].replaced(shared_with=("other",)), uneven[1])
    assert [f.rule for f in bad(group(), uneven[0], uneven[1], dead(C))] == ["upstream.down"]


def test_a_hash_is_uneven_by_design_and_other_methods_only_when_extreme():
    uneven = [server(A, first_attempts=900), server(B, first_attempts=100)]
    (found,) = [f for f in judged(group(method="hash", key="$uri"), *uneven) if f.rule == "upstream.unbalanced"]
    assert found.severity is Severity.OK
    assert "the busiest of 2 servers has 90 %, for all requests with the same $uri go to one" in found.summary
    assert not bad(group(method="least_conn"), *uneven)
    starved = [server(A, first_attempts=990), server(B, first_attempts=10)]
    assert only(group(method="least_conn"), *starved).rule == "upstream.unbalanced"


def test_what_an_error_page_or_a_cache_makes_good_is_no_outage():
    failing = dead(A, 40, "http-503", "connects", masked_retries=0)
    found = only(group(40, servers=1), failing)
    assert (found.rule, found.severity) == ("upstream.single", Severity.WARNING)
    assert "clients are answered elsewhere" in found.summary
    both = only(group(80), failing, dead(B, 40, "http-503", "connects", masked_retries=0))
    assert (both.rule, both.severity) == ("upstream.all-down", Severity.WARNING)
    assert "clients are answered elsewhere" in both.summary


def test_answers_that_break_off_are_no_reason_for_nginx_to_take_it_out():
    found = only(group(), server(), server(B, 100, {"cut-short": 90}, counted=False))
    assert (found.rule, found.severity) == ("upstream.failing", Severity.CRITICAL)
    assert "breaks off its answers in the middle: 90 of 100 attempts failed" in found.summary
    assert found.summary.endswith("nginx will not take it out: the answer has begun, and counts as a success")


def test_a_name_that_means_another_address_now_explains_what_is_down():
    gone = dead("app.internal:8080", stale=("10.0.0.9",), addresses=("10.0.0.12",))
    found = bad(group(60, lost=60, servers=1), gone)
    assert [(f.rule, f.severity.word) for f in found] == [
        ("upstream.single", "critical"),
        ("upstream.stale-name", "critical"),
    ]
    assert "still sends requests for app.internal to 10.0.0.9, now it is 10.0.0.12" in found[1].summary
    assert upstream_cause.PRECEDENCE.index("upstream.stale-name") < upstream_cause.PRECEDENCE.index("upstream.single")


def test_a_name_that_is_gone_is_a_warning_while_nginx_serves():
    found = only(group(servers=1), server("app.internal:8080", probed="name unknown"))
    assert (found.rule, found.severity) == ("upstream.stale-name", Severity.WARNING)
    assert "cannot be reloaded or started" in found.summary


def test_losses_that_no_server_explains_are_told_as_such():
    thin = [server(a, 1000, {"http-500": 20}, last_failure=0.5) for a in (A, B)]
    found = only(group(lost=40, statuses={"200": 1960, "500": 40}), *thin)
    assert (found.rule, found.severity) == ("upstream.lost", Severity.CRITICAL)
    assert "clients of backend lost 2.0 % of their requests: 40 of 2,000 (40 got 500)" in found.summary
    assert not bad(group(lost=2, requests=1000), *thin)


# ── fine, or unknown ─────────────────────────────────────────────────────────────────────────────


def test_one_sentence_says_what_was_looked_at():
    (found,) = judged(group(), server(), server(B, 48000, {"closed-early": 9}))
    assert (found.rule, found.severity) == ("upstream.fine", Severity.OK)
    assert found.summary == "2 servers in 1 group: 49,000 attempts, 0.02 % failed, all connect"


def test_others_are_counted_beside_what_is_wrong():
    other = group(subject="images", id="h")
    found = judged(group(), server(), dead(), other, server(C, 5, group="images"))
    assert found[-1].summary == "the other server, 10.0.0.13:8080: 5 attempts, 0 % failed, it connects"


def test_a_configuration_that_passes_nothing_on_is_said_to():
    (found,) = judged(Nginx(id="n", subject="nginx"))
    assert (found.rule, found.severity) == ("upstream.none", Severity.OK)
    assert judged(Nginx(id="n", subject="nginx", config_read=False)) == []
    assert judged() == []


@pytest.mark.parametrize(("said", "state"), [("unavail", "failing"), ("unavailable", "failing"), ("up", "idle")])
def test_what_a_status_page_says_is_further_evidence(said, state):
    one = server(A, 0, said=said)
    assert state_of(one) == state
    found = bad(group(), one, server(B))
    assert [f.rule for f in found] == (["upstream.failing"] if state == "failing" else [])
    assert all(f"its status page has it as {said}" in f.summary for f in found)


def test_servers_of_logs_alone_have_no_group_that_anybody_knows():
    unlisted = group(60, servers=1, subject="(no group)", method="unknown")
    found = only(unlisted, dead(A, group="(no group)"))
    assert (found.rule, found.severity) == ("upstream.down", Severity.CRITICAL)
    assert found.summary.startswith("10.0.0.11:8080 refuses connections: 60 of 60 attempts failed")
    assert found.summary.endswith("whether nginx takes it out is written in its configuration")


def test_without_log_and_probe_it_is_unknown_and_never_green():
    blind = server(A, Unknown("format combined has no $upstream_addr"), probed=Unknown("over 64 targets"))
    unread = group(requests=Unknown("format combined has no $upstream_addr"))
    (found,) = judged(unread, blind)
    assert (found.rule, found.severity) == ("upstream.unknown", Severity.UNKNOWN)
    assert "backend serves: format combined has no $upstream_addr; over 64 targets" in found.summary
    (found,) = judged(unread, blind.replaced(probed="connects"))
    assert found.summary == "1 server in 1 group: no log tells of their attempts, it connects"
    (found,) = judged(group(requests=0), server(A, 0, probed=None))
    assert found.rule == "upstream.unknown"


def test_idle_and_unprobed_beside_a_log_that_tells_is_no_blind_spot():
    idle = [group(subject="rare", id="h", requests=0), server(C, 0, group="rare", probed=None)]
    (found,) = judged(group(), server(), *idle)
    assert found.summary == "2 servers in 2 groups: 1,000 attempts, 0 % failed, 1 connect, 1 not probed"


def test_the_error_log_alone_tells_of_failures():
    poor = {"attempts": Unknown("no fields"), "failures": Unknown("no fields"), "last_success": None}
    found = only(group(requests=Unknown("no fields")), server(), server(B, error_log={"read-timeout": 41}, **poor))
    assert found.rule == "upstream.timeouts"
    assert found.confidence == "41 lines of the error log, it connects now"


def test_many_alike_are_summed_up():
    many = [
        item
        for n in range(50)
        for item in (
            group(subject=f"g{n}", id=f"g{n}", servers=1),
            dead(f"10.0.1.{n}:80", cause="connect-timeout", probed="no answer", group=f"g{n}"),
        )
    ]
    found = bad(*many)
    assert len(found) == 11
    assert found[-1].subject == "40 more"
    assert found[-1].summary.startswith("40 more of the same (upstream.single): 10.0.1.10:80 of g10, ")


def test_thousands_of_servers_are_judged_in_no_time():
    crowd = [dead(f"10.1.{n // 250}.{n % 250}:80", p95=0.1) for n in range(4999)]
    found = bad(group(servers=5000), server(A), *crowd)
    assert len(found) == 11


def test_hostile_names_are_quoted_in_commands():
    found = only(group(), server(), dead("unix:/tmp/a;rm -rf $HOME"))
    assert "ls -l '/tmp/a;rm -rf $HOME'" in found.by_hand
    assert all(";rm" not in line.replace("'/tmp/a;rm -rf $HOME'", "").replace("'unix:/tmp/a;rm -rf $HOME'", "")
               for line in found.by_hand)  # fmt: skip


def test_limits_move_the_verdict():
    limit = Limits().failing_share._replace(warn=0.5)
    assert all(
        f.severity is Severity.OK
        for f in judged(group(), server(), server(B, 400, {"reset": 40}, last_failure=1.0), failing_share=limit)
    )


@pytest.mark.parametrize(
    ("made", "state"),
    [
        (server(), "up"),
        (dead(), "down"),
        (server(A, 0), "idle"),
        (server(A, 0, probed=None), "unknown"),
        (server(A, 0, state="off"), "off"),
        (dead(A, 40, "http-503", "connects"), "failing"),
        (server(A, 0, probed="http 503"), "failing"),
        (server(A, 0, probed="http 404"), "idle"),
        (server(A, probed="refused"), "failing"),
        (dead(probed="connects", last_failure=60.0), "up"),
        (server(A, 100, {"reset": 50}, transitions=3), "flapping"),
    ],
)
def test_the_state_of_a_server(made, state):
    assert state_of(made) == state


# ── words, numbers and the table ─────────────────────────────────────────────────────────────────


def test_amounts_are_said_as_people_say_them():
    assert [percent(v) for v in (0, 0.0002, 0.042, 0.38, 0.9999, 1)] == [
        "0 %", "0.02 %", "4.2 %", "38 %", "over 99 %", "100 %",
    ]  # fmt: skip
    assert [duration(v) for v in (0.501, 1.6, 60, 180, 7200)] == ["501 ms", "1.6 s", "60 s", "3 min", "2 h"]
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert (listed([]), listed(["a"]), listed(["a", "b"])) == ("", "a", "a and b")


def test_statistics():
    one, two = deviations([600, 400], [1, 1])
    assert (one.share, one.expected, round(one.sigma, 2), round(one.relative, 2)) == (0.6, 0.5, 6.32, 0.2)
    assert two.sigma == -one.sigma
    assert deviations([], []) == deviations([0], [1]) == []
    assert medians_of_others([3.0, 1.0, 2.0]) == [1.5, 2.5, 2.0]
    assert medians_of_others([1.0, 5.0]) == [5.0, 1.0]
    assert medians_of_others([1.0]) == [0.0]


def test_the_table_of_precedence_has_every_rule_once():
    files = [*SIGNALS.glob("upstream*.py"), *(SIGNALS / f"{name}.py" for name in OTHERS)]
    texts = [
        node.value
        for path in files
        if path.name != "upstream_cause.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    rules = {
        t for t in texts if re.fullmatch(r"(?:upstream|untried|proxying|limit|workers|log)\.[a-z]+(?:-[a-z]+)*", t)
    }
    named = {f"upstream.{name}" for name in Limits._fields} | {"proxying.connecting", "untried.share"}
    assert rules - named == set(upstream_cause.PRECEDENCE)
    assert len(upstream_cause.PRECEDENCE) == len(set(upstream_cause.PRECEDENCE))
