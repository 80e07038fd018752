"""`opsdoc cache redis` on real servers: what the loads that make a cache sick look like, and servers that fail."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time

import pytest
from servers import memcached, redis
from servers.cli import Meanwhile, told_early, under_way
from servers.programs import wait_until
from servers.redis_client import (
    BUSY,
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

SECRET = "hunter2hunter2"
QUICK = ("--window", "700ms")
AT_ONCE = ("--window", "0")
HARMLESS = re.compile(
    r'"(INFO" "(all|stats)|CLUSTER" "(INFO|NODES)|CONFIG" "GET" "cluster-\*|SLOWLOG" "GET" "16|PING|ROLE|DBSIZE|'
    r'SCAN" "\d+" "COUNT" "\d+|MEMORY" "USAGE" ".*|SELECT" "\d+|AUTH".*)"$'
)


@pytest.fixture
def look(opsdoc):
    """`look(server, …)`: a run on servers, which are words of the command line where they are no servers of ours."""

    def run(*servers, **options):
        words = [word for one in servers for word in (("--url", one.url) if isinstance(one, redis.Redis) else (one,))]
        window = () if "--window" in words else QUICK
        return opsdoc.json("cache", "redis", *words, *window, **options)

    return run


@pytest.fixture
def server():
    with contextlib.ExitStack() as made:
        yield lambda **options: made.enter_context(redis.standalone(**options))


@pytest.fixture(scope="module")
def shop():
    """A cluster of six that is well."""
    with redis.cluster() as made:
        yield made


def rate(run, one):
    (found,) = [rate for rate in run.of("hit_rate") if rate["node"] == one.address]
    return found


def calm(step, seconds=0.02):
    """A load that leaves the box to others: some thousand reads per second."""

    def calmly(client):
        step(client)
        time.sleep(seconds)

    return calmly


def mostly(run, one):
    """What most misses come from; together they are all misses."""
    seen = rate(run, one)
    parts = {part["cause"]: part["misses"] for part in seen["misses_by_cause"]}
    assert sum(parts.values()) == seen["misses"]
    return max(parts, key=parts.get)


def verdict(run):
    """The rule of the headline."""
    return run.findings[0]["rule"]


def usage(info):
    """Calls of each command, and microseconds of all."""
    stats = {name: line for name, line in info.items() if name.startswith("cmdstat_")}
    calls = {name.removeprefix("cmdstat_"): int(re.match(r"calls=(\d+)", line)[1]) for name, line in stats.items()}
    return calls, sum(int(re.search(r"usec=(\d+)", line)[1]) for line in stats.values())


# ── causes ───────────────────────────────────────────────────────────────────────────────────────


def test_the_window_decides_and_not_the_lifetime(look, server):
    one = server(slowlog_log_slower_than=-1)
    one.do("SET", "item:0", "v")
    one.do("EVAL", "for _ = 1, 500000 do redis.call('GET', 'item:0') end", 0)
    with one.load(calm(mostly_missed(hits=10), 0.05)) as load:
        load.wait_steps(2)
        run = look(one)
    seen = rate(run, one)
    assert 0.09 < seen["ratio"] < 0.11
    assert all(0.05 < point["value"] < 0.2 for point in seen["course"] if point["value"] is not None)
    assert seen["lifetime_ratio"] > 0.98
    assert run.code in (1, 2)  # the cause of so young a cache may be its youth
    assert re.search(
        r"hits in 10 % of [\d,]+ reads in [\d.]+ s \((over )?9[89] % over its lifetime\)", run.report["summary"]
    )


def test_eviction(look, server):
    one = server(maxmemory="4mb", maxmemory_policy="allkeys-lru")
    with one.load(aside(names(20_000), size=500)):
        wait_until(lambda: int(one.info()["evicted_keys"]) > 1000, "evictions")
        run = look(one)
    assert verdict(run) == "cache.eviction"
    assert run.code == 2
    assert "allkeys-lru" in run.report["summary"]
    assert mostly(run, one) == "evicted"
    assert len(rate(run, one)["course"]) == 4
    assert not [one for one in run.findings if one["rule"] == "cache.memory"]  # a cache that evicts is full


def test_a_wave_of_expiry(look, server):
    one = server()
    keys = names(60_000)
    populate(one.client(), len(keys), until=time.time() + 2.0)
    with one.load(calm(aside(keys))):
        run = look(one, "--window", "2500ms")
    assert verdict(run) == "cache.expiry-wave", run.report["summary"]


def test_penetration(look, server):
    one = server()
    with one.load(calm(penetration())) as load:
        load.wait_steps(2)
        run = look(one)
    assert verdict(run) == "cache.penetration"
    assert mostly(run, one) == "never filled"
    assert rate(run, one)["fill_ratio"] == 0
    assert rate(run, one)["ratio"] == 0


def test_a_cold_start(look, server):
    one = server()
    one.restart()
    with one.load(calm(aside(range(5_000_000)))) as load:
        load.wait_steps(5)
        run = look(one)
    assert verdict(run) == "cache.cold"
    assert run.code == 1


def test_out_of_memory(look, server):
    one = server(maxmemory="2mb", maxmemory_policy="noeviction")
    with one.load(aside(names(20_000), size=500)):
        wait_until(lambda: "errorstat_OOM" in one.info(), "no more memory")
        run = look(one)
    assert verdict(run) == "cache.oom"
    assert run.code == 2
    (node,) = run.of("cache_node")
    assert node["oom_errors"] > 100
    assert node["evicted_total"] == 0


def test_a_hot_key_makes_one_of_three_nodes_hot(look, server):
    three = [server() for _ in range(3)]
    keys = names(200)
    for one in three:
        with contextlib.closing(one.client()) as client:
            fill(client, keys)

    with contextlib.ExitStack() as loads:
        loads.enter_context(three[1].load(hot("item:7", keys)))
        for one in (three[0], three[2]):
            loads.enter_context(one.load(calm(aside(keys))))
        run = look(*three)
    assert verdict(run) == "cache.hot-key"
    assert run.findings[0]["subject"] == three[1].address
    assert sum(one["ops_share"] for one in run.of("hit_rate")) == pytest.approx(1, abs=1e-4)


def test_a_hot_key_in_a_cluster(look, shop):
    keys = [shop.key_of(number) for number in range(3)]
    for node, key in zip(shop.masters, keys, strict=True):
        node.do("SET", key, "v")
    with shop.masters[2].load(hot(keys[2], [keys[2]])):
        run = look(shop.masters[0])
    hottest = shop.masters[2].address
    assert run.finding("cache.hot-key")["subject"] == hottest
    members = {member["name"]: member for member in run.of("cache_cluster")[0]["members"]}  # side by side
    assert max(members, key=lambda name: members[name]["commands"]) == hottest
    assert members[hottest]["hit_rate"] == 1


def test_existence_checks_are_meant_to_miss(look, server):
    one = server()

    def ask(client):
        client.do_many([("EXISTS", f"lock:{number}") for number in range(100)])

    with one.load(calm(ask)):
        run = look(one)
    assert verdict(run) == "cache.checks"
    assert run.code == 1
    assert mostly(run, one) == "only checked"


def test_slow_commands_blocked_clients_and_some_that_are_turned_away(look, server):
    one = server(maxclients=40)
    one.do(*BUSY, 3_000_000)
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(contextlib.closing(one.client())) for _ in range(24)]
        for client in clients:
            client.send("BLPOP", "nothing", 0)
        wait_until(lambda: one.info()["blocked_clients"] == "24", "all to wait")

        def crowd():
            with contextlib.suppress(OSError, Refused):
                while True:
                    opened.enter_context(contextlib.closing(one.client())).do("PING")

        meanwhile = Meanwhile(asked_once(one), crowd)
        run = look(one, "--window", "2s", when=meanwhile)
    assert meanwhile.done
    assert verdict(run) == "cache.rejected"
    assert run.finding("cache.rejected")["severity"] == "critical"
    assert "40 of 40" in run.finding("cache.rejected")["summary"]
    assert run.finding("cache.slow")["summary"].startswith("EVAL took ")
    assert run.finding("cache.blocked")["severity"] == "warning"


def test_a_cache_that_is_well(look, server):
    one = server()
    keys = names(1000)
    with contextlib.closing(one.client()) as client:
        fill(client, keys)
    with one.load(calm(aside(keys))):
        run = look(one)
    assert run.code == 0
    assert {"cache.fine", "cache.healthy"} == {finding["rule"] for finding in run.findings}


# ── no trace ─────────────────────────────────────────────────────────────────────────────────────


def test_two_runs_on_an_idle_server_leave_its_statistics_as_they_were(look, server):
    one = server(slowlog_log_slower_than=-1)
    populate(one.client(), 30_000)
    past(one.client(), 1000)
    before = one.counters()
    info = one.info()
    errors, (was, spent) = info["total_error_replies"], usage(info)
    for _ in range(2):
        run = look(one)
        assert verdict(run) == "cache.not-judgeable"
    now, total = usage(one.info())
    assert sum(now.values()) - sum(was.values()) < 2 * 50
    assert (total - spent) / 1e6 < 0.05  # 5 ms each on a quiet box, which `make bench` measures
    assert one.counters() == before
    assert one.info()["total_error_replies"] == errors
    (sample,) = run.of("key_sample")
    assert (sample["looked_at"], sample["of"]) == (30, 30_000)


def test_what_a_run_sends_to_a_cluster_is_harmless_and_little_and_costs_one_window(look, shop):
    one = shop.masters[0]
    fill(one.client(), [shop.key_of(0)])
    with one.monitored() as seen:
        before = one.info()
        run = look(shop.replicas[0])
        after = one.info()
        lines = [line.decode().split("] ", 1)[1].strip() for line in seen()]
    assert [line for line in lines if not HARMLESS.fullmatch(line)] == []
    (was, _), (now, _) = usage(before), usage(after)
    grown = {name: count - was.get(name, 0) for name, count in now.items() if count > was.get(name, 0)}
    assert grown.pop("info") == 6  # five of the run, and one of the test
    grown.pop("replconf", None)  # of its replica
    assert sum(grown.values()) + 5 < 50
    assert len(run.of("hit_rate")) == len(run.of("cache_node")) == 6
    (cluster,) = run.of("cache_cluster")
    assert (cluster["nodes"], cluster["masters"], cluster["slots_ok"]) == (6, 3, redis.SLOTS)
    assert cluster["full_coverage"] is True
    assert cluster["node_timeout"] == redis.NODE_TIMEOUT / 1000
    assert "cache.cluster-fine" in {finding["rule"] for finding in run.findings}
    assert run.of("cache_cluster")[0]["state"] == "ok"
    assert run.report["elapsed_seconds"] < 1 + 1.0  # 0.3 on a quiet box, which `make bench` measures


# ── cluster ──────────────────────────────────────────────────────────────────────────────────────


def set_on(nodes, name, value):
    for node in nodes:
        node.do("CONFIG", "SET", name, value)


def test_a_frozen_master_and_what_is_missing_after_the_failover(look):
    with redis.cluster(cluster_node_timeout=15_000) as shop:
        dead, witness, heir = shop.masters[0], shop.masters[1], shop.replicas[0]
        others = [node for node in shop.nodes if node is not dead]
        with dead.frozen():
            run = look(witness)
            found = run.finding("cache.node-dead")
            assert verdict(run) == "cache.node-dead"
            assert found["severity"] == "critical"
            assert found["subject"] == dead.address
            assert "though the cluster says that its state is ok" in found["summary"]
            assert "no other node suspects it yet" in found["confidence"]
            assert run.of("cache_cluster")[0]["unreachable"] == [dead.address]
            set_on([witness], "cluster-node-timeout", 1000)  # which alone cannot take it for failed
            wait_until(lambda: "fail?" in nodes_of(witness), "one node to suspect it", 20)
            run = look(witness, *AT_ONCE)
            assert dead.address in run.of("cache_cluster")[0]["suspected"]
            assert "others suspect it" in run.finding("cache.node-dead")["confidence"]
            assert "belong to a node that others suspect" in run.finding("cache.cluster-slots")["summary"]
            set_on(others, "cluster-node-timeout", 1000)
            wait_until(lambda: heir.info()["role"] == "master", "its replica to take over", 20)
            wait_until(lambda: shop.state(witness)["cluster_state"] == "ok", "the cluster to be whole", 10)
            dead.kill()
        run = look(witness, *AT_ONCE)
        assert heir.address in run.finding("cache.no-replica")["summary"]
        assert run.of("cache_cluster")[0]["shards_without_replica"] == [heir.address]
        assert run.finding("cache.node-dead")["severity"] == "warning"
        heir.kill()
        wait_until(lambda: shop.state(witness)["cluster_state"] == "fail", "the cluster to fail", 20)
        run = look(witness, *AT_ONCE)
        assert run.finding("cache.cluster-failed")["severity"] == "critical"
        assert set(run.of("cache_cluster")[0]["unreachable"]) == {dead.address, heir.address}
        left = [node for node in others if node is not heir]
        set_on(left, "cluster-require-full-coverage", "no")
        for node in left:
            wait_until(lambda node=node: shop.state(node)["cluster_state"] == "ok", "the rest to be served", 10)
        run = look(witness, *AT_ONCE)
        assert run.finding("cache.cluster-slots")["severity"] == "critical"
        assert "the rest is served" in run.finding("cache.cluster-slots")["summary"]


def nodes_of(node):
    """CLUSTER NODES as one node has it."""
    return node.do("CLUSTER", "NODES").decode()


# ── replicas and Sentinels ───────────────────────────────────────────────────────────────────────


def test_a_replica_in_place_of_a_master_says_so(look):
    with redis.pair() as (master, replica):
        run = look(replica)
        (said,) = [one for one in run.findings if one["rule"] == "cache.is-replica"]
        assert f"is a replica of {master.address}" in said["summary"]
        nodes = {node["node"]: node for node in run.of("cache_node")}
        assert nodes[master.address]["replicas"] == 1
        assert (nodes[replica.address]["link"], nodes[replica.address]["role"]) == ("up", "replica")
        with replica.load(lambda client: client.do_many([("SET", "a", "b")] * 10)):
            assert look(replica).finding("cache.read-only")["severity"] == "critical"
        with master.frozen():
            assert look(replica).finding("cache.node-dead")["subject"] == master.address
        master.kill()
        wait_until(lambda: replica.info()["master_link_status"] == "down", "the link to be down")
        run = look(replica)
        assert run.finding("cache.replica-link")["subject"] == replica.address
        assert run.finding("cache.node-dead")["subject"] == master.address


def no_quorum(sentinel):
    with contextlib.closing(sentinel.client()) as client:
        return str(client.do_many([("SENTINEL", "CKQUORUM", redis.MASTER)])[0]).startswith("NOQUORUM 1")


def test_sentinels_and_a_quorum_that_is_lost(look):
    with redis.sentinels() as watch:
        first, *others = watch.sentinels
        run = look(first)
        (view,) = run.of("sentinel")
        assert (view["usable"], view["quorum"], view["agreed"]) == (3, 2, True)
        assert view["addresses"] == [watch.master.address]
        assert view["master_role"] == "master"
        assert {node["node"] for node in run.of("cache_node")} == {watch.master.address, watch.replica.address}
        for other in others:
            other.kill()
        wait_until(lambda: no_quorum(first), "both to be missed")
        run = look(first)
        assert run.finding("cache.sentinel-quorum")["severity"] == "warning"
        assert {one["subject"] for one in run.unseen} == {f"Sentinel {other.address}" for other in others}


# ── counters that go down, and what is not told ──────────────────────────────────────────────────


def asked_once(one):
    """A condition: somebody else has asked for INFO."""
    return lambda _pid: b"cmd=info" in one.do("CLIENT", "LIST")


@pytest.mark.parametrize("how", ["resetstat", "restart"])
def test_counters_that_are_reset_within_the_window(look, server, how):
    one = server()
    past(one.client(), 1000)
    action = one.restart if how == "restart" else lambda: one.do("CONFIG", "RESETSTAT")
    meanwhile = Meanwhile(asked_once(one), action)
    run = look(one, "--window", "2s", when=meanwhile)
    assert meanwhile.done
    seen = rate(run, one)
    assert seen["reset"] is True
    assert seen["hits"] is None
    assert "reset" in seen["unknown"]["hits"]
    assert verdict(run) == "cache.not-judgeable"
    numbers = [value for value in seen.values() if isinstance(value, int | float)]
    assert min(numbers) >= 0


def test_without_a_window_nothing_is_judged(look, server):
    one = server()
    past(one.client(), 1000)
    run = look(one, "--window", "0")
    assert verdict(run) == "cache.not-judgeable"
    assert rate(run, one)["lifetime_ratio"] == 1.0
    assert rate(run, one)["ratio"] is None


@pytest.mark.parametrize("login", ["redis://{}", "redis://:wrongwrong@{}", "redis://nobody:wrongwrong@{}"])
def test_a_wrong_password(opsdoc, server, login):
    one = server(requirepass=SECRET)
    run = opsdoc.json("cache", "redis", "--url", login.format(one.address))
    assert run.code == 3
    assert verdict(run) == "target.denied"
    assert "wrongwrong" not in run.stdout + run.stderr
    assert "***" not in run.report["summary"]


def test_a_user_without_info_and_one_without_anything(opsdoc, server):
    one = server()
    past(one.client(), 1000)
    one.do("ACL", "SETUSER", "eve", "on", ">pass", "~*", "+@all", "-info")
    one.do("ACL", "SETUSER", "bob", "on", ">pass", "~*", "+ping")
    for user in ("eve", "bob"):
        run = opsdoc.json(
            "cache", "redis", "--url", one.url, "--user", user, "--password-env", "PW", *QUICK, env={"PW": "pass"}
        )
        assert run.code == 3
        assert {"cache.not-judgeable", "cache.unknown"} <= {finding["rule"] for finding in run.findings}
        assert "NOPERM" in run.report["summary"]
        assert f"ACL SETUSER {user} +info" in {one["hint"] for one in run.unseen}
        (node,) = run.of("cache_node")
        assert node["memory_used"] is None
        assert node["latency"] > 0


def test_commands_that_were_renamed(look, server):
    renamed = [word for name in ("CONFIG", "INFO", "SLOWLOG", "MEMORY") for word in ("--rename-command", name, "")]
    one = server(words=renamed)
    fill(one.client(), names(10))
    run = look(one)
    assert run.code == 3
    assert "unknown command" in run.report["summary"]
    assert {"cache.not-judgeable", "cache.unknown"} <= {finding["rule"] for finding in run.findings}
    assert any("big keys" in one["subject"] for one in run.unseen)


# ── hostile keys ─────────────────────────────────────────────────────────────────────────────────

KEYS = [
    b"line\nbreak\r\n", b"\x1b[31mred\x1b[0m\x07", b"\xff\x00\xfe", b"<script>alert(1)</script>", b"$(reboot);`id`",
    "\u202egnp.exe".encode(), b'quote"\\', b"k" * 5000,
]  # fmt: skip


def test_names_of_keys_print_safely_and_values_never(opsdoc, server):
    one = server()
    with contextlib.closing(one.client()) as client:
        for key in KEYS:
            client.do("SET", key, b"VALUE-" + b"x" * 2_000_000)
    for form in ("text", "json", "md", "html", "nagios"):
        run = opsdoc("cache", "redis", "--url", one.url, "--window", "0", "-n", 0, "-v", "-f", form)
        for raw in (b"\x1b", b"\x07", b"\xff", b"line\nbreak", "\u202e".encode(), b"VALUE-"):
            assert raw not in run.raw, (form, raw)
        assert b"line" in run.raw or form == "nagios"
        assert form != "html" or b"<script>alert" not in run.raw
    run = opsdoc.json("cache", "redis", "--url", one.url, "--window", "0", "-n", 0)
    found = {key["key"]: key for key in run.of("big_key")}
    assert "line\\nbreak\\r\\n" in found
    assert "\\xff\\x00\\xfe" in found
    assert all(key["bytes"] > 2_000_000 for key in found.values())
    assert found["$(reboot);`id`"]["by_hand"] == [f"redis-cli -h 127.0.0.1 -p {one.port}"]
    assert run.finding("cache.big-key")["confidence"].startswith(
        "looked at 7 of 8 keys"
    )  # one name is too long to send back


# ── getting in ───────────────────────────────────────────────────────────────────────────────────


def test_tls_unix_sockets_and_passwords(opsdoc, server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    locked = server(requirepass=SECRET)
    encrypted = server(mode="tls")
    files = redis.certificates()
    ours = ("--tls-ca", files / "ca.pem", "--tls-cert", files / "cert.pem", "--tls-key", files / "key.pem")
    for one, words in (
        (server(mode="unix"), ()),
        (encrypted, ("--tls-ca", files / "ca.pem")),
        (server(mode="tls", tls_auth_clients="yes"), ours),
        (locked, ("--password-file", secret)),
        (locked, ("--password-env", "PW")),
    ):
        run = opsdoc.json("cache", "redis", "--url", one.url, *words, "--window", "0", env={"PW": SECRET})
        assert rate(run, one)["uptime"] is not None, run.report["summary"]
        assert run.unseen == []
    run = opsdoc.json("cache", "redis", "--url", f"redis://{encrypted.address}", "--window", "0")
    assert "rediss://" in run.findings[0]["next_step"]


def test_a_password_in_a_url_stands_nowhere_and_a_recording_tells_the_same(opsdoc, server, tmp_path):
    one = server(requirepass=SECRET)
    past(one.client(), 1000)
    case = tmp_path / "case"
    run = opsdoc.json("cache", "redis", "--url", f"redis://default:{SECRET}@{one.address}", *QUICK, "--record", case)
    again = opsdoc.json("cache", "redis", "--replay", case)
    for text in (run.stdout, run.stderr, *(file.read_text() for file in case.rglob("*") if file.is_file())):
        assert SECRET not in text
    first, second = run.report, again.report
    for report in (first, second):
        report.pop("cost")
    assert first == second


def test_the_bare_word_of_a_url_stands_nowhere(opsdoc, server, tmp_path):
    one = server(requirepass=SECRET)
    one.do("ACL", "SETUSER", "default", "-slowlog")
    case = tmp_path / "case"
    run = opsdoc.json("cache", "redis", "--url", f"redis://{SECRET}@{one.address}", *QUICK, "--record", case)
    assert rate(run, one)["uptime"] is not None
    assert any("SLOWLOG" in one["subject"] for one in run.unseen)
    assert SECRET not in run.stdout + (case / "recording.json").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "missing --url"),
        (("--url", "http://localhost"), "no scheme of a Redis server"),
        (("--url", "redis://h", "--sample", "200000"), "at most 100000"),
        (("--url", "redis://h", "--password-env", "A", "--password-file", "B"), "exclude each other"),
        (("--url", "{}", "--password-env", "NOT_THERE"), "no password in the variable NOT_THERE"),
    ],
)
def test_what_is_wrong_before_anything_is_asked(opsdoc, server, words, said):
    run = opsdoc("cache", "redis", *(word.format(server().url) for word in words))
    assert run.code == 64
    assert said in run.stderr
    assert run.stdout == ""


# ── bad input ────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def speaker(answer):
    """A server that answers whatever is said with `answer(bytes)`; None closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection):
            with contextlib.suppress(OSError), connection:
                while data := connection.recv(1 << 16):
                    reply = answer(data)
                    if reply is None:
                        return
                    connection.sendall(reply)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server, not Redis"),
        (lambda _: b"\x8f\x01garbage\r\n", "garbage"),
        (lambda _: b"$999999999999\r\n", "999999999999"),
        (lambda _: b"*" + b"9" * 40 + b"\r\n", "answers"),
        (lambda _: b"$5\r\nab", "did not answer"),
        (lambda _: b"", "did not answer within"),
        (lambda _: None, "closes the connection"),
        (lambda _: b":7\r\n" * 9, "not the answer to INFO"),
    ],
)
def test_who_is_no_redis(opsdoc, answer, said):
    with speaker(answer) as url:
        run = opsdoc.json("cache", "redis", "--url", url, "--window", "0")
    assert run.code == 3
    assert said in run.stdout
    assert run.report["elapsed_seconds"] < 4


