"""`opsdoc nginx` blames no server for what is not its fault: limits, names, nginx itself, caches, clients' words."""

from __future__ import annotations

from collections import Counter

import pytest
from servers import nginx_scenes as scenes
from servers.nginx_looks import bad, look, served, sick

# ── not the servers' fault ───────────────────────────────────────────────────────────────────────

LIMITED = {
    "reject": (scenes.limited(), 12, "limit.rejected", "requests) with 429, by the limit of requests zone one (2r/s"),
    "delay": (scenes.limited("burst=2", "", "20r/s"), 8, "limit.delayed", "by the limit zone one (20r/s burst=2"),
    "limit_conn": (
        scenes.limited_connections(),
        12,
        "limit.rejected",
        "with 503, by the limit of connections zone few (1 ",
    ),
}


@pytest.mark.parametrize(("scene", "times", "rule", "words"), LIMITED.values(), ids=LIMITED)
def test_limits_are_not_blamed_on_servers(opsdoc, nginx_site, scene, times, rule, words):
    site = nginx_site(scene)
    site.nginx.request("/", times, 4)
    site.nginx.log_written()
    run = look(opsdoc, site)
    found = run.finding(rule)
    assert words in found["summary"]
    assert f"{site.nginx.conf}:" in found["summary"]
    assert not [one for one in bad(run) if not one.startswith("limit.")]
    assert (sick(run), run.code) == (set(), 1)
    (group,) = run.of("upstream_group")
    assert (group["lost"], group["error_share"]) == (0, 0)
    (zone,) = run.of("rate_limit")
    assert zone["rejected"] + zone["delayed"] >= 3


def test_a_dry_run_holds_nobody_back(opsdoc, nginx_site):
    site = nginx_site(scenes.limited_dry_run())
    assert site.nginx.request("/", 10) == [200] * 10
    site.nginx.log_written()
    run = look(opsdoc, site)
    (found,) = [finding for finding in run.findings if finding["rule"] == "limit.dry-run"]
    assert "is in dry run: it would have rejected 8 requests" in found["summary"]
    assert (run.code, bad(run)) == (0, [])


def test_a_name_that_cannot_be_resolved_is_no_server(opsdoc, nginx_site):
    site = nginx_site(scenes.unresolved())
    assert site.nginx.request("/", 5) == [502] * 5
    site.nginx.log_written()
    run = look(opsdoc, site)
    found = run.finding("untried.resolver")
    assert found["summary"].startswith(
        "5 requests got 502, no server was tried: nginx has no resolver to look up nohost.invalid"
    )
    assert f"{site.nginx.conf}:" in found["summary"]
    assert "write resolver ADDRESS" in found["next_step"]
    assert (run.code, bad(run), run.of("upstream_server")) == (2, ["untried.resolver"], [])


def test_a_resolver_that_does_not_answer_is_named(opsdoc, nginx_site):
    location = 'location / { set $backend "app.invalid"; proxy_pass http://$backend; }'
    scene = scenes.Scene(
        f"resolver <a> ipv6=off; resolver_timeout 300ms; server {{ listen 127.0.0.1:<port>; {location} }}",
        {"a": "nolisten"},
    )
    site = nginx_site(scene)
    assert site.nginx.request("/", 3) == [502] * 3
    site.nginx.log_written()
    found = look(opsdoc, site).finding("untried.resolver")
    resolver = site.backends.addresses["a"]
    assert f"the resolver {resolver} does not answer for app.invalid" in found["summary"]
    assert f"dig +time=2 +tries=1 app.invalid @127.0.0.1 -p {resolver.rpartition(':')[2]}" in found["by_hand"]


