"""`opsdoc nginx` names each way in which servers behind nginx fail as itself: the cause, the server, the next step."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

import pytest
from servers import nginx_scenes as scenes
from servers.cli import Run
from servers.nginx_looks import bad, look, served, sick
from servers.nginx_scenes import Scene, Site

# ── one of two servers ───────────────────────────────────────────────────────────────────────────


class Fault(NamedTuple):
    """How server `a` of two fails, and what opsdoc says of it."""

    scene: Scene
    words: str
    cause: str
    rule: str = "upstream.down"
    code: int = 1
    state: str = "down"
    step: str = ""
    times: int = 30


FAULTS = {
    "premature": Fault(
        scenes.premature(), "closes the connection before it answers", "closed-early", "upstream.*", state="*",
        step="it crashed, was restarted",
    ),
    "reset": Fault(
        scenes.reset(), "resets connections", "reset", "upstream.*", state="*", step="an accept queue that overflows"
    ),
    "hanging": Fault(
        scenes.hanging(), "accepts, but does not answer in time", "read-timeout", "upstream.*", state="*",
        step="what its requests wait for",
    ),
    "socket missing": Fault(scenes.socket_missing(), "has no socket", "socket-missing", step="correct its path"),
    "socket refuses": Fault(scenes.socket_refuses(), "refuses connections", "refused", step="nothing listens there"),
    "no TLS": Fault(scenes.tls("ok"), "fails the TLS handshake", "tls", step="compare protocols, ciphers"),
    "too much of a header": Fault(
        scenes.big_header(), "answers with what is no valid response", "invalid", "upstream.*", 2, "*",
        "fit into proxy_buffer_size",
    ),
    "cut short": Fault(
        scenes.cut_short(), "breaks off its answers in the middle", "cut-short", "upstream.failing", 2, "failing",
        "clients got a success and a part of the answer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_one_of_two_servers_fails_and_the_cause_is_named(opsdoc, nginx_site, fault):
    site = nginx_site(fault.scene)
    site.nginx.request("/", fault.times)
    site.nginx.log_written()
    run = look(opsdoc, site)
    a, b = (site.backends.addresses[name] for name in "ab")
    (found,) = [f for f in run.findings if f["rule"].startswith(fault.rule.rstrip("*")) and a in f["key"]]
    assert found["summary"].startswith(f"{a} of app {fault.words}"), found["summary"]
    assert fault.step in found["next_step"]
    assert any(a.removeprefix("unix:") in command for command in found["by_hand"])
    assert run.code == fault.code, run.report["summary"]
    (server,) = [one for one in run.of("upstream_server") if one["server"] == a]
    assert fault.state in ("*", server["state"])
    assert next(iter(server["failures"])) == fault.cause
    assert server["failure_share"] == 1
    assert server["id"] in found["evidence"]
    assert sick(run) == {a}, f"{b} serves"


SIX = {
    "a dead peer": (scenes.one_dead(), "upstream.down", 1, "a"),
    "a 503-answering peer": (scenes.erring(), "upstream.errors", 2, "a"),
    "a dead single server": (scenes.single_dead(), "upstream.single", 2, "a"),
    "all down": (scenes.all_dead(), "upstream.all-down", 2, ""),
    "a slow one": (scenes.slow_sibling(), "upstream.slow", 1, "a"),
    "an unreachable one": (scenes.unreachable(), "upstream.down", 1, "a"),
}


def test_six_faults_have_six_causes_and_six_next_steps(opsdoc, nginx_site):
    told: dict[str, dict[str, str]] = {}
    runs: dict[str, tuple[Run, Site]] = {}
    for name, (scene, rule, code, who) in SIX.items():
        site = nginx_site(scene)
        site.nginx.request("/", 48, 4)
        site.nginx.log_written()
        run = look(opsdoc, site)
        runs[name] = run, site
        finding = told[name] = run.finding(rule)
        assert run.code == code, (name, run.report["summary"])
        assert run.report["summary"] == finding["summary"], "the fault is the headline"
        assert not who or site.backends.addresses[who] in finding["subject"]
    causes = {
        name: finding["summary"].replace("app", "").translate({ord(d): None for d in "0123456789.:"})
        for name, finding in told.items()
    }
    assert len(set(causes.values())) == 6
    assert len({finding["next_step"] for finding in told.values()}) == 6, told
    summaries = {name: finding["summary"] for name, finding in told.items()}
    assert "refuses connections" in summaries["a dead peer"]
    assert "of 2 workers takes it out by itself (no zone): up to 2 attempts fail every 10 s" in summaries["a dead peer"]
    assert "max_fails does not apply to the only server of a group" in summaries["a dead single server"]
    assert "every request gets 502" in summaries["a dead single server"]
    assert "got 502 at once (no live upstreams)" in summaries["all down"]
    assert "it is the program: the first byte takes" in summaries["a slow one"]
    assert "does not accept connections in time" in summaries["an unreachable one"]
    assert "its accept queue is full" in told["an unreachable one"]["next_step"]

    run, site = runs["a 503-answering peer"]
    assert site.nginx.errors() == [], "nginx says nothing of it"
    line = 1 + next(n for n, text in enumerate(site.nginx.conf.read_text().splitlines()) if "proxy_pass" in text)
    assert (
        f"nginx will not take it out: proxy_next_upstream lacks http_503 (it is not written; {site.nginx.conf}:{line})"
        in summaries["a 503-answering peer"]
    )
    assert "add http_503 to the line" in told["a 503-answering peer"]["next_step"]


def test_the_line_that_keeps_a_failing_server_in_is_named(opsdoc, nginx_site):
    site = served(nginx_site(scenes.pair("err503", location="\n\nproxy_next_upstream error timeout http_500;\n")), 40)
    line = 1 + next(n for n, text in enumerate(site.nginx.conf.read_text().splitlines()) if "http_500" in text)
    assert f"proxy_next_upstream lacks http_503 ({site.nginx.conf}:{line})" in look(opsdoc, site).report["summary"]
    site = served(nginx_site(scenes.erring_retried()), 40)
    run = look(opsdoc, site)
    assert "takes it out by itself" in run.report["summary"], "where the line has it, nginx does"
    assert run.code == 1


# ── fifty that do not answer ─────────────────────────────────────────────────────────────────────


def test_fifty_servers_that_do_not_answer_are_told_in_time(opsdoc, nginx_site):
    site = nginx_site(scenes.silent(50))
    site.nginx.request("/", 2, 2)
    run = look(opsdoc, site, "--timeout", "5s")
    assert run.wall < 7
    assert run.report["elapsed_seconds"] < 5
    assert run.code == 2
    (server, *_) = servers = run.of("upstream_server")
    assert len(servers) == 50
    assert {one["probed"] for one in servers} == {"no answer"}
    assert server["state"] == "down"
    assert "all 50 servers of app are down" in run.finding("upstream.all-down")["summary"]


# ── over time, and together ──────────────────────────────────────────────────────────────────────


def test_a_server_that_comes_and_goes(opsdoc, nginx_site):
    """Its changes are minutes apart: the log of some minutes is made from one of some seconds."""
    site = nginx_site(scenes.pair("ok", group="", location=""), workers=1)
    lines = []
    for _ in range(4):
        for mode in ("ok", "err503"):
            site.backends.mode("a", mode)
            sent = site.nginx.sent
            site.nginx.request("/", 30)
            lines.append(site.nginx.log_written()[sent:])
    now = int(time.time())
    written = []
    for number, phase in enumerate(lines):
        stamp = time.strftime("[%d/%b/%Y:%H:%M:%S +0000]", time.gmtime(now - 20 * (len(lines) - number)))
        written += [line[: line.index("[")] + stamp + line[line.index("]") + 1 :] for line in phase]
    site.nginx.access_log.write_text("\n".join(written) + "\n")
    run = look(opsdoc, site)
    found = run.finding("upstream.flapping")
    assert f"{site.backends.addresses['a']} of app comes and goes: 7 changes" in found["summary"]
    assert found["threshold"]["name"] == "upstream.changes"
    assert sick(run) == {site.backends.addresses["a"]}


def test_a_server_that_was_restarted_has_recovered(opsdoc, nginx_site):
    site = nginx_site(scenes.single_dead())
    site.nginx.request("/", 30)
    site.backends.mode("a", "ok")
    site.nginx.request("/", 3)
    site.nginx.log_written()
    run = look(opsdoc, site)
    found = [f for f in run.findings if f["rule"] == "upstream.recovered"]
    assert "connects now: recovered" in found[0]["summary"]
    assert run.code == 1
    assert sick(run) == set()


def test_failures_that_clients_do_not_see_have_a_price(opsdoc, nginx_site):
    site = nginx_site(scenes.masked(5))
    assert set(site.nginx.request("/", 60)) == {200}
    site.nginx.log_written()
    run = look(opsdoc, site)
    masked = run.finding("upstream.masked")
    assert "clients of app saw success, but 10 % of the requests (6 of 60) needed another server" in masked["summary"]
    assert "ms each (median)" in masked["summary"]
    assert f"{site.backends.addresses['a']} causes all of them" in masked["summary"]
    assert masked["next_step"] != run.finding("upstream.failing")["next_step"]
    (group,) = run.of("upstream_group")
    assert (group["masked"], group["lost"], group["error_share"]) == (6, 0, 0)


def test_a_backup_in_use(opsdoc, nginx_site):
    site = served(nginx_site(scenes.backup_in_use()), 40)
    run = look(opsdoc, site)
    a, b, c = (site.backends.addresses[name] for name in "abc")
    found = run.finding("upstream.backup")
    assert f"the backup of app serves: {b} had 40 of" in found["summary"]
    assert f"{a} refuses connections" in found["summary"]
    states = {one["server"]: one["state"] for one in run.of("upstream_server")}
    assert states == {a: "down", b: "up", c: "off"}
    assert run.code == 1


def test_unequal_parts_are_told_where_the_method_means_equal_ones(opsdoc, nginx_site):
    site = served(nginx_site(scenes.capped()), 640, 8)
    found = look(opsdoc, site).finding("upstream.unbalanced")
    # One has as much too little as the other has too much.
    a, b = (re.escape(site.backends.addresses[name]) for name in "ab")
    assert re.match(rf"app is unbalanced \(round robin\): ({a}|{b}) has ", found["summary"])
    assert "by its weight 50 %" in found["summary"]
    assert found["threshold"]["name"] == "upstream.skew"


@pytest.mark.parametrize(
    ("scene", "paths", "words"),
    [
        (scenes.weighted(3, 1), "/", ""),
        (scenes.balanced_by("ip_hash"), "/", "uneven by design (ip_hash)"),
        (scenes.balanced_by("hash $uri consistent"), [f"/{n}" for n in range(400)], ""),
        (scenes.balanced_by("least_conn", "slow5"), "/", ""),
    ],
    ids=["weights", "ip_hash", "hash", "least_conn"],
)
def test_parts_that_the_method_means_are_no_trouble(opsdoc, nginx_site, scene, paths, words):
    site = nginx_site(scene)
    site.nginx.request(paths, 600, 4)
    site.nginx.log_written()
    run = look(opsdoc, site)
    uneven = [finding["summary"] for finding in run.findings if finding["rule"] == "upstream.unbalanced"]
    assert all("by design" in summary for summary in uneven)
    assert words in "".join(uneven)
    assert (run.code, bad(run)) == (0, [])
