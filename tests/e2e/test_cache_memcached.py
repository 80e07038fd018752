"""`opsdoc cache memcached` on real servers: caches that miss, an uneven load, and servers that fail."""

from __future__ import annotations

import contextlib
import itertools
import time

import pytest
from servers import memcached, redis
from servers.cli import Meanwhile
from servers.programs import wait_until
from servers.redis_client import names

QUICK = ("--window", "700ms")


@pytest.fixture
def look(opsdoc):
    """`look(server, …)`: a run on servers, which are words of the command line where they are no servers of ours."""

    def run(*servers, **options):
        words = [
            word
            for one in servers
            for word in (("--server", one.address) if isinstance(one, memcached.Memcached) else (one,))
        ]
        window = () if "--window" in words else QUICK
        return opsdoc.json("cache", "memcached", *words, *window, **options)

    return run


@pytest.fixture
def server():
    with contextlib.ExitStack() as made:
        yield lambda *words, **options: made.enter_context(memcached.server(*words, **options))


@contextlib.contextmanager
def load(one, step):
    """A step that is repeated over a connection of its own until the block ends, once it was done five times."""

    def calmly(client):
        step(client)
        time.sleep(0.005)

    with one.load(calmly) as running:
        running.wait_steps(5)
        yield


def stats_of(one):
    with contextlib.closing(one.client()) as client:
        return client.stats()


def fill(one, keys, **how):
    with contextlib.closing(one.client()) as client:
        client.set_many(keys, **how)


def rate(run, one):
    (found,) = [rate for rate in run.of("hit_rate") if rate["node"] == one.address]
    return found


def rules(run):
    return {finding["rule"] for finding in run.findings}


def churn(size=1000, keys=8000):
    """Reads keys of far more than the cache holds and fills what it missed."""
    numbers = itertools.count()

    def step(client):
        for number in itertools.islice(numbers, 40):
            if not client.get_many([f"churn:{number % keys}"]):
                client.set_many([f"churn:{number % keys}"], size=size)

    return step


# ── causes ───────────────────────────────────────────────────────────────────────────────────────


def test_eviction_and_items_that_nobody_ever_read(look, server):
    one = server(memory=4)
    fill(one, names(6000), size=1000)
    with load(one, churn()):
        run = look(one)
    assert run.findings[0]["rule"] == "cache.eviction"
    assert run.code == 2
    seen = rate(run, one)
    assert seen["evicted"] > 100
    assert seen["evicted_unread"] > 100
    assert run.finding("cache.evicted-unread")["severity"] == "warning"
    assert run.of("cache_node")[0]["memory_limit"] == 4 << 20


def test_what_is_over_its_time(look, server):
    one = server()

    def expire(client):
        for key in names(20):
            client.set_many([key], ttl=-1)  # over at once, and asked for before the next takes its place
            client.get_many([key])

    with load(one, expire):
        run = look(one, "--window", "2s")
    seen = rate(run, one)
    assert seen["expired"] > 100
    assert max(seen["misses_by_cause"], key=lambda part: part["misses"])["cause"] == "expired"
    assert run.findings[0]["rule"] == "cache.expired"


def test_penetration_and_a_cache_that_is_well(look, server):
    sick, well = server(), server()
    fill(well, names(100))
    numbers = itertools.count()
    with (
        load(sick, lambda client: client.get_many([f"nobody:{n}" for n in itertools.islice(numbers, 20)])),
        load(well, lambda client: client.get_many(names(20))),
    ):
        run = look(sick, well)
        assert run.finding("cache.penetration")["subject"] == sick.address
        assert rate(run, well)["ratio"] == 1
        run = look(well)
    assert run.code == 0
    assert rules(run) == {"cache.fine", "cache.healthy"}


def test_a_slab_class_that_starves(look, server):
    one = server("-o", "no_slab_reassign", memory=8)
    fill(one, names(20_000, "small"), size=200)  # holds nearly all of the memory
    with load(one, churn(size=6000, keys=2000)):
        run = look(one)
    found = run.finding("cache.slab")
    assert found["severity"] == "warning"
    slabs = {slab["subject"]: slab for slab in run.of("slab")}
    assert slabs[found["subject"]]["evicted"] > 0
    assert slabs[found["subject"]]["memory_share"] < 0.5


def test_full_and_without_eviction(look, server):
    one = server("-M", memory=2)

    def step(client):
        client._socket.sendall(b"set full 0 0 900000\r\n" + b"v" * 900_000 + b"\r\n")
        client._line()

    with contextlib.closing(one.client()) as client:
        for number in range(2500):
            client._socket.sendall(b"set k%d 0 0 1000\r\n%b\r\n" % (number, b"v" * 1000))
            client._line()
    with load(one, step):
        run = look(one)
    assert {"cache.oom", "cache.memory", "cache.slab"} & rules(run)
    assert run.of("cache_node")[0]["policy"] == "none"


