"""Settings of proxy_pass: keepalive by version and by evidence, and retries that cost more than they give."""

from __future__ import annotations

import pytest

from opsdoc.model import Severity, Unknown
from opsdoc.signals.keepalive import keepalive_of
from opsdoc.signals.peers import UpstreamGroup, UpstreamServer
from opsdoc.signals.proxying import Limits, ProxyPass, judge

OLD, NEW = (1, 22, 1), (1, 29, 7)


def passing(**more):
    given = {
        "id": "p1",
        "subject": "shop.example /api → backend",
        "group": "backend",
        "keepalive": "on",
        "place": "/etc/nginx/nginx.conf:31",
    }
    return ProxyPass(**{**given, **more})


def off(**more):
    return passing(**{"keepalive": "off", "keepalive_why": "no keepalive in the upstream block", **more})


def struck(cause, times):
    return UpstreamServer(
        id="s1", subject="backend a", group="backend", server="a:80", failures={cause: times}, masked_retries=times
    )


def judged(*observations):
    return {finding.rule: finding for finding in judge(list(observations), [], Limits())}


# ── keepalive by version ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("version", "group", "explicit", "http", "connection", "state", "why"),
    [
        (OLD, None, True, None, None, "off", "no keepalive in the upstream block"),
        (OLD, 16, True, None, None, "off", "proxy_http_version is 1.0, the default before 1.29.7"),
        (OLD, 16, True, "1.1", None, "off", "close is sent, the default before 1.29.7"),
        (OLD, 16, True, "1.1", "", "on", "written"),
        (OLD, 16, True, "1.1", "upgrade", "on", "written"),
        (OLD, 16, True, "1.1", "Close", "off", "sends Connection: close"),
        (OLD, None, False, "1.1", "", "off", "needs an upstream block"),
        ((1, 29, 6), 16, True, None, "", "off", "the default before 1.29.7"),
        (NEW, None, True, None, None, "on", "the default"),
        (NEW, 0, True, None, None, "off", "keepalive 0 is written"),
        (NEW, None, True, "1.0", None, "off", "proxy_http_version is 1.0"),
        (NEW, None, True, None, "close", "off", "sends Connection: close"),
        (NEW, None, False, None, None, "off", "needs an upstream block"),
        ((1, 31, 0), None, True, None, None, "on", "the default"),
        (None, 16, True, "1.1", "", "on", "written"),
        (None, None, False, None, None, "off", "needs an upstream block"),
    ],
)
def test_keepalive_is_by_version(version, group, explicit, http, connection, state, why):
    found = keepalive_of(version, group, explicit, http, connection, None)
    assert found.state == state
    assert why in found.why


def test_a_header_at_an_inner_level_that_drops_it_is_named():
    state, why, place = keepalive_of(OLD, 16, True, "1.1", None, "site.conf:12")
    assert (state, place) == ("off", "site.conf:12")
    assert why == 'the proxy_set_header at site.conf:12 drops the Connection "" of the level above it'
    assert keepalive_of(NEW, 16, True, "1.1", None, "site.conf:12").state == "on"  # nothing is sent by default


def test_what_depends_on_an_unknown_version_or_a_variable_is_unknown():
    found = keepalive_of(None, None, True, None, None, None)
    assert found.state == Unknown("the version of nginx is not known")
    assert found.why == "on from 1.29.7 on, before it no keepalive in the upstream block"
    found = keepalive_of(OLD, 16, True, "1.1", "$connection_upgrade", None)
    assert isinstance(found.state, Unknown)
    assert "$connection_upgrade" in found.why


@pytest.mark.parametrize(
    ("module", "group", "state"),
    [("uwsgi", 16, "off"), ("scgi", 16, "off"), ("grpc", 16, "on"), ("memcached", 16, "on"), ("grpc", None, "off")],
)
def test_other_modules_have_rules_of_their_own(module, group, state):
    assert keepalive_of(OLD, group, True, None, None, None, module).state == state
    assert isinstance(keepalive_of(OLD, 16, True, None, None, None, "fastcgi").state, Unknown)


# ── keepalive judged ─────────────────────────────────────────────────────────────────────────────


def test_advice_is_one_finding_a_kind_with_the_first_places():
    many = [off(id=f"p{n}", place=f"/etc/nginx/a.conf:{n}", http_version="1.0") for n in range(1, 8)]
    found = judged(*many, passing(id="p9"))
    assert list(found) == ["proxying.keepalive", "proxying.old-http"]
    advice = found["proxying.keepalive"]
    assert (advice.severity, advice.confidence) == (Severity.OK, "configuration")
    assert advice.summary == (
        "connections to the servers are not kept open in 7 of 8 places: no keepalive in the upstream block "
        "(/etc/nginx/a.conf:1, /etc/nginx/a.conf:2, /etc/nginx/a.conf:3 and 4 more)"
    )
    assert advice.evidence == ("p1", "p2", "p3", "p4", "p5")
    assert advice.by_hand[0].endswith("/etc/nginx/a.conf")
    assert "HTTP/1.0 to the servers in 7 of 8 places" in found["proxying.old-http"].summary


