"""Caches of nginx: beginnings of URLs, zones by location, folders that are too large to be seen, and their findings."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from opsdoc.clients import Live, nginx_cache
from opsdoc.clients.nginx_cache import CacheFolder
from opsdoc.model import Denied, Severity, Unreachable
from opsdoc.parsers.cache_tally import MOST_PREFIXES, OTHER, CacheTally, path_of, prefix_of, target_of
from opsdoc.parsers.log_format import compile_format
from opsdoc.parsers.nginx_nouns import AccessLog, Conf, Pass, Place, Setting
from opsdoc.parsers.nginx_zones import Zones
from opsdoc.parsers.tally import read
from opsdoc.redact import Redactor
from opsdoc.signals.cache_health import CacheNode, Limits, judge

HERE = Place("/etc/nginx/nginx.conf", 1)
MIB = 1 << 20


# ── the lines ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/", "/"),
        ("/shop", "/shop"),
        ("/shop/", "/shop"),
        ("/api/v1/stock/7", "/api/v1"),
        ("/shop/123", "/shop/*"),
        ("/static/app.9f3c.js", "/static/*.js"),
        ("/item/f3a9c7e2-1111-2222-3333-444455556666", "/item/*"),
        ("/a%2Fb/x", "/*/x"),
        ("/" + "a" * 33, "/*"),
        ("/reset/0123456789abcdef", "/reset/*"),
        (r"/\x1B[31m/x", "/*/x"),
        ("//x", "//x"),
        ("", OTHER),
    ],
)
def test_the_beginning_of_a_url_has_plain_words_only(path, prefix):
    assert prefix_of(path) == prefix


def test_what_was_asked_for():
    assert target_of(b"GET /a?b=1 HTTP/1.1") == b"/a?b=1"
    assert target_of(b"\\x16\\x03\\x01") == b""
    assert path_of(b"/a?b=1") == "/a"
    assert path_of(b"http://site.test/a?b") == "/a"
    assert path_of(b"*") == path_of(b"") == ""


def counted(lines: list[tuple[str, str]], form: str = '"$request" $upstream_cache_status') -> CacheTally:
    tally = CacheTally(lambda path: "api" if path.startswith("/api/") else "pages")
    text = "".join(f'"GET {url} HTTP/1.1" {status}\n' for url, status in lines)
    for block in read(text.encode(), compile_format(form)):
        tally.add(block)
    return tally


def test_statuses_are_counted_by_zone_and_prefix_and_misses_by_url():
    told = [("/shop/1", "MISS"), ("/shop/1", "MISS"), ("/shop/2", "MISS"), ("/shop/2", "HIT"), ("/api/x", "BYPASS")]
    tally = counted([*told, ("/other", "-"), ("/other", "NEW")])
    assert (tally.rows, tally.unread) == (7, 0)
    assert set(tally.zones) == {"pages", "api"}
    pages = tally.zones["pages"]
    assert pages.prefixes == {"/shop/*": {"MISS": 3, "HIT": 1}}
    assert pages.repeats[:] == (2, 1, 2, True)
    assert tally.zones["api"].repeats[:] == (0, 0, 0, True)
    assert pages.repeats.plus(pages.repeats)[:] == (4, 2, 4, True)


def test_a_log_that_says_nothing_of_caches_is_counted_as_lines_alone():
    tally = CacheTally(lambda _: "pages")
    for block in read(b'"GET / HTTP/1.1" 200\nx\n', compile_format('"$request" $status')):
        tally.add(block)
    assert (tally.rows, tally.unread, tally.zones) == (1, 1, {})


def test_too_many_prefixes_are_one():
    letters = "abcdefghij"
    names = [f"/{a}{b}{c}{d}/" for a in letters for b in letters for c in letters for d in letters[:3]]
    (pages,) = counted([(name, "HIT") for name in names]).zones.values()
    assert len(pages.prefixes) == MOST_PREFIXES + 1
    assert pages.prefixes[OTHER]["HIT"] == len(names) - MOST_PREFIXES


# ── the zones ────────────────────────────────────────────────────────────────────────────────────


def zones(*passes: tuple[str, str], log: tuple[str, ...] = (), servers: tuple[str, ...] = ()) -> Zones:
    made = [
        Pass("proxy", False, "http://app", "app", "", servers, location, HERE, {"cache": Setting((zone,), HERE)})
        for location, zone in passes
    ]
    return Zones(Conf(passes=tuple(made)), AccessLog("/log", server_names=log), "/log")


def test_a_location_is_found_as_nginx_finds_it():
    found = zones(
        ("/", "a"), ("/api/", "b"), ("= /api/x", "c"), (r"~* \.(png|jpe?g)$", "d"), (r"~ \.css$", "e"),
        ("^~ /fixed/", "f"), ("@spare", "g"), ("~ ^/old/", "h"), ("/off", "off"), ("/var", "$zone"),
    )  # fmt: skip
    asked = ("/", "/api/y", "/api/x", "/a.css", "/fixed/a.css")
    assert [found.of(path) for path in asked] == ["a or b or c or d or others", "a or b or c or d or others", "c",
                                                  "a or b or c or d or others", "f"]  # fmt: skip
    plain = zones(("/", "a"), ("/api/", "b"), (r"~* \.(png|jpg)$", "d"), ("~ ^/old/", "h"), ("^~ /fixed/", "f"))
    asked = ("/", "/api/y", "/api/y.PNG", "/old/x", "/fixed/a.png", "")
    assert [plain.of(path) for path in asked] == ["a", "b", "d", "h", "f", "a or b or d or f or others"]


def test_one_zone_needs_no_location_and_none_is_the_log():
    assert zones(("~ (a+)+$", "a"), ("/x", "a")).of("/whatever") == "a"
    assert zones(("/", "off")).of("/") == "/log"
    assert zones(("/", "a"), log=("site.test",), servers=("other.test",)).of("/") == "/log"
    assert zones(("/", "a"), log=("site.test",), servers=("site.test",)).of("/") == "a"


# ── the folders ──────────────────────────────────────────────────────────────────────────────────


def seen(folder: Path, since: float = 0.0) -> dict:
    return CacheFolder(str(folder), None, since).answer(Live(deadline=time.monotonic() + 30, redactor=Redactor()))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Sixteen parts with eight files of one page each."""
    for part in "0123456789abcdef":
        (tmp_path / part / "0a").mkdir(parents=True)
        for number in range(8):
            (tmp_path / part / "0a" / f"{number}").write_bytes(b"x" * 4096)
    return tmp_path