def test_the_load_is_not_spread(look, server):
    three = [server() for _ in range(3)]
    for one in three:
        fill(one, names(100))
    with (
        load(three[0], lambda client: client.get_many(names(20))),
        load(three[1], lambda client: client.get_many(names(20))),
    ):
        run = look(*three)
    assert run.finding("cache.uneven")["subject"] == three[2].address
    assert sum(one["ops_share"] for one in run.of("hit_rate")) == pytest.approx(1, abs=1e-4)


def test_the_limit_of_connections(look, server):
    one = server("-c", "32")
    with contextlib.ExitStack() as stack:
        clients = []
        with contextlib.suppress(ConnectionError):
            while len(clients) < 64:
                client = stack.enter_context(contextlib.closing(one.client()))
                client.stats()
                clients.append(client)
        assert 2 < len(clients) < 32
        full = look(one)
        clients[-1].close()
        wait_until(lambda: clients[0].number("curr_connections") <= len(clients), "a place")
        run = look(one)
    assert full.code == 3
    assert "connections" in full.report["summary"]
    (node,) = run.of("cache_node")
    assert node["max_clients"] == 32
    assert node["rejected_total"] > 0


# ── no trace ─────────────────────────────────────────────────────────────────────────────────────


def test_runs_leave_the_statistics_as_they_were(look, server):
    one = server()
    fill(one, names(10))
    before = stats_of(one)
    for _ in range(2):
        run = look(one)
        assert run.findings[0]["rule"] == "cache.not-judgeable"
    after = stats_of(one)
    for name in ("get_hits", "get_misses", "cmd_get", "cmd_set", "cmd_touch", "curr_items", "curr_connections"):
        assert after[name] == before[name], name


def test_without_a_window_nothing_is_judged(look, server):
    one = server()
    with contextlib.closing(one.client()) as client:
        client.get_many(names(200))
    run = look(one, "--window", "0")
    assert run.findings[0]["rule"] == "cache.not-judgeable"
    assert rate(run, one)["lifetime_ratio"] == 0
    assert rate(run, one)["ratio"] is None


def test_counters_that_are_reset_within_the_window(look, server):
    one = server()
    with contextlib.closing(one.client()) as client:
        client.get_many(names(200))
        asked = int(client.stats()["total_connections"])

        def reset():
            client._socket.sendall(b"stats reset\r\n")
            client._line()

        meanwhile = Meanwhile(lambda _pid: client.number("total_connections") > asked, reset)
        run = look(one, "--window", "1500ms", when=meanwhile)
    assert meanwhile.done
    assert rate(run, one)["reset"] is True
    assert rate(run, one)["hits"] is None
    assert run.findings[0]["rule"] == "cache.not-judgeable"


# ── getting in, and who is none ──────────────────────────────────────────────────────────────────


def test_unix_sockets_and_recordings(opsdoc, server, tmp_path):
    one = server(mode="unix")
    run = opsdoc.json("cache", "memcached", "--server", one.socket, *QUICK, "--record", tmp_path / "case")
    assert rate(run, one)["uptime"] is not None
    again = opsdoc.json("cache", "memcached", "--replay", tmp_path / "case")
    for report in (run.report, again.report):
        report.pop("cost")
    assert run.report == again.report


def test_one_of_two_that_is_frozen(look, server):
    well, frozen = server(), server()
    with frozen.frozen():
        run = look(well, frozen)
        assert run.finding("cache.node-dead")["subject"] == frozen.address
        assert run.report["elapsed_seconds"] < 4
        alone = look(frozen)
    assert alone.code == 3
    assert "did not answer" in alone.report["summary"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "missing --server"),
        (("--server", "a:1,b:2"), "name each server by itself"),
        (("--server", "h:0"), "HOST:PORT"),
    ],
)
def test_what_is_wrong_before_anything_is_asked(opsdoc, words, said):
    run = opsdoc("cache", "memcached", *words)
    assert run.code == 64
    assert said in run.stderr


def test_who_is_no_memcached(look):
    with redis.standalone() as one:
        run = look("--server", one.address)
    assert run.code == 3
    assert "it is Redis, not memcached" in run.report["summary"]
    run = look("--server", f"127.0.0.1:{redis.free_ports(1)[0]}")
    assert run.code == 3
    assert "refused" in run.report["summary"]
