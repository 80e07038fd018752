"""The caches are as sick as they claim: checked with counters that our own small clients read."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import memcached, redis
from servers.programs import wait_until
from servers.redis import MASTER, SLOTS, Redis
from servers.redis_client import (
    BUSY,
    Client,
    Refused,
    aside,
    fill,
    hot,
    mostly_missed,
    names,
    past,
    penetration,
    populate,
)


@pytest.fixture
def server() -> Iterator[Callable[..., Redis]]:
    """`server(maxmemory="4mb")`: a real one until the test ends."""
    with contextlib.ExitStack() as made:
        yield lambda **options: made.enter_context(redis.standalone(**options))


@pytest.fixture
def one(server: Callable[..., Redis]) -> Redis:
    return server()


@pytest.fixture
def client(one: Redis) -> Iterator[Client]:
    with contextlib.closing(one.client()) as made:
        yield made


class Change:
    """What counters grew by since this was made."""

    def __init__(self, server: Redis) -> None:
        self._server = server
        self._before = server.info()

    def __getitem__(self, field: str) -> int:
        return int(self._server.info().get(field, 0)) - int(self._before.get(field, 0))

    def calls(self, command: str) -> int:
        def read(info: dict[str, str]) -> int:
            match = re.match(r"calls=(\d+)", info.get(f"cmdstat_{command}", ""))
            return int(match[1]) if match else 0

        return read(self._server.info()) - read(self._before)

    @property
    def ratio(self) -> float:
        hits, misses = self["keyspace_hits"], self["keyspace_misses"]
        return hits / (hits + misses)

    @property
    def fills(self) -> float:
        return self.calls("set") / self["keyspace_misses"]


# ── one server ───────────────────────────────────────────────────────────────────────────────────


def test_servers_listen_on_loopback_alone(one: Redis) -> None:
    with memcached.server() as other:
        for port in (one.port, other.port):
            tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
            places = [line.split()[1] for line in tables.splitlines() if f":{port:04X}" in line and " 0A " in line]
            assert places == [f"0100007F:{port:04X}"]


def test_what_counts_as_a_hit(one: Redis, client: Client) -> None:
    fill(client, names(50))
    for words in (
        ("SCAN", 0), ("MEMORY", "USAGE", "item:1"), ("MEMORY", "USAGE", "nobody"), ("DBSIZE",), ("RANDOMKEY",),
        ("MEMORY", "STATS"), ("INFO", "all"), ("ROLE",), ("CONFIG", "GET", "maxmemory*"), ("SLOWLOG", "GET", 10),
    ):  # fmt: skip
        client.do(*words)
        assert one.counters() == (0, 0), words
    client.do("SCAN", 0, "COUNT", 1000, "TYPE", "string")
    assert one.counters() == (50, 0)  # that is why nobody may ask so


def test_a_good_past_and_a_bad_presence(one: Redis, client: Client) -> None:
    past(client, 100_000)
    with one.load(mostly_missed(hits=10)) as load:
        change = Change(one)
        load.wait_steps(30)
        assert 0.08 < change.ratio < 0.12
    hits, misses = one.counters()
    assert hits / (hits + misses) > 0.9


def test_a_cache_that_is_well(one: Redis, client: Client) -> None:
    keys = names(1000)
    fill(client, keys)
    with one.load(aside(keys)) as load:
        change = Change(one)
        load.wait_steps(20)
        assert change.ratio == 1.0
        assert change["evicted_keys"] == change["expired_keys"] == 0


def test_eviction(server: Callable[..., Redis]) -> None:
    one = server(maxmemory="4mb", maxmemory_policy="allkeys-lru")
    with one.load(aside(names(20_000), size=500)) as load:
        wait_until(lambda: int(one.info()["evicted_keys"]) > 1000, "evictions")
        change = Change(one)
        load.wait_steps(50)
        evicted, sets = change["evicted_keys"], change.calls("set")
        assert change.ratio < 0.5
        assert 0.8 < evicted / sets < 1.2
        assert change.fills > 0.9


def test_out_of_memory(server: Callable[..., Redis]) -> None:
    one = server(maxmemory="2mb", maxmemory_policy="noeviction")
    with one.load(aside(names(20_000), size=500)) as load:
        wait_until(lambda: "errorstat_OOM" in one.info(), "no more memory")
        change = Change(one)
        load.wait_steps(20)
        assert change["keyspace_misses"] > 0
        assert change.fills < 0.2  # a call that is rejected is none
        assert change["total_error_replies"] > 100
    assert one.info()["evicted_keys"] == "0"


def test_a_wave_of_expiry(one: Redis, client: Client) -> None:
    keys = names(60_000)
    populate(client, 60_000, until=time.time() + 2)
    assert client.info()["db0"].startswith("keys=60000,expires=60000")
    with one.load(aside(keys)) as load:
        change = Change(one)
        wait_until(lambda: change["expired_keys"] > 50_000, "the keys to expire")
        load.wait_steps(5)
        assert change["keyspace_misses"] > 100
        assert change.fills > 0.9
        assert change["evicted_keys"] == 0
        assert float(one.info()["expired_stale_perc"]) > 10


def test_penetration(one: Redis) -> None:
    with one.load(penetration()) as load:
        change = Change(one)
        load.wait_steps(20)
        assert change.ratio == 0.0
        assert change.fills == 0.0
        assert change["evicted_keys"] == change["expired_keys"] == 0


def test_a_cold_start(one: Redis, client: Client) -> None:
    past(client, 1000)
    run = one.info()["run_id"]
    one.restart()
    assert one.info()["run_id"] != run
    assert int(one.info()["uptime_in_seconds"]) < 30
    assert one.counters() == (0, 0)
    with one.load(aside(names(5000))) as load:
        load.wait_steps(10)
        assert one.do("DBSIZE") > 500
        hits, misses = one.counters()
        assert misses > hits


def test_counters_that_were_reset_go_down(one: Redis, client: Client) -> None:
    past(client, 1000)
    change = Change(one)
    client.do("CONFIG", "RESETSTAT")
    assert change["keyspace_hits"] == -1000


def test_blocked_and_slow(server: Callable[..., Redis]) -> None:
    one = server(slowlog_log_slower_than=1000)
    with contextlib.closing(one.client()) as waiting, contextlib.closing(one.client()) as busy:
        waiting.wait(0.2)
        with pytest.raises(TimeoutError):
            waiting.do("BLPOP", "queue", 0)
        assert one.info()["blocked_clients"] == "1"
        busy.do(*BUSY, 1_000_000)
        assert one.do("SLOWLOG", "LEN") >= 1


def test_a_frozen_server_still_takes_connections(one: Redis) -> None:
    with one.frozen(), contextlib.closing(one.client(timeout=0.3)) as client, pytest.raises(TimeoutError):
        client.do("PING")
    assert one.do("PING") == b"PONG"


def test_users_passwords_and_names_of_commands(server: Callable[..., Redis]) -> None:
    locked = server(requirepass="shut", words=("--rename-command", "CONFIG", "", "--rename-command", "INFO", "HIDDEN"))
    with contextlib.closing(Client(("127.0.0.1", locked.port))) as stranger, pytest.raises(Refused, match="NOAUTH"):
        stranger.do("PING")
    with pytest.raises(Refused, match="unknown command"):
        locked.do("CONFIG", "GET", "save")
    with pytest.raises(Refused, match="unknown command"):
        locked.do("INFO")


# ── replication and Sentinel ─────────────────────────────────────────────────────────────────────


def test_a_replica_loses_its_master_and_takes_no_writes() -> None:
    with redis.pair() as (master, replica):
        master.do("SET", "a", "b")
        wait_until(lambda: replica.do("DBSIZE") == 1, "the write to arrive")
        with pytest.raises(Refused, match="READONLY"):
            replica.do("SET", "a", "c")
        assert replica.info()["errorstat_READONLY"] == "count=1"
        master.kill()
        wait_until(lambda: replica.info()["master_link_status"] == "down", "the link to be down")


def test_sentinels_put_another_master_in_place_of_a_frozen_one() -> None:
    with redis.sentinels() as watch:
        assert watch.agreed() == watch.master.address
        with watch.master.frozen():
            wait_until(lambda: watch.agreed() == watch.replica.address, "a failover", 30)
            wait_until(lambda: watch.replica.info()["role"] == "master", "the replica to be master")
        # Who comes back becomes a replica: clients that still write to it are refused.
        wait_until(lambda: watch.master.info()["role"] == "slave", "the old master to follow", 30)


def test_a_sentinel_without_a_quorum() -> None:
    with redis.sentinels() as watch:
        first, *others = watch.sentinels
        assert first.do("SENTINEL", "CKQUORUM", MASTER).startswith(b"OK 3 usable")
        for other in others:
            other.kill()

        def lost() -> bool:
            with contextlib.closing(first.client()) as client:
                (reply,) = client.do_many([("SENTINEL", "CKQUORUM", MASTER)])
            return isinstance(reply, Refused) and str(reply).startswith("NOQUORUM 1 usable")

        wait_until(lost, "the quorum to be lost")


# ── cluster ──────────────────────────────────────────────────────────────────────────────────────


def flags(seen_by: Redis, of: Redis) -> str:
    lines = seen_by.do("CLUSTER", "NODES").decode().splitlines()
    return next(line.split()[2] for line in lines if f":{of.port}@" in line)


def test_a_frozen_master_is_dead_long_before_the_cluster_says_so() -> None:
    with redis.cluster() as shop:
        dead, witness = shop.masters[:2]
        with dead.frozen():
            assert shop.state(witness)["cluster_state"] == "ok"
            assert flags(witness, dead) == "master"
            # It is suspected for well under a second: whoever looks later sees it given up.
            wait_until(lambda: flags(witness, dead) in ("master,fail?", "master,fail"), "the node to be suspected", 10)
            wait_until(lambda: flags(witness, dead) == "master,fail", "the node to be given up", 10)
            wait_until(lambda: shop.replicas[0].info()["role"] == "master", "its replica to take over", 20)
            wait_until(lambda: shop.state(witness)["cluster_state"] == "ok", "the cluster to be whole", 10)
            assert shop.replicas[0].info()["connected_slaves"] == "0"


def test_a_shard_that_is_dead_stops_the_whole_cluster_if_all_slots_must_be_there() -> None:
    with redis.cluster() as shop:
        shop.masters[0].kill()
        shop.replicas[0].kill()
        wait_until(lambda: shop.state(shop.masters[1])["cluster_state"] == "fail", "the cluster to fail", 20)
        assert 0 < int(shop.state(shop.masters[1])["cluster_slots_ok"]) < SLOTS
        with pytest.raises(Refused, match="CLUSTERDOWN"):
            shop.masters[1].do("GET", shop.key_of(1))


def test_a_hot_key_makes_one_node_of_a_cluster_hot() -> None:
    with redis.cluster() as shop:
        keys = [shop.key_of(number) for number in range(3)]
        for node, key in zip(shop.masters, keys, strict=True):
            node.do("SET", key, "v")
        changes = [Change(node) for node in shop.masters]
        with shop.masters[0].load(hot(keys[0], [keys[0]])) as busy, shop.masters[1].load(aside([keys[1]])) as calm:
            busy.wait_steps(200)
            assert calm.steps
        assert changes[0].calls("get") >= 20_000
        assert changes[2].calls("get") == 0


# ── memcached ────────────────────────────────────────────────────────────────────────────────────


def test_memcached_evicts_what_nobody_ever_read() -> None:
    with memcached.server(memory=4) as one, contextlib.closing(one.client()) as client:
        memcached.evict(client, names(9000))
        stats = client.stats()
        assert int(stats["evictions"]) > 3000
        assert int(stats["evicted_unfetched"]) == int(stats["evictions"])
        assert int(stats["get_hits"]) == 300
        assert int(stats["get_misses"]) == 300
        (slab,) = {name.split(":")[1] for name in client.stats("items")}
        assert int(client.stats("items")[f"items:{slab}:evicted"]) == int(stats["evictions"])


def test_memcached_counts_what_came_too_late() -> None:
    with memcached.server() as one, contextlib.closing(one.client()) as client:
        client.set_many(["soon"], ttl=1)
        wait_until(lambda: client.get_many(["soon"]) == 0, "the item to expire")
        assert client.number("get_expired") >= 1


def test_memcached_that_takes_no_more_connections_counts_it() -> None:
    with memcached.server("-c", "32") as one, contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.closing(one.client()))
        for _ in range(64):
            stack.enter_context(contextlib.closing(one.client()))
        wait_until(
            lambda: first.number("rejected_connections") > 0 or first.number("listen_disabled_num") > 0, "a limit"
        )


def test_a_frozen_memcached_still_takes_connections() -> None:
    with memcached.server() as one, one.frozen(), contextlib.closing(one.client()) as client:
        client.wait(0.3)
        with pytest.raises(TimeoutError):
            client.stats()
