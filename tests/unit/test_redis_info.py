"""Replies of Redis 7.0.15 and memcached 1.6.18 as they were given, and what is read in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opsdoc.model import Malformed
from opsdoc.parsers import cache_url, memcached, redis_info, redis_text, redis_topology, resp
from opsdoc.parsers.redis_info import Database
from opsdoc.parsers.redis_topology import Quorum, Role
from opsdoc.redact import Redactor

SAMPLES = Path(__file__).parent / "samples"
REPLIES = json.loads((SAMPLES / "redis/replies-7.0.json").read_text())


def info(name: str) -> redis_info.Info:
    return redis_info.parse((SAMPLES / f"redis/info-7.0-{name}.txt").read_bytes().decode())


def sample(name: str) -> str:
    return (SAMPLES / f"redis/{name}-7.0.txt").read_bytes().decode()


# ── INFO ─────────────────────────────────────────────────────────────────────────────────────────


def test_fields_are_read_as_what_they_are() -> None:
    seen = info("oom")
    assert seen.text("redis_version") == "7.0.15"
    assert seen.whole("maxmemory") == 3 << 20
    assert seen.number("expired_stale_perc") == 0.0
    assert seen.number("used_memory_peak_perc") is not None
    assert seen.flag("loading") is False
    assert seen.text("config_file") is None  # empty
    assert seen.whole("no_such_field") is seen.number("redis_version") is seen.flag("maxmemory") is None


def test_what_was_refused_for_want_of_memory_is_an_error_and_no_call() -> None:
    seen = info("oom")
    assert seen.errors == {"ERR": 3, "OOM": 1598, "WRONGTYPE": 1}
    sets = next(command for command in seen.commands if command.name == "set")
    assert sets.calls == 477
    assert sets.rejected == 1598
    assert sets.seconds == pytest.approx(677e-6)
    assert seen.whole("evicted_keys") == 0


def test_databases() -> None:
    seen = info("oom").databases
    assert [(one.number, one.keys) for one in seen] == [(0, 473), (3, 5)]
    assert seen[0].expires == 50
    assert seen[0].average_ttl == pytest.approx(100, abs=1)
    assert seen[1].average_ttl is None


def test_subcommands_and_percentiles_keep_their_names() -> None:
    seen = info("oom")
    assert "config|get" in {command.name for command in seen.commands}
    latency = next(one for one in seen.latencies if one.name == "hset")
    assert set(latency.percentiles) == {50.0, 99.0, 99.9}
    assert all(0 < seconds < 0.01 for seconds in latency.percentiles.values())


def test_a_master_lists_its_replicas() -> None:
    (replica,) = info("master").replicas
    assert replica.address.startswith("127.0.0.1:")
    assert replica.state == "online"
    assert replica.lag in (0, 1)
    assert replica.offset is not None


def test_fields_of_a_master_are_no_replicas_and_no_watched_masters() -> None:
    for name in ("master", "replica", "replica-alone", "oom"):
        assert not info(name).watched
    assert not info("replica").replicas
    assert info("replica-alone").text("master_link_status") == "down"


def test_a_sentinel_lists_what_it_watches() -> None:
    (master,) = info("sentinel").watched
    assert (master.name, master.status, master.replicas, master.sentinels) == ("shop", "ok", 1, 3)
    assert master.address.startswith("127.0.0.1:")


def test_masking_leaves_all_that_is_read() -> None:
    for name in ("oom", "master", "replica", "replica-alone", "sentinel"):
        data = (SAMPLES / f"redis/info-7.0-{name}.txt").read_bytes() + b"errorstat_NOAUTH:count=2\r\nmaster_auth:x\r\n"
        masked = redis_info.parse(Redactor().lines(data).decode())
        assert {**masked.fields, "master_auth": "x"} == dict(redis_info.parse(data.decode()).fields)


def test_a_field_that_comes_twice_is_the_first() -> None:
    assert redis_info.parse("a:1\r\na:2\r\n").whole("a") == 1


@pytest.mark.parametrize("text", ["", "# Server\r\n", "<html>", "ERROR"])
def test_what_is_no_info_is_said(text: str) -> None:
    with pytest.raises(Malformed):
        redis_info.parse(text)


@pytest.mark.parametrize(
    "line",
    [
        "db0:keys=x,expires=0",
        "db0:",
        "dbx:keys=1,expires=1",
        "slave0:",
        "cmdstat_get:calls=1",
        "errorstat_A:n=1",
        "db0:=,=",
    ],
)
def test_odd_tables_are_left_out(line: str) -> None:
    seen = redis_info.parse(line)
    assert not [*seen.databases, *seen.replicas, *seen.commands, *seen.errors, *seen.watched]


def test_a_database_without_a_ttl() -> None:
    assert redis_info.parse("db7:keys=2,expires=1").databases == (Database(7, 2, 1, None),)


# ── topology ─────────────────────────────────────────────────────────────────────────────────────


def test_a_cluster_that_is_well() -> None:
    seen = redis_topology.cluster_info(sample("cluster-info"))
    assert (seen.state, seen.slots_ok, seen.slots_pfail, seen.known_nodes, seen.size) == ("ok", 16384, 0, 6, 3)
    nodes = redis_topology.cluster_nodes(sample("cluster-nodes"))
    masters = {node.id for node in nodes if "master" in node.flags}
    assert len(nodes) == 6
    assert sum(node.slot_count for node in nodes) == redis_topology.SLOTS
    assert {node.master for node in nodes if "slave" in node.flags} == masters
    assert sum("myself" in node.flags for node in nodes) == 1
    assert all(node.linked and node.address and node.hostname is None for node in nodes)


def test_a_node_that_is_suspected_then_given_up_then_replaced() -> None:
    def flags(name: str) -> list[tuple[str, ...]]:
        text = (SAMPLES / f"redis/cluster-nodes-7.0-{name}.txt").read_text()
        return [node.flags for node in redis_topology.cluster_nodes(text)]

    assert ("master", "fail?") in flags("pfail")
    assert ("master", "fail") in flags("fail")
    after = redis_topology.cluster_nodes((SAMPLES / "redis/cluster-nodes-7.0-after.txt").read_text())
    gone = next(node for node in after if "fail" in node.flags)
    assert gone.slot_count == 0
    assert not gone.linked
    assert sum("master" in node.flags and node.slot_count > 0 for node in after) == 3
    assert sum("slave" in node.flags for node in after) == 2


def test_a_slot_on_its_way() -> None:
    text = (SAMPLES / "redis/cluster-nodes-7.0-moving.txt").read_text()
    assert [node.moving for node in redis_topology.cluster_nodes(text) if "myself" in node.flags] == [1]


ID = "07c37dfeb235213a872192d90877d0cd55635b91"


@pytest.mark.parametrize(
    ("place", "address", "hostname"),
    [
        ("127.0.0.1:30004@31004,shop-4.example.org", "127.0.0.1:30004", "shop-4.example.org"),
        ("127.0.0.1:30004@31004,,shard-id=69bc080733d1355567173199cff4a6a039a2f024", "127.0.0.1:30004", None),
        ("127.0.0.1:30004", "127.0.0.1:30004", None),  # 3.x
        (":0@0", None, None),
        ("fd00::7:30004@31004", "[fd00::7]:30004", None),
    ],
)
def test_addresses_of_nodes(place: str, address: str | None, hostname: str | None) -> None:
    (node,) = redis_topology.cluster_nodes(f"{ID} {place} master - 0 1 4 connected 5 7-9 [10-<-{ID}]")
    assert (node.address, node.hostname, node.slot_count, node.moving) == (address, hostname, 4, 1)


@pytest.mark.parametrize("text", ["ERR", "x y z", f"{ID} a b c d e f"])
def test_what_is_no_cluster_is_said(text: str) -> None:
    with pytest.raises(Malformed):
        redis_topology.cluster_nodes(text)
    with pytest.raises(Malformed):
        redis_topology.cluster_info(text)


def test_roles() -> None:
    assert redis_topology.role(REPLIES["role_master_alone"]) == Role("master", 0)
    master = redis_topology.role(REPLIES["role_master"])
    replica = redis_topology.role(REPLIES["role_replica"])
    assert len(master.replicas) == 1
    assert replica.name == "slave"
    assert replica.link == "connected"
    assert replica.master is not None
    assert redis_topology.role(REPLIES["role_replica_alone"]).link in ("connect", "connecting")
    assert redis_topology.role(REPLIES["role_sentinel"]).watched == ("shop",)


@pytest.mark.parametrize("value", [None, 7, "master", [], ["master"], ["slave", "h", "p", "x", 1], ["king", 1, []]])
def test_what_is_no_role_is_said(value: object) -> None:
    with pytest.raises(Malformed):
        redis_topology.role(value)


def test_sentinels() -> None:
    (master,) = redis_topology.members(REPLIES["sentinel_masters"])
    (replica,) = redis_topology.members(REPLIES["sentinel_replicas"])
    others = redis_topology.members(REPLIES["sentinel_sentinels"])
    assert (master.name, master.flags, master.quorum, master.sentinels, master.replicas) == (
        "shop",
        ("master",),
        2,
        2,
        1,
    )
    assert replica.flags == ("slave",)
    assert len(others) == 2
    assert redis_topology.master_address(REPLIES["sentinel_address"]) == master.address
    assert redis_topology.master_address(REPLIES["sentinel_no_address"]) is None


def test_a_quorum() -> None:
    assert redis_topology.quorum(REPLIES["sentinel_quorum"])[:2] == (True, 3)
    lost = redis_topology.quorum(REPLIES["sentinel_no_quorum"]["error"])
    assert lost[:2] == (False, 1)
    assert redis_topology.quorum("ERR No such master with that name") == Quorum(
        False, None, "ERR No such master with that name"
    )


def test_settings() -> None:
    assert redis_topology.pairs(REPLIES["config"])["maxmemory"] == "3145728"
    with pytest.raises(Malformed):
        redis_topology.pairs(["maxmemory"])


# ── what may be shown ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (b"user:7", "user:7"),
        ("naïve:é".encode(), "naïve:é"),
        (b"two\nlines\r", r"two\nlines\r"),
        (b"\x1b[31mred\x07", r"\x1b[31mred\a"),
        (b"\x00\xff\xfe", r"\x00\xff\xfe"),
        (b'a"b\\c', r"a\"b\\c"),
        ("\u202egnp".encode(), r"\xe2\x80\xaegnp"),
        (b"", ""),
    ],
)
def test_keys_are_printable_and_can_be_typed(key: bytes, name: str) -> None:
    assert redis_text.key_name(key) == name


def test_long_keys_are_cut() -> None:
    assert redis_text.key_name(b"k" * 1_000_000) == "k" * 200 + "…[1000000 bytes]"
    assert len(redis_text.key_name(b"\x00" * 150)) < 220


def test_the_slow_log_keeps_no_argument() -> None:
    reply: resp.Reply = [
        [14, 1309448221, 15, [b"set", b"session:9", b"hunter2"], b"127.0.0.1:58217", b"worker"],
        [13, 1309448128, 30_000_000, [b"mget", *[b"k"] * 30, b"... (69 more arguments)"]],
    ]
    first, second = redis_text.slow_log(reply)
    assert first == redis_text.Slow(14, 1309448221, 15e-6, "SET", 2, "127.0.0.1:58217")
    assert (second.command, second.arguments, second.seconds, second.client) == ("MGET", 99, 30.0, None)
    assert "hunter2" not in repr(first)
    with pytest.raises(Malformed) as caught:
        redis_text.slow_log([[1, 2, 3, b"hunter2"]])
    assert "hunter2" not in caught.value.detail


# ── the protocol ─────────────────────────────────────────────────────────────────────────────────


def read(data: bytes, piece: int = 7) -> list[resp.Reply]:
    """All replies in bytes that come in pieces."""
    pieces = iter([data[at : at + piece] for at in range(0, len(data), piece)])

    def receive() -> bytes:
        try:
            return next(pieces)
        except StopIteration:
            raise EOFError from None

    reader, replies = resp.Reader(receive), []
    try:
        while True:
            replies.append(reader.reply())
    except EOFError:
        return replies


def test_replies_of_every_kind() -> None:
    data = b"+OK\r\n-NOPERM no\r\n:-7\r\n$5\r\na\r\nbc\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n"
    for piece in (1, 2, 3, 1000):
        assert read(data, piece) == [b"OK", resp.Failure("NOPERM no"), -7, b"a\r\nbc", None, None, [], [1, [b""]]]
    assert resp.Failure("NOPERM no").code == "NOPERM"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n", b"ERROR\r\n", b"\r\n", b":x\r\n", b":1_0\r\n", b"$1\r\nab\r\n", b"%1\r\n",
        b"$99999999999999\r\n", b"*300000\r\n", b"*1\r\n" * 20, b"+" + b"a" * 100_000, b":" + b"9" * 5000 + b"\r\n",
        b"$\xd9\xa3\r\nabc\r\n",
    ],
)  # fmt: skip
def test_what_is_no_reply_is_said(data: bytes) -> None:
    with pytest.raises(Malformed):
        read(data)


def test_commands_are_framed_whatever_is_in_them() -> None:
    assert (
        resp.command(["GET", b"a\r\nFLUSHALL\r\n", "é"])
        == b"*3\r\n$3\r\nGET\r\n$13\r\na\r\nFLUSHALL\r\n\r\n$2\r\n\xc3\xa9\r\n"
    )


# ── URLs ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("redis://cache", ("cache:6379", False, 0, None, None)),
        ("cache:7000", ("cache:7000", False, 0, None, None)),
        ("redis://:p%40ss@cache:7000/2", ("cache:7000", False, 2, None, "p@ss")),
        ("rediss://app:pw@[fd00::7]:7000", ("[fd00::7]:7000", True, 0, "app", "pw")),
        ("valkeys://cache", ("cache:6379", True, 0, None, None)),
        ("unix:///run/redis.sock?db=3", ("unix:/run/redis.sock", False, 3, None, None)),
        ("unix://app:pw@/run/redis.sock", ("unix:/run/redis.sock", False, 0, "app", "pw")),
        ("/run/redis.sock", ("unix:/run/redis.sock", False, 0, None, None)),
        ("redis://cache?password=pw&username=app", ("cache:6379", False, 0, "app", "pw")),
    ],
)
def test_urls(text: str, parts: tuple[object, ...]) -> None:
    assert tuple(cache_url.redis_url(text)) == parts


@pytest.mark.parametrize(
    "text",
    [
        "", "http://cache", "redis://", "redis://:hunter2@", "redis://a,b", "redis://cache:99999", "redis://cache/x",
        "redis://[::1", "unix://run/redis.sock", "redis://app:hunter2/x@cache", "redis://app:hunter2#x@cache", "a\nb",
        "redis://" + "a" * 3000, "redis://cache:0", "unix:///a%00b", "unix:///a%0ab",
    ],
)  # fmt: skip
def test_urls_that_are_none(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        cache_url.redis_url(text)
    assert "hunter2" not in caught.value.detail + caught.value.hint
    assert caught.value.hint


def test_nobody_prints_a_password() -> None:
    url = cache_url.redis_url("redis://app:hunter2@cache")
    assert "hunter2" not in f"{url} {url!r} {[url]}"
    assert "app" not in f"{url} {url!r}"


@pytest.mark.parametrize(
    ("text", "address"),
    [("cache", "cache:11211"), ("[::1]:7", "[::1]:7"), ("/run/m.sock", "unix:/run/m.sock"), ("unix:/a", "unix:/a")],
)
def test_addresses_of_memcached(text: str, address: str) -> None:
    assert cache_url.memcached_server(text) == address


# ── memcached ────────────────────────────────────────────────────────────────────────────────────


def stats() -> list[dict[str, str] | memcached.Refusal]:
    """The answers to stats, stats items, stats slabs, stats settings and two commands that there are not."""
    data = (SAMPLES / "memcached/stats-1.6.18.txt").read_bytes()
    pieces = iter([data[at : at + 100] for at in range(0, len(data), 100)])
    reader = memcached.Reader(lambda: next(pieces))
    return [reader.answer() for _ in range(6)]


def test_stats() -> None:
    general, items, slabs, settings, *refused = stats()
    seen = memcached.Stats(general)
    assert seen.text("version") == "1.6.18"
    assert seen.whole("limit_maxbytes") == 4 << 20
    assert seen.number("rusage_user") is not None
    assert seen.whole("version") is None
    assert seen.whole("evictions") == seen.whole("evicted_unfetched")
    assert settings["domain_socket"] == "NULL"
    assert refused == [memcached.Refusal("ERROR")] * 2
    (slab,) = [one for one in memcached.Stats({**items, **slabs}).slabs if one.items]
    assert slab.evicted == seen.whole("evictions")
    assert slab.chunk_bytes is not None
    assert slab.chunk_bytes > 1000
    assert slab.memory is not None
    assert slab.memory > 3 << 20
    assert slab.out_of_memory == 0
    assert slab.age is not None


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b"-ERR x\r\n", b"STAT\r\n", b"x" * 10_000])
def test_what_is_no_memcached_is_said(data: bytes) -> None:
    pieces = iter([data])
    with pytest.raises(Malformed):
        memcached.Reader(lambda: next(pieces)).answer()