def test_a_memcached_is_no_redis(opsdoc):
    with memcached.server() as one:
        run = opsdoc.json("cache", "redis", "--url", f"redis://{one.address}")
    assert run.code == 3
    assert "it is memcached, not Redis" in run.report["summary"]


def test_a_proxy_that_lacks_commands(opsdoc):
    def answer(data):
        return b"".join(
            b"-ERR unsupported command\r\n" if b"PING" not in part else b"+PONG\r\n" for part in commands(data)
        )

    def commands(data):
        return re.findall(rb"\*\d+\r\n(?:\$\d+\r\n[^\r]*\r\n)+", data)

    with speaker(answer) as url:
        run = opsdoc.json("cache", "redis", "--url", url, *QUICK)
    assert run.code == 3
    assert "unsupported command" in run.report["summary"]
    assert run.of("cache_node")[0]["latency"] > 0


def test_one_of_two_that_does_not_answer(look, server):
    well, frozen = server(), server()
    refused = f"redis://127.0.0.1:{redis.free_ports(1)[0]}"
    with frozen.frozen():
        run = look(well, frozen, "--url", refused)
    dead = {finding["subject"] for finding in run.findings if finding["rule"] == "cache.node-dead"}
    assert dead == {frozen.address, refused.removeprefix("redis://")}
    assert rate(run, well)["hits"] == 0
    assert run.report["elapsed_seconds"] < 4


def test_addresses_that_are_not_reachable_from_here_are_not_called_dead(look, server):
    one = server()
    one.do("REPLICAOF", "192.0.2.1", 6379)  # TEST-NET-1: nobody is there
    run = look(one)
    assert "cache.replica-link" in {finding["rule"] for finding in run.findings}


def test_what_is_known_before_the_window_is_told_at_once(server):
    well, frozen = server(), server()
    past(well.client(), 1000)
    with frozen.frozen():
        urls = [word for one in (well, frozen) for word in ("--url", one.url)]
        told, code = told_early("cache", "redis", *urls, "--window", "20s", until=b"is known in 20 s")
    assert f"{frozen.address} does not answer; 1 node answers, at a hit rate of 100 %".encode() in told
    assert code == 130


def test_an_interrupted_run_tells_what_it_has_seen(look, server):
    one = server()
    past(one.client(), 1000)
    run = look(one, "--window", "20s", when=lambda pid: under_way(0.5)(pid) or asked_once(one)(pid))
    assert run.code == 130
    assert rate(run, one)["lifetime_ratio"] == 1.0
    assert run.of("cache_node")[0]["memory_used"] > 0
    assert json.loads(run.stdout)["severity"] == "unknown"