def test_errors_that_nginx_makes_itself_are_not_silent_and_blame_no_server(opsdoc, nginx_site):
    scene = scenes.Scene(scenes.site("server <a>;", server="location /closed { return 503; }"), {"a": "ok"})
    site = nginx_site(scene)
    assert Counter(site.nginx.request(["/", "/closed"], 20)) == {200: 10, 503: 10}
    site.nginx.log_written()
    run = look(opsdoc, site)
    found = run.finding("untried.unexplained")
    assert "nginx itself failed 10 requests (50 % of all; 10 got 503): no server was tried" in found["summary"]
    assert (run.code, sick(run)) == (1, set())


def test_an_internal_redirect_is_two_visits_and_what_an_error_page_saves_is_no_outage(opsdoc, nginx_site):
    site = nginx_site(scenes.redirected())
    assert set(site.nginx.request("/", 30)) == {200}
    site.nginx.log_written()
    run = look(opsdoc, site)
    a, b = (site.backends.addresses[name] for name in "ab")
    attempts = {one["server"]: (one["attempts"], one["group"], one["state"]) for one in run.of("upstream_server")}
    assert attempts == {a: (30, "app", "failing"), b: (30, "spare", "up")}
    found = run.finding("upstream.single")
    assert "answers 503" in found["summary"]
    assert "clients are answered elsewhere" in found["summary"]
    assert run.code == 1
    assert {one["subject"]: one["lost"] for one in run.of("upstream_group")} == {"app": 0, "spare": 0}


def test_what_the_cache_serves_is_no_attempt(opsdoc, nginx_site):
    site = nginx_site(scenes.cached(), workers=1)
    assert set(site.nginx.request("/", 30)) == {200}
    site.nginx.log_written()
    run = look(opsdoc, site)
    (server,) = run.of("upstream_server")
    assert (server["attempts"], run.of("access_log")[0]["rows"]) == (1, 30)
    assert (run.code, bad(run)) == (0, [])


def test_all_is_well(opsdoc, nginx_site):
    site = served(nginx_site(scenes.healthy()), 40)
    run = look(opsdoc, site)
    assert (run.code, bad(run), run.unseen) == (0, [], [])
    assert "2 servers in 1 group: 40 attempts, 0 % failed, all connect" in run.report["summary"]
    text = opsdoc("nginx", "--pid", site.nginx.pid).stdout
    assert text.splitlines()[2].startswith("OK        nothing wrong: 2 servers in 1 group")
    assert not [advice for advice in ("keepalive in the upstream", "HTTP/1.0") if advice in text], "on loopback"


# ── hostile text ─────────────────────────────────────────────────────────────────────────────────


def test_what_clients_send_makes_no_server_and_colours_no_terminal(opsdoc, nginx_site):
    site = nginx_site(scenes.one_dead())
    headers = {"User-Agent": scenes.HOSTILE_AGENT, "Referer": '", upstream: "http://7.7.7.7:80/", host: "\x1b[2J"'}
    paths = ['/x"HTTP/1.1",upstream:"http://8.8.8.8:80/', "/%1b%5b31m\u202e"]
    assert set(site.nginx.request(paths, 30, headers=headers)) == {200}
    site.nginx.log_written()
    a, b = site.backends.addresses["a"], site.backends.addresses["b"]
    run = look(opsdoc, site)
    assert {one["server"] for one in run.of("upstream_server")} == {a, b}
    (log,) = run.of("access_log")
    assert (log["rows"], log["unread"]) == (30, 0)
    assert run.finding("upstream.down")["summary"].startswith(f"{a} of app refuses connections")
    files = [opsdoc.folder / f"report.{suffix}" for suffix in ("html", "md", "json")]
    shown = opsdoc("nginx", "--pid", site.nginx.pid, "--no-dial", *(f"-o{file}" for file in files))
    line = opsdoc("report", files[-1], "--format", "nagios")
    for told in (shown.raw, line.raw, *(file.read_bytes() for file in files)):
        assert a.encode() in told
        assert b"\x1b" not in told
        assert not [ip for ip in (b"6.6.6.6", b"7.7.7.7", b"8.8.8.8") if ip in told]
