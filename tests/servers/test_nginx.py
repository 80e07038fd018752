"""The sites behind nginx are as sick as they claim, and nginx writes of it what `opsdoc nginx` will read."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from servers import nginx_scenes as scenes
from servers.nginx import Row
from servers.nginx_scenes import Scene, Site
from servers.programs import HERE, lacking, state, wait_until

pytestmark = pytest.mark.xdist_group("nginx")

Put = Callable[..., Site]
TIMED_OUT = "upstream timed out (110: Connection timed out) while "
NUMBER = r"\d+\.\d{3}"


def first_servers(rows: list[Row]) -> Counter[str]:
    return Counter(row.ua.split(", ")[0] for row in rows)


# ── servers that fail ────────────────────────────────────────────────────────────────────────────

HEADER = "while reading response header from upstream"


class Failure(NamedTuple):
    """How the first of two servers fails, and what is written of it."""

    scene: Scene
    status: str
    connected: bool
    error: str
    least: float = 0.0  # seconds


FAILURES = {
    "refused": Failure(
        scenes.one_dead(),
        "502",
        False,
        "error: connect() failed (111: Connection refused) while connecting to upstream",
    ),
    "unreachable": Failure(scenes.unreachable(), "504", False, f"error: {TIMED_OUT}connecting to upstream", 0.5),
    "hanging": Failure(scenes.hanging(), "504", True, f"error: {TIMED_OUT}reading response header from upstream", 0.7),
    "premature": Failure(scenes.premature(), "502", True, f"error: upstream prematurely closed connection {HEADER}"),
    "reset": Failure(scenes.reset(), "502", True, f"error: recv() failed (104: Connection reset by peer) {HEADER}"),
    "socket missing": Failure(
        scenes.socket_missing(), "502", False, "crit: connect() to <a> failed (2: No such file or directory) while"
    ),
    "socket refuses": Failure(
        scenes.socket_refuses(), "502", False, "error: connect() to <a> failed (111: Connection refused) while"
    ),
    "no TLS": Failure(scenes.tls("ok"), "502", False, "error: SSL_do_handshake() failed (SSL: "),
    "TLS broken off": Failure(scenes.tls("premature"), "502", False, "error: peer closed connection in SSL handshake "),
    "TLS silent": Failure(scenes.tls("hang"), "504", False, f"error: {TIMED_OUT}SSL handshaking to upstream", 0.5),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_failed_attempt_is_retried_and_written(nginx_site: Put, failure: Failure) -> None:
    site = nginx_site(failure.scene)
    a, b = site.backends.addresses["a"], site.backends.addresses["b"]
    assert site.nginx.request("/", 8) == [200] * 8
    retried = [row for row in site.nginx.rows() if row.ua != b]
    assert 1 <= len(retried) <= 2, "each worker leaves it out after one failure"
    for row in retried:
        assert (row.status, row.ua, row.us) == (200, f"{a}, {b}", f"{failure.status}, 200")
        assert re.fullmatch(f"{NUMBER if failure.connected else '-'}, {NUMBER}", row.uct)
        assert re.fullmatch(f"-, {NUMBER}", row.uht)
        assert float(row.urt.split(", ")[0]) >= failure.least
    said = [f"{found.level}: {found.text}" for found in site.nginx.errors()]
    assert len(said) == 2 * len(retried)
    assert sum(line.startswith(failure.error.replace("<a>", a)) for line in said) == len(retried), said
    assert sum(line.startswith("warn: upstream server temporarily disabled while") for line in said) == len(retried)


def test_single_server_is_never_left_out(nginx_site: Put) -> None:
    site = nginx_site(scenes.single_dead())
    assert site.nginx.request("/", 4) == [502] * 4
    assert {(row.ua, row.us, row.uct, row.uht) for row in site.nginx.rows()} == {
        (site.backends.addresses["a"], "502", "-", "-")
    }
    assert {found.level for found in site.nginx.errors()} == {"error"}
    assert len(site.nginx.errors()) == 4


def test_all_dead_leaves_the_name_of_the_group(nginx_site: Put) -> None:
    site = nginx_site(scenes.all_dead(), workers=1)
    assert site.nginx.request("/", 4) == [502] * 4
    rows = site.nginx.rows()
    assert {*rows[0].ua.split(", ")} == {*site.backends.addresses.values()}
    assert rows[0][2:7] == (rows[0].ua, "502, 502", rows[0].urt, "-, -", "-, -")
    assert {(row.ua, row.us, row.urt, row.uct) for row in rows[1:]} == {("app", "502", "0.000", "-")}
    none = [found.text for found in site.nginx.errors("error") if found.text.startswith("no live upstreams")]
    assert len(none) == 3
    assert all('upstream: "http://app/"' in text for text in none)


def test_last_living_one_dies(nginx_site: Put) -> None:
    site = nginx_site(scenes.one_dead(), workers=1)
    assert site.nginx.request("/", 2) == [200] * 2
    site.backends.mode("b", "nolisten")
    assert site.nginx.request() == [502]
    row = site.nginx.rows()[-1]
    assert (row.ua, row.us, row.uct) == (f"{site.backends.addresses['b']}, app", "502, 502", "-, -")


def test_erring_server_keeps_its_share(nginx_site: Put) -> None:
    site = nginx_site(scenes.erring(), workers=1)
    assert Counter(site.nginx.request("/", 40)) == {503: 20, 200: 20}
    bad = [row for row in site.nginx.rows() if row.status == 503]
    assert {row.ua for row in bad} == {site.backends.addresses["a"]}
    assert all(re.fullmatch(NUMBER, value) for row in bad for value in (row.uct, row.uht))
    assert site.nginx.errors() == []


@pytest.mark.parametrize("level", ["warn", None])
def test_erring_server_is_left_out_where_it_is_listed(nginx_site: Put, level: str | None) -> None:
    site = nginx_site(scenes.erring_retried(), level=level, workers=1)
    assert site.nginx.request("/", 10) == [200] * 10
    assert [row.us for row in site.nginx.rows()].count("503, 200") == 1
    said = site.nginx.errors()
    assert len(said) == (1 if level == "warn" else 0), "the level that Debian means hides the only line"
    assert all(f"upstream server temporarily disabled {HEADER}" in found.text for found in said)


def test_slow_sibling(nginx_site: Put) -> None:
    site = nginx_site(scenes.slow_sibling(150), workers=1)
    assert site.nginx.request("/", 8) == [200] * 8
    times: dict[str, list[float]] = {}
    for row in site.nginx.rows():
        times.setdefault(row.ua, []).append(float(row.urt))
    slow, quick = (times[site.backends.addresses[name]] for name in "ab")
    assert len(slow) == len(quick) == 4
    assert min(slow) >= 0.149
    assert min(quick) < 0.1


def test_flapping(nginx_site: Put) -> None:
    site = nginx_site(scenes.flapping(0.6))

    def turned() -> bool:
        site.nginx.request("/", 4)
        seen = [row.status for row in site.nginx.rows() if row.ua == site.backends.addresses["a"]]
        return sum(one != other for one, other in itertools.pairwise(seen)) >= 3

    wait_until(turned, "three turns")


def test_masked_failures(nginx_site: Put) -> None:
    site = nginx_site(scenes.masked(5))
    assert site.nginx.request("/", 100, 4) == [200] * 100
    a, requests = site.backends.addresses["a"], site.backends.counts("a").requests
    retried = [row for row in site.nginx.rows() if row.us == "502, 200"]
    assert len(retried) == requests // 5 > 5
    assert {row.ua.split(", ")[0] for row in retried} == {a}
    assert site.nginx.errors("warn") == []


def test_backup_takes_over(nginx_site: Put) -> None:
    site = nginx_site(scenes.backup_in_use(), workers=1)
    assert site.nginx.request("/", 5) == [200] * 5
    a, b = site.backends.addresses["a"], site.backends.addresses["b"]
    assert [row.ua for row in site.nginx.rows()] == [f"{a}, {b}", b, b, b, b]
    assert site.backends.counts("c") == (0, 0)


def test_fifty_silent_servers(nginx_site: Put) -> None:
    site = nginx_site(scenes.silent(50))
    assert len(set(site.backends.addresses.values())) == 50
    assert site.nginx.request() == [504]
    row = site.nginx.rows()[0]
    assert (row.us, row.uct) == ("504, 504", "-, -")
    assert all(address.startswith("127.0.1.") for address in row.ua.split(", "))


@pytest.mark.parametrize("retried", [True, False])
def test_post_is_sent_twice_only_if_allowed(nginx_site: Put, retried: bool) -> None:
    site = nginx_site(scenes.non_idempotent(retried=retried), workers=1)
    assert site.nginx.request(method="POST", body=b"x=1") == [200 if retried else 502]
    assert site.nginx.rows()[0].us == ("502, 200" if retried else "502")
    assert site.backends.counts("b").requests == (1 if retried else 0)


@pytest.mark.parametrize(
    ("scene", "client", "server", "error"),
    [
        (scenes.big_header(), 502, "502", f"upstream sent too big header {HEADER}"),
        (scenes.cut_short(), 200, "200", "upstream prematurely closed connection while reading upstream"),
        (scenes.no_protocol(), 9, "200", f"upstream sent no valid HTTP/1.0 header {HEADER}"),
    ],
)
def test_answers_that_nginx_cannot_use(nginx_site: Put, scene: Scene, client: int, server: str, error: str) -> None:
    site = nginx_site(scene, workers=1)
    site.nginx.request("/", 2)
    row = next(row for row in site.nginx.rows() if row.ua == site.backends.addresses["a"])
    assert (row.status, row.us) == (client, server)
    assert site.nginx.errors("error")[0].text.startswith(error)


def test_server_recovers_and_freezes(nginx_site: Put) -> None:
    site = nginx_site(scenes.single_dead())
    assert site.nginx.request() == [502]
    site.backends.mode("a", "ok")
    assert site.nginx.request() == [200]
    site.backends.mode("a", "full")
    assert site.nginx.request() == [504]
    site.backends.mode("a", "ok")
    with site.backends.stopped():
        assert site.nginx.request() == [504]
    row = site.nginx.rows()[-1]
    assert re.fullmatch(NUMBER, row.uct), "the kernel accepts for a frozen program"
    assert row.uht == "-"


# ── how load is shared ───────────────────────────────────────────────────────────────────────────


def test_weights_are_kept(nginx_site: Put) -> None:
    site = nginx_site(scenes.weighted(3, 1))
    site.nginx.request("/", 200, 4)
    a, b = site.backends.addresses["a"], site.backends.addresses["b"]
    assert first_servers(site.nginx.rows()) == {a: 150, b: 50}


def test_weights_in_the_file_are_not_those_in_force_before_a_reload(nginx_site: Put) -> None:
    site = nginx_site(scenes.weighted(1, 1))
    site.nginx.rewrite(scenes.weighted(3, 1).http)
    site.nginx.request("/", 40)
    assert [*first_servers(site.nginx.rows()).values()] == [20, 20]
    site.nginx.reload()
    site.nginx.request("/", 40)
    assert sorted(first_servers(site.nginx.rows()[40:]).values()) == [10, 30]


def test_cap_makes_shares_unequal(nginx_site: Put) -> None:
    site = nginx_site(scenes.capped())
    site.nginx.request("/", 200, 8)
    assert first_servers(site.nginx.rows())[site.backends.addresses["a"]] < 60


def test_methods_of_balancing(nginx_site: Put) -> None:
    site = nginx_site(scenes.balanced_by("ip_hash"))
    site.nginx.request("/", 20)
    assert [*first_servers(site.nginx.rows()).values()] == [20]
    site = nginx_site(scenes.balanced_by("hash $request_uri consistent"))
    paths = [f"/{number}" for number in range(20)]
    site.nginx.request(paths, 60)
    rows = site.nginx.rows()
    assert len(first_servers(rows)) == 2
    assert all(len({row.ua for row in rows[number::20]}) == 1 for number in range(20))
    site = nginx_site(scenes.balanced_by("least_conn", "slow50"))
    site.nginx.request("/", 100, 4)
    assert first_servers(site.nginx.rows())[site.backends.addresses["a"]] < 40


# ── what is not the servers' fault ───────────────────────────────────────────────────────────────


def test_limit_rejects(nginx_site: Put) -> None:
    site = nginx_site(scenes.limited())
    assert site.nginx.request("/", 6).count(429) >= 3
    rejected = [row for row in site.nginx.rows() if row.status == 429]
    assert {(row.ua, row.us, row.lrs) for row in rejected} == {("-", "-", "REJECTED")}
    said = site.nginx.errors("error")
    assert len(said) == len(rejected)
    assert all(re.match(r'limiting requests, excess: [\d.]+ by zone "one", client', found.text) for found in said)


def test_limit_delays(nginx_site: Put) -> None:
    site = nginx_site(scenes.limited("burst=9", "", "20r/s"))
    assert site.nginx.request("/", 4) == [200] * 4
    delayed = [row for row in site.nginx.rows() if row.lrs == "DELAYED"]
    assert len(delayed) >= 2
    assert all(float(row.rt) > float(row.urt) for row in delayed)
    said = site.nginx.errors("warn")
    assert all(re.match(r'delaying request, excess: [\d.]+, by zone "one", client', found.text) for found in said)
    assert len(said) == len(delayed)


def test_limit_in_a_dry_run_rejects_nothing(nginx_site: Put) -> None:
    site = nginx_site(scenes.limited_dry_run())
    assert site.nginx.request("/", 6) == [200] * 6
    assert {row.lrs for row in site.nginx.rows()} == {"PASSED", "REJECTED_DRY_RUN"}
    assert all(found.text.startswith("limiting requests, dry run, excess: ") for found in site.nginx.errors())


def test_limit_of_connections(nginx_site: Put) -> None:
    site = nginx_site(scenes.limited_connections())
    assert sorted(site.nginx.request("/", 2, 2)) == [200, 503]
    row = next(row for row in site.nginx.rows() if row.status == 503)
    assert (row.ua, row.lcs) == ("-", "REJECTED")
    assert site.nginx.errors("error")[0].text.startswith('limiting connections by zone "few"')


def test_internal_redirect(nginx_site: Put) -> None:
    site = nginx_site(scenes.redirected())
    assert site.nginx.request() == [200]
    row = site.nginx.rows()[0]
    assert row.ua == "{a} : {b}".format(**site.backends.addresses)
    assert row.us == "503 : 200"
    assert re.fullmatch(f"{NUMBER} : {NUMBER}", row.uct)


def test_name_that_nobody_resolves(nginx_site: Put) -> None:
    site = nginx_site(scenes.unresolved())
    assert site.nginx.request() == [502]
    assert site.nginx.rows()[0].ua == "-"
    assert site.nginx.errors("error")[0].text.startswith("no resolver defined to resolve nohost.invalid")


def test_cache_answers(nginx_site: Put) -> None:
    site = nginx_site(scenes.cached())
    site.nginx.request("/", 3)
    rows = site.nginx.rows()
    assert [row.cs for row in rows] == ["MISS", "HIT", "HIT"]
    assert [row.ua for row in rows] == [site.backends.addresses["a"], "-", "-"]


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scene", "old", "new"),
    [
        (scenes.keepalive(), True, True),
        (scenes.keepalive_dropped(), False, True),
        (scenes.keepalive_unwritten(), False, True),
    ],
    ids=["right", "dropped", "unwritten"],
)
def test_keepalive_by_version(nginx_site: Put, newer_nginx: Path, scene: Scene, old: bool, new: bool) -> None:
    for binary, kept in ((None, old), (newer_nginx, new)):
        site = nginx_site(scene, binary=binary)
        assert site.nginx.request("/", 40, 2) == [200] * 40
        connections, requests = site.backends.counts("a")
        assert requests == 40
        assert connections <= 4 if kept else connections == 40
        assert site.nginx.errors() == []


def test_newer_nginx_is_newer(newer_nginx: Path) -> None:
    said = subprocess.run([newer_nginx, "-v"], capture_output=True, text=True, timeout=20, check=True).stderr
    assert tuple(map(int, said.rpartition("/")[2].split("."))) >= (1, 29, 7)


def test_connection_that_ends_when_it_is_used_again(nginx_site: Put) -> None:
    site = nginx_site(scenes.keepalive_cut(), workers=1)
    assert site.nginx.request("/", 12) == [200] * 12
    assert [row.us for row in site.nginx.rows()].count("502, 200") >= 1
    assert site.nginx.errors("error")[0].text.startswith(f"upstream prematurely closed connection {HEADER}")


def test_worker_lingers_after_a_reload(nginx_site: Put) -> None:
    site = nginx_site(scenes.lingering())
    with _hung_request(site):
        site.nginx.reload()
        assert len(site.nginx.leaving()) == 1
        assert len(site.nginx.workers()) == 2


def _hung_request(site: Site) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", site.nginx.port))
    sock.sendall(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
    wait_until(lambda: site.backends.counts("a").requests == 1, "the request to arrive")
    return sock


def test_too_few_connections(nginx_site: Put) -> None:
    site = nginx_site(scenes.slow_sibling(), events="worker_connections 8;", workers=1)
    site.nginx.request("/", 12, 12)
    assert site.nginx.errors("alert")[0].text.startswith("8 worker_connections are not enough")


def test_status_page(nginx_site: Put) -> None:
    site = nginx_site(scenes.status_page())
    with urllib.request.urlopen(f"http://127.0.0.1:{site.nginx.port}/status", timeout=10) as page:
        assert page.read().startswith(b"Active connections: ")


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────


def test_hostile_agent_makes_no_field(nginx_site: Put) -> None:
    site = nginx_site(scenes.healthy())
    site.nginx.request(headers={"User-Agent": scenes.HOSTILE_AGENT})
    line = site.nginx.log_written()[0]
    assert r"ua=\x226.6.6.6:80\x22" in line
    assert r"\x1B[31m" in line
    assert line.isascii()
    assert site.nginx.rows()[0].ua == site.backends.addresses["a"]


def test_log_without_upstream_fields_and_log_in_json(nginx_site: Put) -> None:
    site = nginx_site(scenes.one_dead(), log="combined")
    site.nginx.request("/", 4)
    assert all(line.endswith('"-" "-"') for line in site.nginx.log_written())
    site = nginx_site(scenes.one_dead(), log="json", workers=1)
    site.nginx.request("/", 4, headers={"User-Agent": 'quote " and \\ back'})
    lines = [json.loads(line) for line in site.nginx.log_written()]
    assert lines[0]["upstream_status"] == "502, 200"
    assert lines[0]["agent"] == 'quote " and \\ back'


# ── how it runs ──────────────────────────────────────────────────────────────────────────────────


def test_runs_without_root(nginx_site: Put) -> None:
    if os.geteuid() != 0:
        lacking("only root can start nginx as somebody else")
    site = nginx_site(scenes.one_dead(), user="nobody")
    assert site.nginx.request("/", 4) == [200] * 4
    assert Path(f"/proc/{site.nginx.pid}").stat().st_uid != 0
    assert all(found.text.startswith(("connect() failed", "upstream server")) for found in site.nginx.errors())


def test_nothing_outlives_the_tests() -> None:
    script = (
        "import time; from servers import nginx_scenes\n"
        "with nginx_scenes.healthy().up() as site:\n"
        "    print(site.nginx.pid, *site.nginx.workers(), site.backends.pid, flush=True)\n"
        "    print(site.nginx.folder, site.backends.folder, flush=True); time.sleep(60)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, text=True) as run:
        pids = [int(word) for word in run.stdout.readline().split()]
        folders = run.stdout.readline().split()
        assert len(pids) == 4
        run.kill()
    wait_until(lambda: all(state(pid) in ("X", "Z") for pid in pids), "the end of all that was started")
    for folder in folders:
        shutil.rmtree(folder)