def test_a_folder_is_counted_whole(folder):
    os.utime(folder / "0" / "0a" / "0", (1000, 1000))
    told = seen(folder, since=time.time() - 600)
    assert (told["files"], told["written"], told["oldest"], told["share"]) == (128, 127, 1000, 1)
    assert told["bytes"] == sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
    assert 0 < told["disk_free"] <= told["disk_size"]
    assert seen(folder / "0" / "0a")["files"] == 8
    (folder / "0" / "0a" / "x" / "y").mkdir(parents=True)
    (folder / "0" / "0a" / "x" / "y" / "deeper than nginx makes them").touch()
    assert seen(folder)["files"] == 128


def test_of_a_large_folder_some_parts_stand_for_all(folder, monkeypatch):
    monkeypatch.setattr(nginx_cache, "MOST_FILES", 100)
    told = seen(folder)
    assert told["share"] == 10 / 16
    assert told["files"] == 80
    monkeypatch.setattr(nginx_cache, "MOST_FILES", 5)
    assert seen(folder)["share"] is None


def test_symlinks_in_a_folder_lead_nowhere(folder):
    outside = folder / "f" / "link"
    outside.symlink_to("/etc")
    (folder / "g").symlink_to("/etc")
    assert seen(folder)["files"] == 128


def test_what_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    for name in ("file", "none", "\0"):
        with pytest.raises(Unreachable):
            seen(tmp_path / name)
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0)
        with pytest.raises(Denied):
            seen(tmp_path / "closed")
    with pytest.raises(Unreachable):
        CacheFolder("/", 4_194_304, 0.0).answer(Live(deadline=time.monotonic() + 30, redactor=Redactor()))


# ── the findings ─────────────────────────────────────────────────────────────────────────────────


def zone(**more: object) -> CacheNode:
    base = {"memory_used": MIB, "memory_limit": 4 * MIB, "policy": "lru", "manager": "runs", "files": 7}
    return CacheNode(subject="pages", node="pages", product="nginx", **{**base, **more})


def found(node: CacheNode) -> dict[str, Severity]:
    return {one.rule: one.severity for one in judge([node], [], Limits()) if one.severity is not Severity.OK}


def test_a_zone_that_is_well():
    (fine,) = judge([zone(looked_at=0.25)], [], Limits())
    assert fine.summary == "pages is well: folder 25 % of its limit, 7 files, 25 % of it looked at, cache manager runs"
    (fine,) = judge([zone(memory_limit=None)], [], Limits())
    assert fine.summary == "pages is well: folder 1.0 MiB, no limit, 7 files, cache manager runs"
    assert found(zone(memory_used=5 * MIB)) == {}, "for a moment a burst is beyond the limit"


def test_a_zone_that_is_not():
    assert found(zone(memory_used=7 * MIB)) == {"cache.over-size": Severity.WARNING}
    assert found(zone(manager="missing")) == {"cache.no-manager": Severity.WARNING}
    assert found(zone(manager="stands still")) == {"cache.no-manager": Severity.WARNING}
    assert found(zone(manager="waits for a disk", memory_used=4 * MIB)) == {}
    assert found(zone(disk_size=100 * MIB, disk_free=6 * MIB)) == {}
    assert found(zone(disk_size=100 * MIB, disk_free=4 * MIB)) == {"cache.disk": Severity.WARNING}
    assert found(zone(disk_size=100 * MIB, disk_free=0)) == {"cache.disk": Severity.CRITICAL}
    redis = CacheNode(subject="r", node="r", memory_used=7 * MIB, memory_limit=4 * MIB, policy="allkeys-lru")
    assert found(redis) == {}