def test_it_is_a_warning_where_it_was_meant_to_be_on_and_the_log_shows_that_it_is_not():
    meant = off(keepalive_wanted=True, connect_zero_share=0.02)
    found = judged(meant)["proxying.keepalive"]
    assert found.severity is Severity.WARNING
    assert "only 2.0 % of the attempts took no time to connect" in found.summary
    assert (found.threshold.name, found.threshold.value) == ("proxying.connecting", 0.98)
    assert judged(meant.replaced(loopback=True))["proxying.keepalive"].severity is Severity.OK
    assert judged(meant.replaced(keepalive_wanted=False))["proxying.keepalive"].severity is Severity.OK


def test_kept_connections_are_said_and_unknown_ones_are_not_green():
    assert "are kept open" in judged(passing())["proxying.keepalive"].summary
    unsure = passing(keepalive=Unknown("the version of nginx is not known"), keepalive_why="on from 1.29.7 on")
    assert "is not known: on from 1.29.7 on" in judged(unsure)["proxying.keepalive"].summary


def test_local_ports_that_run_out_are_critical():
    spent = off(time_wait=27000, keepalive_place="site.conf:12")
    found = judged(spent)["proxying.ports"]
    assert (found.severity, found.threshold.name) == (Severity.CRITICAL, "proxying.time_wait")
    assert "27,000 connections to backend in TIME_WAIT; keepalive is off (no keepalive in" in found.summary
    assert "site.conf:12" in found.next_step
    assert judged(off(time_wait=15000))["proxying.ports"].severity is Severity.WARNING
    assert judged(off(no_ports=3))["proxying.ports"].threshold.name == "proxying.no_ports"
    assert "proxying.ports" not in judged(off(time_wait=900, no_ports=0))
    assert "proxying.ports" not in judged(off(time_wait=Unknown("no /proc/net"), no_ports=None))


# ── retries ──────────────────────────────────────────────────────────────────────────────────────


def test_a_request_that_may_wait_for_every_server_in_turn():
    loose = passing(servers=5, read_timeout=60.0)
    found = judged(loose)["proxying.retries-unbounded"]
    assert found.severity is Severity.OK
    assert "may wait 5 min, 60 s on each of 5 servers of backend" in found.summary
    assert "proxy_next_upstream_tries 2" in found.next_step
    struck_by = judged(loose, struck("read-timeout", 12))["proxying.retries-unbounded"]
    assert struck_by.severity is Severity.WARNING
    assert "12 attempts timed out" in struck_by.summary
    assert struck_by.evidence == ("p1", "s1")
    for bound in ({"tries": 2}, {"retry_timeout": 10.0}, {"servers": 2}, {"read_timeout": 5.0}):
        assert "proxying.retries-unbounded" not in judged(loose.replaced(**bound)), bound
    assert "proxying.retries-unbounded" not in judged(loose.replaced(next_upstream=("off",)))


def test_post_that_may_be_done_twice():
    twice = passing(servers=2, non_idempotent=True, next_upstream_place="site.conf:8")
    found = judged(twice)["proxying.non-idempotent"]
    assert found.severity is Severity.OK
    assert "non_idempotent at site.conf:8" in found.summary
    assert judged(twice, struck("closed-early", 5))["proxying.non-idempotent"].severity is Severity.WARNING
    assert judged(twice, struck("refused", 5))["proxying.non-idempotent"].severity is Severity.OK  # nothing was sent
    assert "proxying.non-idempotent" not in judged(twice.replaced(servers=1))


def test_max_fails_of_an_only_server_is_in_vain():
    group = UpstreamGroup(subject="backend", server_count=1)
    server = UpstreamServer(
        id="s1", subject="backend a", group="backend", server="a:80", max_fails=3, place="/etc/nginx/up.conf:4"
    )
    found = judged(group, server)["proxying.single"]
    assert found.summary.endswith("have no effect on the only server of a group (/etc/nginx/up.conf:4)")
    assert found.by_hand == ("grep -nE 'max_fails|fail_timeout' /etc/nginx/up.conf",)
    assert not judged(group, server.replaced(max_fails=1))
    assert not judged(group.replaced(server_count=2), server)


def test_nothing_is_said_of_nothing():
    assert judged() == {}
