"""`opsdoc nginx` on what settings make of a failure, and on nginx itself: keepalive, retries, workers, status pages."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time

import pytest
from servers import nginx_scenes as scenes
from servers.nginx_looks import line_of, look, of_rule, served
from servers.nginx_scenes import KEPT
from servers.programs import wait_until

# ── keepalive ────────────────────────────────────────────────────────────────────────────────────

# By what is written, the verdict for 1.22 and for 1.29.7 and newer: `keepalive`, and the words of its reason.
NO_GROUP, NO_HEADER = "no keepalive in the upstream block", "the default before 1.29.7"
KEEPALIVE = {
    "nothing": ("", "", "", ("off", NO_GROUP), ("on", "the default")),
    "in the group only": ("keepalive 16;", "", "", ("off", NO_HEADER), ("on", "the default")),
    "HTTP/1.1 without the header": ("keepalive 16;", "proxy_http_version 1.1;", "", ("off", NO_HEADER), ("on", "")),
    "all three": ("keepalive 16;", KEPT, "", ("on", "written"), ("on", "written")),
    "switched off": ("keepalive 0;", KEPT, "", ("off", "keepalive 0"), ("off", "keepalive 0 is written")),
    "dropped by an inner header": (
        "keepalive 16;", KEPT, "\n proxy_set_header X-In 1;\n", ("off", "drops the Connection"), ("on", "the default"),
    ),
    "Connection: close": (
        "keepalive 16;", KEPT, "proxy_set_header Connection close;", ("off", "Connection: close"),
        ("off", "Connection: close"),
    ),
}  # fmt: skip


@pytest.fixture(params=["installed", "newer"])
def binary(request):
    """An nginx from before keepalive was the default, and one from after that."""
    return None if request.param == "installed" else request.getfixturevalue("newer_nginx")


def test_the_keepalive_verdict_is_that_of_the_version(opsdoc, nginx_site, binary):
    """All variants in one configuration, each with a group and a location of its own."""
    groups, locations = "", ""
    variants = {name: one for name, one in KEEPALIVE.items() if binary or name != "switched off"}  # 1.22 refuses that
    for number, (group, server, location, *_) in enumerate(variants.values()):
        groups += f"upstream g{number} {{ server <s{number}>; {group} }}\n"
        inner = f"location /{number}/in/ {{ proxy_pass http://g{number};{location} }}"
        locations += f"location /{number}/ {{ {server}\n {inner} }}\n"
    text = f"{groups} server {{ listen 127.0.0.1:<port>; {locations} }}"
    site = nginx_site(scenes.Scene(text, {f"s{n}": "ok" for n in range(len(variants))}), binary=binary)
    site.nginx.request([f"/{number}/in/" for number in range(len(variants))], 3 * len(variants))
    connections = [site.backends.counts(f"s{number}").connections for number in range(len(variants))]
    run = look(opsdoc, site, "--rows", 0)
    verdicts = {one["group"]: (one["keepalive"], one["keepalive_why"]) for one in run.of("proxy_pass")}
    for number, (name, (*_, old, new)) in enumerate(variants.items()):
        state, why = old if binary is None else new
        assert verdicts[f"g{number}"][0] == state, (name, verdicts)
        assert why in verdicts[f"g{number}"][1], (name, verdicts)
        assert connections[number] == (1 if state == "on" else 3), "the real nginx agrees"


def test_the_inner_header_that_undoes_keepalive_is_named(opsdoc, nginx_site):
    inner = "\nproxy_set_header Host $host;\n"
    site = served(nginx_site(scenes.Scene(scenes.site("server <a>; keepalive 16;", inner, KEPT), {"a": "ok"})), 5)
    run = look(opsdoc, site)
    where = line_of(site, "proxy_set_header Host")
    said = of_rule(run, "proxying.keepalive")["summary"]
    assert f'the proxy_set_header at {where} drops the Connection "" of the level above it' in said
    (passed,) = run.of("proxy_pass")
    assert passed["keepalive_place"] == where


def own_address() -> str:
    """An address of this machine that is not on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return asking.getsockname()[0]


def test_advice_on_http_1_0_and_keepalive_where_servers_are_elsewhere(opsdoc, nginx_site):
    site = served(nginx_site(scenes.Scene(scenes.site("server <a>;"), {"a": f"{own_address()} ok"})), 5)
    run = look(opsdoc, site)
    place = line_of(site, "proxy_pass")
    assert of_rule(run, "proxying.old-http")["summary"] == f"HTTP/1.0 to the servers ({place})"
    assert of_rule(run, "proxying.keepalive")["summary"].endswith(f"are not kept open: {NO_GROUP} ({place})")
    assert run.code == 0


