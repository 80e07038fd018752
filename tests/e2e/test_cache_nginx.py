"""`opsdoc cache nginx` on real caches: each status of the log, each cause of misses, and what cannot be seen."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter

import pytest
from servers.nginx import COMBINED, FIELDS, debian_nginx
from servers.nginx_scenes import Scene, Site, healthy
from servers.programs import state, wait_until

KEEP = "proxy_cache pages; proxy_cache_valid 200 10m;"
HIT = ("HIT", "STALE", "UPDATING", "REVALIDATED")
MISSED = ("MISS", "EXPIRED", "BYPASS")


def caching(
    *locations: str, zones: str = "pages:1m max_size=100m", group: str = "server <a>;", mode: str = "ok", http: str = ""
) -> Scene:
    """A site with caches; a zone is written as its `keys_zone` and what follows, a location as its path and words."""
    paths = "".join(f"proxy_cache_path <here>/{zone.split(':')[0]} keys_zone={zone};\n" for zone in zones.split("; "))
    passed = "".join(
        "location {} {{ proxy_pass http://app; {} }}\n".format(*one.split(": ", 1))
        for one in locations or (f"/: {KEEP}",)
    )
    server = f"server {{ listen 127.0.0.1:<port>; {passed} }}"
    return Scene(f"{http}\n{paths}upstream app {{ {group} }}\n{server}", {"a": mode})


def numbered(folder: str, count: int) -> list[str]:
    return [f"{folder}/{number}" for number in range(count)]


@pytest.fixture
def look(opsdoc):
    """`look(site, …)`: a run on a site whose requests are all logged."""

    def run(site: Site, *words, command=opsdoc, **options):
        site.nginx.log_written()
        return command.json("cache", "nginx", "--pid", site.nginx.pid, *words, **options)

    return run


def rates(run) -> dict[str, dict]:
    """The hit rates by zone, or by zone and beginning of the URL."""
    return {one["subject"]: one for one in run.of("hit_rate")}


def only(run) -> dict:
    """The finding that is not OK; there is but one."""
    (finding,) = [one for one in run.findings if one["severity"] != "ok"]
    return finding


def counts(site: Site) -> Counter[str]:
    return Counter(row.cs for row in site.nginx.rows())


# ── what the log tells ───────────────────────────────────────────────────────────────────────────


def test_a_cache_that_hits(look, nginx_site):
    site = nginx_site(caching())
    site.nginx.request(numbered("/shop", 20), 1200, 4)
    run = look(site)
    assert (run.code, [one for one in run.findings if one["severity"] != "ok"]) == (0, [])
    seen = counts(site)
    whole = rates(run)["pages"]
    assert (whole["hits"], whole["misses"]) == (seen["HIT"], seen["MISS"])
    assert whole["ratio"] == pytest.approx(seen["HIT"] / 1200)
    assert (whole["window_seconds"], run.report["results"][0]["window_seconds"]) == (300, 300)
    assert whole["product"] == "nginx"
    assert "pages hits in " in run.report["summary"]
    assert " of 1,200 reads in 5 min; lowest in /shop/* with " in run.report["summary"]
    (node,) = run.of("cache_node")
    assert node["memory_limit"] == 100 << 20
    assert (node["files"], node["looked_at"], node["manager"]) == (20, 1, "runs")
    assert node["memory_used"] == sum(file.stat().st_blocks * 512 for file in (site.nginx.folder / "pages").iterdir())
    assert "20 files, cache manager runs" in run.report["summary"]
    assert run.unseen == []
    without = look(site, "--no-folders")
    assert (without.code, without.of("cache_node")) == (0, [])


def test_every_status_counts_as_the_documentation_has_it(look, nginx_site):
    """The origin is nginx itself, which answers 304 to what has not changed: so there is REVALIDATED, too."""
    origin = (
        "server { listen unix:<here>/origin.sock; root <here>/www; access_log off; "
        "location / { if (-f <here>/sick) { return 503; } } }"
    )
    keep = "proxy_cache pages; proxy_cache_valid 200 1s; proxy_cache_bypass $http_x_fresh; "
    stale = keep + "proxy_cache_use_stale http_503;"
    scene = caching(
        f"/again/: {keep} proxy_cache_revalidate on;",
        f"/late/: {stale}",
        f"/news/: {keep}",
        group="server unix:<here>/origin.sock;",
        http=origin,
    )
    site = nginx_site(scene)
    for folder in ("again", "late", "news"):
        (site.nginx.folder / "www" / folder).mkdir(parents=True)
        for number in range(30):
            (site.nginx.folder / "www" / folder / str(number)).write_text("a page\n")
    everything = [path for folder in ("/again", "/late", "/news") for path in numbered(folder, 30)]
    site.nginx.request(everything, 2 * len(everything))
    site.nginx.request(numbered("/news", 30), 30, headers={"X-Fresh": "1"})

    def expired() -> bool:
        site.nginx.request("/news/0")
        return counts(site)["EXPIRED"] > 0

    wait_until(expired, "a page that is over its time")
    (site.nginx.folder / "sick").touch()
    site.nginx.request(numbered("/late", 30), 60)
    (site.nginx.folder / "sick").unlink()
    site.nginx.request(numbered("/again", 30), 30)
    seen = counts(site)
    assert {"MISS", "HIT", "EXPIRED", "BYPASS", "STALE", "REVALIDATED"} <= set(seen)

    run = look(site)
    found = rates(run)
    whole = found["pages"]
    assert whole["hits"] == sum(seen[status] for status in HIT)
    assert whole["misses"] == sum(seen[status] for status in MISSED)
    assert (whole["expired"], whole["bypassed"], whole["stale"]) == (seen["EXPIRED"], seen["BYPASS"], seen["STALE"])
    parts = {name: found[f"pages {name}"] for name in ("/again/*", "/late/*", "/news/*")}
    assert {part["part_of"] for part in parts.values()} == {"pages"}
    for field in ("hits", "misses", "expired", "bypassed", "stale"):
        assert sum(part[field] for part in parts.values()) == whole[field]
    assert parts["/late/*"]["stale"] == seen["STALE"]
    assert parts["/news/*"]["bypassed"] == 30
    assert parts["/again/*"]["misses"] == 30
    assert f", {seen['STALE']} of them on what was over its time" in run.report["summary"]


def test_zones_are_told_apart_by_location(look, nginx_site):
    zones = "pages:1m; pictures:1m; api:1m; unused:1m"
    site = nginx_site(
        caching(
            f"/: {KEEP}",
            r"~* \.(png|jpg)$: proxy_cache pictures; proxy_cache_valid 200 10m;",
            "/api/: proxy_cache api;",
            "^~ /api/fixed/: proxy_cache pictures; proxy_cache_valid 200 10m;",
            zones=zones,
        )
    )
    for path, number in (("/a/b.png", 100), ("/api/v1/stock", 150), ("/api/fixed/a", 200), ("/start", 250)):
        site.nginx.request(path, number)
    run = look(site)
    found = rates(run)
    reads = {name: found[name]["hits"] + found[name]["misses"] for name in ("pages", "pictures", "api")}
    assert reads == {"pages": 250, "pictures": 300, "api": 150}
    assert found["api /api/v1"]["misses"] == 150
    assert "unused" not in found
    assert [one["node"] for one in run.of("cache_node")] == zones.replace(":1m", "").split("; ")
    assert run.finding("cache.penetration")["subject"] == "api"


def test_a_log_as_json_and_a_limit_of_rows(look, nginx_site):
    site = nginx_site(caching(), log="json")
    for number in range(12):
        site.nginx.request(f"/part{'abcdefghijkl'[number]}/x", 20 + number)
    run = look(site, "-n", 3)
    found = rates(run)
    assert list(found)[-1] == "pages all other URLs"
    assert len(found) == 5
    assert sum(found[name]["hits"] for name in list(found)[1:]) == found["pages"]["hits"]
    assert run.report["results"][0]["total"]["hit_rate"] == 13


# ── why it misses ────────────────────────────────────────────────────────────────────────────────


def test_requests_that_go_round_the_cache(look, nginx_site):
    site = nginx_site(caching(f"/: {KEEP} proxy_cache_bypass $cookie_session;"))
    site.nginx.request(numbered("/shop", 10), 500)
    site.nginx.request(numbered("/cart", 10), 600, headers={"Cookie": "session=1"})
    finding = only(look(site))
    assert (finding["rule"], finding["severity"]) == ("cache.bypass", "critical")
    assert "600 of 610 misses were told to go round the cache; most in /cart/* (600 of 600" in finding["summary"]
    assert "proxy_cache_bypass" in finding["next_step"]
    assert finding["by_hand"][0].endswith("| sort | uniq -c")


def test_the_playbook_names_a_cache_of_pages(opsdoc, nginx_site):
    site = nginx_site(caching(f"/: {KEEP} proxy_cache_bypass $cookie_session;"))
    site.nginx.request(numbered("/cart", 10), 1200, headers={"Cookie": "session=1"})
    site.nginx.log_written()
    run = opsdoc.json("run", "cache-miss-storm", "-p", f"nginx={site.nginx.pid}", "-p", "since=5m")
    (found,) = [one for one in run.findings if one["rule"] == "cache-miss-storm.cause"]
    assert (found["severity"], "1,200 of 1,200 misses" in found["summary"]) == ("critical", True)
    assert "proxy_cache_bypass" in found["next_step"]


def test_answers_that_are_not_kept(look, nginx_site):
    """Nothing says how long they hold: each is asked for again and again."""
    site = nginx_site(caching("/: proxy_cache pages;"))
    site.nginx.request(numbered("/shop", 10), 1000, 4)
    run = look(site)
    finding = only(run)
    assert (finding["rule"], finding["severity"]) == ("cache.penetration", "critical")
    assert "nobody fills what is missed, 0 writes for 1,000 misses" in finding["summary"]
    assert "Set-Cookie, Cache-Control" in finding["next_step"]
    assert rates(run)["pages"]["missed_again"] == 990


def test_a_zone_whose_keys_find_no_room(look, nginx_site):
    site = nginx_site(caching(zones="pages:64k"))
    site.nginx.request(numbered("/shop", 1000), 2000, 4)
    finding = only(look(site))
    assert (finding["rule"], finding["severity"]) == ("cache.eviction", "critical")
    room = r"it is too small, about [\d,]+ answers were evicted; \d+ files, and its keys_zone has room for about 500"
    assert re.search(room, finding["summary"])
    assert "keys_zone" in finding["next_step"]


def test_answers_that_are_soon_over_their_time(look, nginx_site):
    site = nginx_site(caching("/: proxy_cache pages; proxy_cache_valid 200 1s;"))
    pages = numbered("/shop", 60)

    def expired() -> bool:
        site.nginx.request(pages, 60)
        return counts(site)["EXPIRED"] >= 120

    wait_until(expired, "pages over their time, twice")
    run = look(site, "--limit", "hit_rate.misses=0:0")
    finding = only(run)
    seen = counts(site)
    assert finding["rule"] == "cache.expired"
    assert f"{seen['EXPIRED']:,} of {seen['EXPIRED'] + seen['MISS']:,} misses were for answers" in finding["summary"]
    assert "proxy_cache_valid" in finding["next_step"]


def test_urls_that_nobody_else_reads(look, nginx_site):
    site = nginx_site(caching())
    site.nginx.request([f"/shop?visitor={number}" for number in range(1000)], 1000, 4)
    finding = only(look(site))
    assert (finding["rule"], finding["severity"]) == ("cache.pattern-shift", "critical")
    assert "keys are read that were not there before and are filled now, 1,000 writes" in finding["summary"]
    assert "proxy_cache_key" in finding["next_step"]


# ── the folder ───────────────────────────────────────────────────────────────────────────────────


def test_a_folder_over_its_limit_while_the_cache_manager_stands_still(look, nginx_site):
    """And when it goes on, a zone that is at its limit, and too small."""
    site = nginx_site(caching(zones="pages:1m max_size=400k"))
    (manager,) = [pid for pid, title in site.nginx._children().items() if title == "nginx: cache manager process"]
    os.kill(manager, signal.SIGSTOP)
    try:
        wait_until(lambda: state(manager) == "T", "the cache manager to stand still")
        site.nginx.request(numbered("/shop", 500), 1000, 4)
        run = look(site)
    finally:
        os.kill(manager, signal.SIGCONT)
    over = run.finding("cache.over-size")
    assert over["severity"] == "warning"
    holds = r"the folder of pages holds [\d.]+ times what it may, [\d.]+ MiB of 400 KiB; its cache manager stands still"
    assert re.fullmatch(holds, over["summary"])
    nobody = run.finding("cache.no-manager")
    assert "the cache manager of nginx stands still, its folder holds " in nobody["summary"]
    assert run.findings.index(nobody) < run.findings.index(over), "it explains the other"

    folder = site.nginx.folder / "pages"
    wait_until(lambda: len(list(folder.iterdir())) <= 100, "the cache manager to remove files")
    site.nginx.request(numbered("/shop", 30), 30)
    again = look(site)
    finding = only(again)
    assert (finding["rule"], finding["severity"]) == ("cache.eviction", "critical")
    assert re.search(r"it is too small, about 4\d\d answers were evicted; \d+ of 400 KiB used", finding["summary"])
    assert "max_size" in finding["next_step"]


def test_a_folder_that_may_not_be_read(look, nginx_site, opsdoc_as_nobody):
    site = nginx_site(caching(), user="nobody") if os.geteuid() else nginx_site(caching())
    site.nginx.request(numbered("/shop", 20), 1200, 4)
    site.nginx.log_written()
    shutil.chown(site.nginx.folder / "pages", 0)
    run = look(site, "--conf", site.nginx.conf, command=opsdoc_as_nobody)
    assert run.code == 3
    unknown = run.finding("cache.unknown")
    assert unknown["summary"] == f"what it holds of pages unknown: not permitted to read {site.nginx.folder}/pages"
    assert run.of("cache_node")[0]["unknown"]["files"].startswith("not permitted")
    assert rates(run)["pages"]["hits"] == 1180


# ── what cannot be seen ──────────────────────────────────────────────────────────────────────────


def test_an_nginx_without_a_cache(look, nginx_site):
    site = nginx_site(healthy())
    site.nginx.request("/", 20)
    run = look(site)
    assert run.code == 3
    assert only(run)["rule"] == "target.unsupported"
    assert f"this nginx has no cache: no proxy_cache_path in {site.nginx.conf}" in run.report["summary"]


@pytest.mark.parametrize("form", ["combined", "json"])
def test_a_log_that_lacks_the_status_and_the_line_that_adds_it(look, nginx_site, form):
    brief = """log_format brief escape=json '{"at":"$time_iso8601","request":"$request","status":"$status"}';\n"""
    use = "" if form == "combined" else "access_log <here>/access.log brief;"
    scene = caching(http=brief + use)
    site = nginx_site(scene._replace(http=scene.http), log="combined")
    if form == "json":
        site.nginx.rewrite(scene.http)
        text = site.nginx.conf.read_text().replace("access.log combined;", "other.log combined;")
        site.nginx.conf.write_text(text)
        site.nginx.reload()
    site.nginx.request(numbered("/shop", 10), 500)
    run = look(site)
    assert run.code == 3
    unknown = rates(run)["pages"]["unknown"]
    assert re.search(r"format (combined|brief) of \S+ lacks \$upstream_cache_status", unknown["hits"])
    assert only(run)["rule"] == "cache.not-judgeable"
    hint = next(one["hint"] for one in run.unseen if "lacks $upstream_cache_status" in one["detail"])
    line = re.search(r"log_format (\S+) .*;(?= and use it)", hint)
    site.nginx.rewrite(f"{line[0]}\naccess_log <here>/second.log {line[1]};\n{scene.http.replace(use, '')}")
    site.nginx.reload()
    site.nginx.access_log, site.nginx.sent = site.nginx.folder / "second.log", 0
    site.nginx.request(numbered("/shop", 10), 1000, 4)
    again = look(site)
    assert (again.code, again.unseen) == (0, [])
    assert rates(again)["pages"]["hits"] == 1000


def test_hostile_urls(opsdoc, look, nginx_site):
    site = nginx_site(caching())
    secret = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
    hostile = [
        "/\x1b[31mred", "/%1b]0;title%07/x", "/<script>alert(1)</script>/x", f"/{'a' * 4000}/x", f"/{secret}/x",
        f"/login?password={secret}", "/\u202eevil/x", "/a\x00b", "//x", "/../../etc/passwd", "/'/x", '/"/x', "*",
        "x" * 50, "/123456789/x", "/f3a9c7e2-1111-2222-3333-444455556666/x", "/reset/" + "Q" * 40,
    ]  # fmt: skip
    site.nginx.request(hostile, 3 * len(hostile))
    run = look(site, "-n", 0)
    names = [one["node"] for one in run.of("hit_rate")]
    plain = re.compile(r"pages|\(other\)|/(?:\*|[A-Za-z0-9._~-]{0,32})(?:/(?:\*|\*\.\w{1,6}|[A-Za-z0-9._~-]{0,32}))?")
    assert [name for name in names if not plain.fullmatch(name)] == []
    assert secret not in run.stdout
    assert rates(run)["pages"]["hits"] + rates(run)["pages"]["misses"] == sum(
        counts(site)[one] for one in (*HIT, *MISSED)
    )
    text = opsdoc("cache", "nginx", "--pid", site.nginx.pid, "-v")
    assert ("\x1b" in text.stdout, secret in text.stdout) == (False, False)


# ── elsewhere ────────────────────────────────────────────────────────────────────────────────────


def test_a_saved_configuration_and_copied_logs(opsdoc, look, nginx_site):
    site = nginx_site(caching(f"/: {KEEP}", "/api/: proxy_cache api;", zones="pages:1m; api:1m"))
    site.nginx.request([*numbered("/shop", 10), "/api/stock"], 2200, 4)
    live = rates(look(site))
    dumped = subprocess.run([debian_nginx(), "-T", "-c", site.nginx.conf], capture_output=True, check=True)
    dump, log = opsdoc.folder / "dump.txt", opsdoc.folder / "access.log"
    dump.write_bytes(dumped.stdout)
    shutil.copy(site.nginx.access_log, log)
    saved = opsdoc.json("cache", "nginx", "--conf", dump, "--log", log)
    told = {name: (one["hits"], one["misses"]) for name, one in rates(saved).items()}
    assert told == {name: (one["hits"], one["misses"]) for name, one in live.items()}
    assert saved.of("cache_node") == []
    assert only(saved)["rule"] == only(look(site))["rule"] == "cache.penetration", "told by what is missed again"
    alone = opsdoc.json("cache", "nginx", "--log", log, "--log-format", f"{COMBINED} {FIELDS}")
    assert rates(alone)[str(log)]["misses"] == told["pages"][1] + told["api"][1]
    assert opsdoc("cache", "nginx", "--log", opsdoc.folder / "none.log").code == 64
