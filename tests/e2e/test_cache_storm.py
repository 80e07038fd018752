"""The playbook cache-miss-storm on real loads: a Redis that evicts, a memcached beside it; and what it tells nobody."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest
from servers import memcached, redis
from servers.programs import wait_until
from servers.redis_client import aside, names

SECRET = "Hunter2Secret9"
QUICK = ("-p", "window=700ms", "-p", "since=10s")


@pytest.fixture(scope="module")
def storm():
    """A Redis behind a password that evicts what is read next, and a memcached of which all is read."""
    with contextlib.ExitStack() as made:
        one = made.enter_context(redis.standalone(maxmemory="4mb", maxmemory_policy="allkeys-lru", requirepass=SECRET))
        made.enter_context(one.load(aside(names(20_000), size=500)))
        wait_until(lambda: int(one.info()["evicted_keys"]) > 1000, "evictions")
        other = made.enter_context(memcached.server())
        with contextlib.closing(other.client()) as client:
            client.set_many(names(100))
        made.enter_context(other.load(lambda client: client.get_many(names(20))))
        yield one, other


def secret_url(one):
    return f"url=redis://default:{SECRET}@{one.address}"


def outcome(run, name="cause"):
    (found,) = [finding for finding in run.findings if finding["rule"] == f"cache-miss-storm.{name}"]
    return found


def told(run, *folders):
    """Everything that a run left: what it wrote, and its files."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [run.stdout, run.stderr, *map(Path.read_text, files)]


def test_a_storm_of_evictions_is_the_verdict_in_every_output(storm, opsdoc, tmp_path):
    one, other = storm
    page, case = tmp_path / "r.html", tmp_path / "case"
    words = ("-p", secret_url(one), "-p", f"server={other.address}", *QUICK)
    run = opsdoc.json("run", "cache-miss-storm", *words, "--record", case, "-o", page)
    assert run.code == 2
    assert outcome(run)["severity"] == "critical"
    assert f"{one.address} hits in" in outcome(run)["summary"]
    assert "it is too small" in outcome(run)["summary"]
    assert "raise its memory limit" in outcome(run)["next_step"]
    assert outcome(run, "behind")["severity"] in ("ok", "warning")  # the box may be busy with others
    steps = {result["step"]: result for result in run.report["results"]}
    assert {"redis", "memcached", "site", "top"} <= steps.keys()
    assert steps["redis"]["findings"][0]["rule"] == "cache.eviction"
    assert {finding["rule"] for finding in steps["memcached"]["findings"]} == {"cache.fine", "cache.healthy"}
    html = page.read_text()
    for picture in (
        f"Hit rate {one.address} over the window</title>",
        f"Misses by cause, hit rate {one.address}</title>",
    ):
        assert picture.casefold() in html.casefold(), picture
    assert not [text for text in told(run, tmp_path) if SECRET in text]
    again = opsdoc.json("run", "cache-miss-storm", "--replay", case)
    assert again.report["summary"] == run.report["summary"]
    assert [one["rule"] for one in again.findings] == [one["rule"] for one in run.findings]


def test_a_plan_asks_nobody(storm, opsdoc):
    one, other = storm
    before = int(one.info()["total_connections_received"])
    with contextlib.closing(other.client()) as client:
        connections = client.number("total_connections")
        planned = opsdoc("run", "cache-miss-storm", "-p", secret_url(one), "-p", f"server={other.address}", "--dry-run")
        assert client.number("total_connections") == connections
    assert int(one.info()["total_connections_received"]) == before + 1  # ours
    assert planned.code == 0
    assert one.address in planned.stdout
    assert "INFO twice" in planned.stdout
    assert not [text for text in told(planned) if SECRET in text]


def test_a_memcached_that_misses_beside_no_redis(opsdoc):
    numbers = itertools.count()
    with (
        memcached.server() as one,
        one.load(lambda client: client.get_many([f"nobody:{next(numbers)}" for _ in range(20)])),
    ):
        run = opsdoc.json("run", "cache-miss-storm", "-p", f"server={one.address}", *QUICK)
    assert outcome(run)["severity"] == "critical"
    assert "nobody fills what is missed" in outcome(run)["summary"]
    assert {result["step"]: result["status"] for result in run.report["results"]}["redis"] == "skipped"


def test_without_a_cache_it_says_what_is_wanted(opsdoc):
    run = opsdoc.json("run", "cache-miss-storm", *QUICK)
    assert outcome(run)["severity"] == "unknown"
    assert "-p url=redis://HOST:PORT, -p server=HOST:PORT or -p pid=PID" in outcome(run)["summary"]


def test_a_password_in_a_parameter_is_in_no_output_and_no_case(opsdoc, tmp_path):
    only = ("--only", "redis", "-p", f"url=redis://ops:{SECRET}@127.0.0.1:1")
    planned = opsdoc("run", "cache-miss-storm", *only, "--dry-run")
    run = opsdoc.json("run", "cache-miss-storm", *only, "--record", tmp_path / "case", "-o", tmp_path / "r.html")
    assert run.code == 3
    assert {"case.json", "recording.json", "r.html"} <= {path.name for path in tmp_path.rglob("*")}
    assert not [text for text in (*told(planned), *told(run, tmp_path)) if SECRET in text]
    again = opsdoc.json("run", "cache-miss-storm", "--replay", tmp_path / "case")
    assert again.report["summary"] == run.report["summary"]