# ── retries ──────────────────────────────────────────────────────────────────────────────────────


def test_post_that_is_sent_twice(opsdoc, nginx_site):
    group = "zone app 64k; server <a> max_fails=0; server <b> max_fails=0;"
    text = scenes.site(group, "\nproxy_next_upstream error timeout non_idempotent;\n")
    site = nginx_site(scenes.Scene(text, {"a": "premature", "b": "ok"}))
    assert set(site.nginx.request("/", 8, method="POST", body=b"order")) == {200}
    site.nginx.log_written()
    run = look(opsdoc, site)
    found = run.finding("proxying.non-idempotent")
    assert f"non_idempotent at {line_of(site, 'non_idempotent')}" in found["summary"]
    assert "4 attempts failed after they were sent, and may have been doubled" in found["summary"]
    assert site.backends.counts("a").requests + site.backends.counts("b").requests == 12


def test_retries_without_a_limit(opsdoc, nginx_site):
    three = "server <a> max_fails=0; server <b> max_fails=0; server <c> max_fails=0;"
    kinds = {"a": "hang", "b": "hang", "c": "ok"}
    site = nginx_site(scenes.Scene(scenes.site(three), kinds))
    site.nginx.request("/", 4, 4)
    site.nginx.rewrite(scenes.site(three, "proxy_read_timeout 30s;"))
    site.nginx.log_written()
    found = look(opsdoc, site).finding("proxying.retries-unbounded")
    assert "a request may wait 90 s, 30 s on each of 3 servers of app: no limit to retries" in found["summary"]
    assert "attempts timed out" in found["summary"]
    assert "proxy_next_upstream_tries 2" in found["next_step"]
    site.nginx.rewrite(scenes.site(three, "proxy_read_timeout 30s; proxy_next_upstream_tries 2;"))
    assert "proxying.retries-unbounded" not in {one["rule"] for one in look(opsdoc, site).findings}


def test_max_fails_of_an_only_server(opsdoc, nginx_site):
    site = nginx_site(scenes.Scene(scenes.site("server <a> max_fails=3 fail_timeout=30s;"), {"a": "ok"}))
    run = look(opsdoc, site)
    assert line_of(site, "max_fails=3") in of_rule(run, "proxying.single")["summary"]


# ── nginx itself ─────────────────────────────────────────────────────────────────────────────────


def test_a_configuration_that_is_newer_than_the_workers(opsdoc, nginx_site):
    site = served(nginx_site(scenes.healthy()), 20)
    later = time.time() + 90
    os.utime(site.nginx.conf, (later, later))
    run = look(opsdoc, site)
    found = run.finding("workers.config-newer")
    assert f"{site.nginx.conf} was changed" in found["summary"]
    assert "what runs is not what is written" in found["summary"]
    assert run.code == 1
    os.utime(site.nginx.conf, (later - 300, later - 300))
    assert look(opsdoc, site).code == 0


def test_workers_that_a_reload_left(opsdoc, nginx_site):
    site = nginx_site(scenes.lingering())
    with socket.create_connection(("127.0.0.1", site.nginx.port)) as held:
        held.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: site.backends.counts("a").requests, "the request to arrive")
        site.nginx.reload()
        wait_until(site.nginx.leaving, "a worker to shut down")
        run = look(opsdoc, site)
        (seen,) = run.of("nginx")
        assert (seen["shutting_down"], set(seen["old_pids"])) == (1, site.nginx.leaving())
        assert "1 worker of nginx/" in of_rule(run, "workers.shutting-down")["summary"]
        assert seen["oldest_shutdown"] is not None
        limited = look(opsdoc, site, "--limit", "nginx_workers.old=0:99")
        found = limited.finding("workers.shutting-down")
        assert "no worker_shutdown_timeout" in found["summary"]
        assert f"ss -tnp | grep -F pid={seen['old_pids'][0]}," in found["by_hand"]


def test_connections_against_their_limit(opsdoc, nginx_site):
    site = nginx_site(scenes.lingering(), workers=1, events="worker_connections 20;")
    with contextlib.ExitStack() as held:

        def hold(count: int, request: bytes) -> None:
            for _ in range(count):
                made = held.enter_context(socket.create_connection(("127.0.0.1", site.nginx.port)))
                made.sendall(request)

        hold(14, b"")
        wait_until(lambda: look(opsdoc, site).of("nginx")[0]["connections"] >= 14, "nginx to accept them")
        found = look(opsdoc, site).finding("workers.connections")
        assert re.search(r"the busiest worker of nginx/\S+ pid \d+ has 1\d of 20 worker_connections", found["summary"])
        assert (found["severity"], found["threshold"]["name"]) == ("warning", "nginx_workers.used")
        hold(8, b"")
        wait_until(lambda: site.nginx.errors("warn"), "nginx to close idle ones instead")
        reused = look(opsdoc, site).finding("workers.connections")
        assert "idle connections closed to make room" in reused["summary"]
        hold(12, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: site.backends.counts("a").requests >= 9, "each of the last requests to take two")
        run = look(opsdoc, site)
        assert re.search(r"has (18|19|20) of 20 worker_connections", run.report["summary"])
        assert (run.code, run.finding("workers.connections")["severity"]) == (2, "critical")


# ── status pages ─────────────────────────────────────────────────────────────────────────────────


def test_stub_status_is_read(opsdoc, nginx_site):
    site = served(nginx_site(scenes.status_page()), 20)
    run = look(opsdoc, site)
    (seen,) = run.of("nginx")
    assert seen["status_page"] == line_of(site, "stub_status")
    assert (seen["dropped"], seen["active"], seen["handled_requests"]) == (0, 1, 21)
    assert run.code == 0
    quiet = look(opsdoc, site, "--no-dial")
    assert quiet.of("nginx")[0]["status_page"] is None
    assert [unseen["detail"] for unseen in quiet.unseen] == ["not dialled, as told by --no-dial"]


def test_a_status_page_that_is_closed_is_told_and_changes_nothing(opsdoc, nginx_site):
    page = "location = /status { stub_status; deny all; }"
    site = nginx_site(scenes.Scene(scenes.site("server <a>;", server=page), {"a": "ok"}))
    run = look(opsdoc, site)
    (unseen,) = run.unseen
    assert (unseen["reason"], unseen["subject"]) == ("denied", f"status page /status ({line_of(site, 'stub_status')})")
    assert run.code == 0


PLUS = {
    "app": {"peers": [{"server": "<a>", "name": "<a>", "state": "unavail", "requests": 40, "fails": 9, "unavail": 2}]}
}
ANGIE = {
    "app": {
        "peers": {"<a>": {"server": "<a>", "state": "unavailable", "selected": {"total": 40}, "health": {"fails": 9}}}
    }
}
VTS = {
    "upstreamZones": {
        "app": [{"server": "<a>", "requestCounter": 40, "responses": {"5xx": 9, "2xx": 31}, "down": True}]
    }
}
# The directives are not in stock nginx: it is told of them after it has started, and serves what they would.
PAGES = {
    "NGINX Plus": ("location /api/ { api; }", {"/api/": [1, 9], "/api/9/http/upstreams": PLUS}, "unavail"),
    "Angie": ("location /status/ { api /status/; }", {"/status/http/upstreams/": ANGIE}, "unavailable"),
    "nginx-module-vts": (
        "location /vts { vhost_traffic_status_display; }", {"/vts/format/json": VTS}, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("directive", "pages", "state"), PAGES.values(), ids=PAGES)
def test_pages_that_know_the_servers_are_further_evidence(opsdoc, nginx_site, directive, pages, state):
    served = "".join(f"location = {path} {{ return 200 '{json.dumps(page)}'; }}\n" for path, page in pages.items())
    group = "server <a>; server <b>;"
    site = nginx_site(scenes.Scene(scenes.site(group, server=served), {"a": "ok", "b": "ok"}), log="combined")
    site.nginx.rewrite(scenes.site(group, server=directive))
    before = time.time() - 60
    os.utime(site.nginx.conf, (before, before))
    run = look(opsdoc, site)
    servers = {one["server"]: one for one in run.of("upstream_server")}
    a, b = (servers[site.backends.addresses[name]] for name in "ab")
    assert (a["said"], a["said_requests"], a["said_failures"]) == (state, 40, 9)
    assert (b["said"], b["said_requests"], b["state"]) == (None, None, "up")
    assert a["state"] == ("failing" if state else "up")
    if state:
        found = run.finding("upstream.failing")
        assert f"its status page has it as {state}" in found["summary"]
        assert f"{state} by the status page" in found["confidence"]
