"""`opsdoc mq rocketmq` on real brokers of both series: one look at a sick shop, and clusters that fail."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from servers import rocketmq
from servers.cli import Opsdoc
from servers.programs import ended, wait_until
from servers.rocketmq import ADMIN, READER
from servers.rocketmq_client import WRITE, Member

pytestmark = pytest.mark.xdist_group("java")  # brokers beside a JVM that should be hot would take its CPU
QUEUES = range(4)
SERIES = pytest.mark.parametrize("series", rocketmq.SERIES)
ONCE = ("--window", "0")


def fill(broker, topic, each, queues=QUEUES):
    for queue in queues:
        broker.send_many(topic, each, queue=queue)


def backlog(run, consumer, part="main", topic=None):
    """The one backlog of a group, and of a topic where it has several."""
    found = [
        one
        for one in run.of("backlog")
        if (one["consumer"], one["part"]) == (consumer, part) and topic in (None, one["topic"])
    ]
    assert len(found) == 1, f"{run}: {len(found)} backlogs of {consumer} ({part}); {run.unseen}"
    return found[0]


def parts(one):
    """The queues of a backlog: name, depth, owner and note of each."""
    return [tuple(part.values()) if isinstance(part, dict) else tuple(part) for part in one["parts"]]


def findings(run, word):
    """What is not in order with a subject."""
    return [one for one in run.findings if one["severity"] != "ok" and word in one["subject"]]


# ── one look at a sick shop ──────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module", params=rocketmq.SERIES)
def shop(request, tmp_path_factory):
    """A cluster with all kinds of groups, and the report of one run over it; `drained_after` is from its end on."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(rocketmq.cluster(request.param, delays=rocketmq.LONG_DELAYS))
        broker = stack.enter_context(cluster.broker())
        members = _groups_without_clients(cluster, broker, stack)
        programs = _programs(cluster, broker, stack)
        before = broker.groups(), {name: broker.stats(name) for name in ("done", "partly", "gone", "dying")}
        opsdoc = Opsdoc(tmp_path_factory.mktemp("opsdoc"))
        options = ("--peek", 5, "-n", 100, "--limit", "backlog.idle=5:10")
        run = opsdoc.json("mq", "rocketmq", "--namesrv", cluster.address, *options, timeout=60)
        ended_at = time.monotonic()
        after = broker.groups(), {name: broker.stats(name) for name in ("done", "partly", "gone", "dying")}
        yield SimpleNamespace(
            cluster=cluster,
            broker=broker,
            run=run,
            ended_at=ended_at,
            before=before,
            after=after,
            members=members,
            **programs,
        )


def _groups_without_clients(cluster, broker, stack):
    cluster.topic("first")
    fill(broker, "first", 5)
    for topic in ("orders", "stock", "mail", "news", "wide", "sealed"):
        cluster.topic(topic)
        fill(broker, topic, 50)
    everything = dict.fromkeys(QUEUES, 50)
    for name in ("done", "partly", "gone", "never", "ahead", "a", "a_b", "dying", "half"):
        broker.group(name)
    broker.group("forbidden", consumeEnable=False)
    broker.commit("done", "orders", everything)
    broker.commit("partly", "orders", {**everything, 2: 20})
    broker.commit("gone", "orders", dict.fromkeys(QUEUES, 40))
    broker.commit("ahead", "orders", {0: 50, 1: 75, 2: 50, 3: 44})
    broker.commit("a", "stock", everything)
    broker.commit("a_b", "stock", dict.fromkeys(QUEUES, 47))
    broker.topic("%RETRY%a_b", read=1, write=1)
    for _ in range(3):
        broker.send("%RETRY%a_b")
    broker.topic("b", read=1, write=1)  # by its name, %RETRY%a_b may be the retries of `a` on `b`, too
    broker.commit("forbidden", "orders", dict.fromkeys(QUEUES, 45))
    broker.commit("wide", "wide", everything)
    broker.topic("wide", read=2, write=4)
    broker.send_many("wide", 7, queue=3)
    broker.commit("sealed", "sealed", dict.fromkeys(QUEUES, 49))
    broker.topic("sealed", perm=WRITE)
    for number in range(6):
        broker.send_back("dying", "mail", broker.send("mail", keys=f"K{number}"))
    broker.topic("%DLQ%dying", read=1, write=1, perm=WRITE)  # as brokers before 4.9.2 made it
    for number in range(3):
        body = b"order %d of password=hunter2hunter2" % number
        broker.send_back("dying", "mail", broker.send("mail", body, keys=f"D{number}"), delay=-1)
    wait_until(lambda: broker.end("%DLQ%dying") == 3, "three dead letters")
    halves = broker.end("RMQ_SYS_TRANS_HALF_TOPIC")
    for _ in range(3):
        broker.send("mail", half=True)
    wait_until(lambda: broker.end("RMQ_SYS_TRANS_HALF_TOPIC") >= halves + 3, "three halves")
    broker.commit("tagged", "news", dict.fromkeys(QUEUES, 30))
    return [
        stack.enter_context(Member(broker.address, *args, **how))
        for args, how in (
            (("tagged", ["news"]), {"client": "127.0.0.1@11", "tags": "TagA || TagB"}),
            (("aired", ["news"]), {"client": "127.0.0.1@12", "broadcast": True}),
            (("silent", ["first"]), {"client": "127.0.0.1@14"}),
            (("twice", ["news"]), {"client": "127.0.0.1@13"}),
            (("twice", ["news"]), {"client": "127.0.0.1@13"}),
        )
    ]


def _programs(cluster, broker, stack):
    for topic in ("ordered", "rising", "falling"):
        cluster.topic(topic)
    for queue in QUEUES:
        for number in range(10):
            broker.send("ordered", keys=f"K{queue}-{number}", queue=queue)
    producer = cluster.producer("rising", rate=200)
    stack.enter_context(producer.hot())
    stuck = cluster.consumer("stuck", "first", "stuck")
    ordered = cluster.consumer("blocked", "ordered", "stuck", ordered=True, only="K2-3")
    cluster.consumer("growing", "rising", sleep=40, threads=2)
    fill(broker, "falling", 1500)
    draining = cluster.consumer("draining", "falling", sleep=20, threads=4)
    wait_until(lambda: stuck.say("status")["begun"] == 4, "four threads to be stuck", 60)
    wait_until(lambda: ordered.say("status")["consumed"] == 33, "three queues and three messages", 60)
    wait_until(lambda: broker.committed("blocked", "ordered", 2) == 3, "what is consumed to be committed", 60)
    wait_until(lambda: broker.lag("draining", "falling") < 5900, "the backlog to shrink", 60)
    wait_until(lambda: broker.lag("growing", "rising") > 100, "the backlog to grow", 60)
    return {"stuck": stuck, "ordered": ordered, "draining": draining}


def test_it_is_one_report_with_a_window(shop):
    run = shop.run
    (result,) = run.report["results"]
    assert result["probe"] == "mq.rocketmq"
    assert result["window_seconds"] == pytest.approx(12, abs=1)
    assert run.report["severity"] == "critical"
    assert run.code == 2
    assert run.report["elapsed_seconds"] < 20
    assert not [u for u in run.unseen if u["subject"].startswith(("offsets", "the beginnings", "broker"))], run.unseen


def test_drained(shop):
    done = backlog(shop.run, "done")
    assert (done["depth"], done["trend"], done["lost"], done["ahead"], done["members"]) == (0, "drained", 0, 0, 0)
    assert done["oldest_age"] is None
    assert not findings(shop.run, "done")


def test_one_queue_of_four(shop):
    partly = backlog(shop.run, "partly")
    assert (partly["depth"], partly["queue_count"], partly["never_consumed"]) == (30, 4, 0)
    assert parts(partly)[0][:2] == ("broker-a q2", 30)
    assert [depth for _, depth, *_ in parts(partly)] == [30, 0, 0, 0]


def test_no_consumer(shop):
    gone = backlog(shop.run, "gone")
    assert (gone["depth"], gone["members"], gone["trend"], gone["out_rate"]) == (40, 0, "stalled", 0)
    assert 10 < gone["oldest_age"] < 600
    assert [one["rule"] for one in findings(shop.run, "gone")] == ["backlog.no-consumer"]


def test_never_committed_and_online(shop):
    """No statistic of the broker tells of it: its offsets are no zeros, there are none."""
    assert shop.broker.stats("silent") == {}
    silent = backlog(shop.run, "silent")
    assert (silent["depth"], silent["never_consumed"], silent["members"]) == (20, 20, 1)
    assert (silent["topic"], silent["trend"], silent["consume_from"]) == ("first", "stalled", "earliest")


def test_stuck_on_the_first_message(shop):
    stuck = backlog(shop.run, "stuck")
    assert (stuck["depth"], stuck["members"], stuck["topic"]) == (20, 1, "first")
    assert (stuck["trend"], stuck["stalled_parts"]) == ("stalled", 4)
    client = shop.stuck.facts["client"]
    assert {owner for _, _, owner, _ in parts(stuck)} == {client}
    (one,) = [c for c in shop.run.of("consumer") if c["consumer"] == "stuck"]
    assert (one["client"], one["cached"], one["threads"], one["queues"]) == (client, 20, 4, 4)
    assert one["agreement"] == {"seen": 4, "of": 4}
    own = [frame for frame in one["frames"] if frame["origin"] == "app"]
    assert f"{own[0]['file']}:{own[0]['line']}" == rocketmq.STUCK
    (finding,) = [f for f in findings(shop.run, "stuck") if f["rule"] == "backlog.stalled"]
    assert client in finding["summary"]


def test_ordered_and_blocked(shop):
    blocked = backlog(shop.run, "blocked")
    assert (blocked["depth"], blocked["stalled_parts"], blocked["ordered"]) == (7, 1, True)
    assert parts(blocked)[0] == ("broker-a q2", 7, shop.ordered.facts["client"], "did not move")
    (one,) = [c for c in shop.run.of("consumer") if c["consumer"] == "blocked"]
    assert one["ordered"] is True
    assert one["unlocked"] == 0
    (finding,) = findings(shop.run, "blocked")
    assert finding["rule"] == "backlog.blocked"


def test_growing(shop):
    growing = backlog(shop.run, "growing")
    assert growing["trend"] == "growing"
    assert growing["in_rate"] == pytest.approx(200, rel=0.25)
    assert growing["out_rate"] < 80
    assert growing["depth"] > growing["depth_before"]


def test_draining_with_a_forecast(shop):
    draining = backlog(shop.run, "draining")
    assert draining["trend"] == "draining", draining
    wait_until(lambda: shop.draining.say("commit") and shop.broker.lag("draining", "falling") == 0, "the end", 90)
    took = time.monotonic() - shop.ended_at
    forecast = draining["drain_seconds"]
    low, high = forecast.values() if isinstance(forecast, dict) else forecast
    assert low * 0.7 <= took <= high * 1.3, (low, took, high)


def test_never_used_groups_are_not_56_years_late(shop):
    assert not [one for one in shop.run.of("backlog") if one["consumer"] == "never"]
    for one in shop.run.of("backlog"):
        assert (one["oldest_age"] or 0) < 3600


def test_negative_differences_are_named_and_not_summed(shop):
    ahead = backlog(shop.run, "ahead")
    assert (ahead["depth"], ahead["ahead"]) == (6, 25)
    assert "backlog.ahead" in [one["rule"] for one in findings(shop.run, "ahead")]


def test_names_that_contain_each_other(shop):
    assert backlog(shop.run, "a")["depth"] == 0
    assert backlog(shop.run, "a_b")["depth"] == 12
    retries = backlog(shop.run, "a_b", "retry")
    assert (retries["depth"], retries["never_consumed"]) == (3, 3)
    assert not [one for one in shop.run.of("backlog") if (one["consumer"], one["part"]) == ("a", "retry")]
    assert [u for u in shop.run.unseen if u["subject"] == "topic %RETRY%a_b" and "'a'" in u["detail"]]


def test_unread_queues_disabled_groups_and_sealed_topics(shop):
    assert backlog(shop.run, "wide")["unread_queues"] == 7
    forbidden = backlog(shop.run, "forbidden")
    assert (forbidden["depth"], forbidden["enabled"]) == (20, False)
    assert "consumeEnable" in forbidden["disabled_by"]
    sealed = backlog(shop.run, "sealed")
    assert (sealed["depth"], sealed["enabled"]) == (4, False)
    assert "perm=2" in sealed["disabled_by"]


def test_retries_in_backoff_are_counted_while_their_topic_is_empty(shop):
    dying = backlog(shop.run, "dying", "retry")
    assert (dying["depth"], dying["in_backoff"]) == (0, 6)


def test_dead_letters_of_a_topic_that_may_not_be_read(shop):
    dead = backlog(shop.run, "dying", "dead-letter")
    assert (dead["depth"], dead["recent"], dead["in_rate"], dead["members"]) == (3, 3, 0, None)
    (letter,) = shop.run.of("dead_letter")
    assert (letter["origin"], letter["count"], letter["of"]) == ("mail", 3, 3)
    assert set(letter["keys"]) == {"D0", "D1", "D2"}
    assert letter["example"].startswith("order ")
    assert "hunter2" not in shop.run.stdout


def test_nothing_is_changed(shop):
    assert shop.before == shop.after


def test_filters_broadcast_and_ids_used_twice(shop):
    tagged = backlog(shop.run, "tagged")
    assert (tagged["filter"], tagged["depth"], tagged["members"]) == ("TagA || TagB", 80, 1)
    aired = backlog(shop.run, "aired")
    assert aired["mode"] == "broadcast"
    assert aired["depth"] is None
    assert "broadcast" in aired["unknown"]["depth"]
    (twice,) = [one for one in shop.run.of("consumer") if one["consumer"] == "twice"]
    assert twice["connections"] == 2


def test_the_broker(shop):
    (broker,) = shop.run.of("broker")
    assert (broker["name"], broker["role"], broker["reachable"], broker["flush"]) == (
        "broker-a",
        "master",
        True,
        "async",
    )
    assert broker["version"] == shop.cluster.version
    assert 0 < broker["disk_used"] < 1
    assert broker["half_messages"] == 3
    assert 5 < broker["oldest_half"] < 600
    assert broker["put_rate"] > 0


def test_named_groups_and_topics_alone(shop, opsdoc):
    run = opsdoc.json("mq", "rocketmq", "--namesrv", shop.cluster.address, "--group", "gone", *ONCE)
    assert {one["consumer"] for one in run.of("backlog")} == {"gone"}
    run = opsdoc.json("mq", "rocketmq", "--namesrv", shop.cluster.address, "--topic", "stock", *ONCE)
    assert {one["consumer"] for one in run.of("backlog") if one["part"] == "main"} == {"a", "a_b"}
    never = ("--group", "never")
    run = opsdoc.json("mq", "rocketmq", "--namesrv", shop.cluster.address, *never, "--topic", "orders", *ONCE)
    assert (backlog(run, "never")["depth"], backlog(run, "never")["never_consumed"]) == (200, 200)
    run = opsdoc.json("mq", "rocketmq", "--namesrv", shop.cluster.address, *never, *ONCE)
    assert backlog(run, "never")["depth"] == 0
    run = opsdoc.json("mq", "rocketmq", "--namesrv", shop.cluster.address, "--group", "partli", *ONCE)
    assert run.code == 3
    assert "did you mean 'partly'?" in run.report["summary"]


def test_a_window_of_nothing_leaves_trends_unseen_and_is_quick(shop, opsdoc):
    run = opsdoc.json("mq", "rocketmq", "--namesrv", shop.cluster.address, *ONCE)
    gone = backlog(run, "gone")
    assert (gone["depth"], gone["trend"], gone["window"]) == (40, "unknown", None)
    assert run.report["elapsed_seconds"] < 8


def test_a_recording_says_the_same(shop, opsdoc, tmp_path):
    case = tmp_path / "case.tar.gz"
    live = opsdoc.json("mq", "rocketmq", "--namesrv", shop.cluster.address, *ONCE, "--peek", 2, "--record", case)
    again = opsdoc.json("mq", "rocketmq", "--replay", case)
    assert again.report["results"] == live.report["results"]
    assert "hunter2" not in case.read_bytes().decode("latin-1")


# ── clusters that fail ───────────────────────────────────────────────────────────────────────────


@SERIES
def test_wrong_credentials(series, opsdoc, tmp_path):
    with rocketmq.cluster(series, acl=True) as shop:
        shop.topic("orders")
        with shop.broker() as broker:
            broker.send_many("orders", 5)
            broker.group("group")
            broker.commit("group", "orders", {0: 1})
        place = ("mq", "rocketmq", "--namesrv", shop.address, *ONCE)
        (tmp_path / "secret").write_text(f"{ADMIN.secret}\n")
        (tmp_path / "tools.yml").write_text(f"accessKey: {READER.access}\nsecretKey: {READER.secret}\n")
        admin = opsdoc.json(*place, "--user", ADMIN.access, "--password-file", tmp_path / "secret")
        assert backlog(admin, "group")["depth"] == 4
        env = {"WHERE": ADMIN.secret}
        assert backlog(opsdoc.json(*place, "--user", ADMIN.access, "--password-env", "WHERE", env=env), "group")
        reader = opsdoc.json(*place, "--client-config", tmp_path / "tools.yml")
        assert backlog(reader, "group")["depth"] == 4
        (tmp_path / "secret").write_text("wrong-secret-0001\n")
        for options in ((), ("--user", ADMIN.access, "--password-file", tmp_path / "secret")):
            run = opsdoc.json(*place, *options)
            (result,) = run.report["results"]
            assert (run.code, result["status"]) == (3, "denied")
            assert run.findings[0]["rule"] == "target.denied"
            assert "--client-config" in run.findings[0]["next_step"] or "secretKey" in run.findings[0]["next_step"]
            assert "wrong-secret" not in run.stdout + run.stderr


@SERIES
def test_one_broker_of_two_is_down_or_silent(series, opsdoc):
    with rocketmq.cluster(series, brokers=2) as shop:
        shop.topic("orders")
        for name in ("broker-a", "broker-b"):
            with shop.broker(name) as broker:
                broker.send_many("orders", 10)
                broker.group("group")
                broker.commit("group", "orders", {0: 4})
        place = ("mq", "rocketmq", "--namesrv", shop.address, *ONCE)
        whole = opsdoc.json(*place)
        assert backlog(whole, "group")["depth"] == 12
        with shop.brokers["broker-b"].stopped():
            run = opsdoc.json(*place)
        assert backlog(run, "group")["depth"] == 6
        # It costs its deadline of 5 s, and not once more; the rest is a busy machine.
        assert 4 < run.report["elapsed_seconds"] - whole.report["elapsed_seconds"] < 9.5
        assert [b["name"] for b in run.of("broker") if not b["reachable"]] == ["broker-b"]
        assert [u["reason"] for u in run.unseen if u["subject"] == "broker broker-b"] == ["timeout"]
        shop.brokers["broker-b"].kill()
        run = opsdoc.json(*place)  # the name server may know of it or not
        assert backlog(run, "group")["depth"] == 6


@SERIES
def test_expired_unread(series, opsdoc):
    with rocketmq.cluster(series) as shop:
        shop.topic("orders", read=1, write=1)
        with shop.broker() as broker:
            broker.send_many("orders", 3000, size=500)
            broker.group("group")
            broker.commit("group", "orders", {0: 10})
        shop.lose_oldest()
        run = opsdoc.json("mq", "rocketmq", "--namesrv", shop.address, *ONCE)
        group = backlog(run, "group")
        with shop.broker() as broker:
            low = broker.start("orders")
        assert (group["lost"], group["depth"]) == (low - 10, 3000 - low)
        assert group["oldest_age"] < 600
        assert "backlog.lost" in [one["rule"] for one in findings(run, "group")]


@pytest.mark.parametrize("series", ["4.9"])  # a slave of 5.3 takes a minute to have all
def test_a_slave_is_read_when_the_master_is_gone(series, opsdoc):
    with rocketmq.cluster(series, slave=True) as shop:
        shop.topic("orders", read=1, write=1)
        with shop.broker() as master, shop.broker("broker-a-slave") as slave:
            master.group("group")
            master.send_many("orders", 50)
            master.commit("group", "orders", {0: 20})
            wait_until(lambda: slave.end("orders") == 50 and slave.stats("group"), "the slave to copy", 90)
        place = ("mq", "rocketmq", "--namesrv", shop.address)
        run = opsdoc.json(*place, *ONCE)
        (broker,) = run.of("broker")
        assert (broker["slaves"], broker["slave_behind"]) == (1, 0)
        shop.brokers["broker-a"].kill()
        wait_until(lambda: shop.registered() == {"broker-a-slave"}, "the master to be gone")
        run = opsdoc.json(*place)
        group = backlog(run, "group")
        assert (group["depth"], group["trend"]) == (30, "unknown")
        assert group["source_age"] == (10 if series == "4.9" else 60)
        assert "slave" in group["unknown"]["out_rate"]


@pytest.mark.parametrize("series", ["5.3"])
def test_tls(series, opsdoc):
    with rocketmq.cluster(series, tls=True) as shop:
        shop.topic("orders")
        place = ("mq", "rocketmq", "--namesrv", shop.address, *ONCE)
        assert opsdoc.json(*place, "--tls-ca", shop.trust).of("broker")
        run = opsdoc.json(*place)
        assert run.code == 3
        assert "--tls" in run.findings[0]["next_step"]


def test_through_a_proxy_alone(opsdoc):
    with rocketmq.cluster("5.3", proxy=True) as shop:
        shop.topic("orders")
        with shop.broker() as broker:
            broker.send_many("orders", 7)
            broker.group("group")
            broker.commit("group", "orders", {0: 2})
        place = ("mq", "rocketmq", "--namesrv", shop.proxy.address)
        run = opsdoc.json(*place, "--group", "group", "--topic", "orders", *ONCE)
        assert backlog(run, "group")["depth"] == 5
        assert {"dead letters", "brokers"} <= {u["subject"] for u in run.unseen}
        run = opsdoc.json(*place, *ONCE)
        assert run.code == 3
        assert "--group" in run.findings[0]["next_step"]


# ── what is no name server ───────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def stranger(words):
    """A server that says the same to everybody; nothing at all, for None."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    kept.append(connection)
                    if words is not None:
                        connection.recv(1024)
                        connection.sendall(words)
                        connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "malformed"),
        (b"-ERR unknown command\r\n", "malformed"),
        (b"\x7f\xff\xff\xff\x00\x00\x00\x00", "malformed"),
        (b"\x00\x00\x00\x10\x00", "malformed"),
        (b"\x15\x03\x03\x00\x02\x02\x0a", "unsupported"),
    ],
)
def test_strangers(opsdoc, words, reason):
    with stranger(words) as address:
        run = opsdoc.json("mq", "rocketmq", "--namesrv", address)
    assert (run.code, run.findings[0]["rule"]) == (3, f"target.{reason}")
    assert run.findings[0]["next_step"]
    assert run.wall < 5


def test_who_takes_connections_and_never_answers_costs_five_seconds(opsdoc):
    with stranger(None) as address:
        run = opsdoc.json("mq", "rocketmq", "--namesrv", address)
    assert (run.code, run.findings[0]["rule"]) == (3, "target.timeout")
    assert run.wall < 7


def test_nobody_listens(opsdoc):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    run = opsdoc.json("mq", "rocketmq", "--namesrv", address)
    assert (run.code, run.findings[0]["rule"]) == (3, "target.unreachable")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--namesrv"),
        (("--namesrv", "somewhere"), "HOST:PORT"),
        (("--namesrv", "a:1", "--user", "x"), "--password-env"),
        (("--namesrv", "a:1", "--password-env", "X"), "--user"),
        (("--namesrv", "a:1", "--user", "x", "--password-env", "NO_SUCH"), "NO_SUCH"),
        (("--namesrv", "a:1", "--client-config", "/no/such/file"), "/no/such/file"),
        (("--namesrv", "a:1", "--peek", "1000"), "--peek"),
    ],
)
def test_bad_usage(opsdoc, options, words):
    run = opsdoc("mq", "rocketmq", *options)
    assert run.code == 64
    assert words in run.stderr
    assert run.stdout == ""


def test_a_broker_is_no_name_server(opsdoc):
    with rocketmq.cluster("5.3") as shop:
        run = opsdoc.json("mq", "rocketmq", "--namesrv", shop.brokers["broker-a"].address)
    assert (run.code, run.findings[0]["rule"]) == (3, "target.unsupported")
    assert "9876" in run.findings[0]["next_step"]


@SERIES
def test_dead_letters_after_real_failures(series, opsdoc):
    with rocketmq.cluster(series) as shop:
        shop.topic("orders")
        with shop.broker() as broker:
            for number in range(4):
                broker.send("orders", keys=f"K{number}", queue=number)
            with ended(shop.consumer("failing", "orders", "fail", retries=2)):
                wait_until(lambda: "%DLQ%failing" in broker.topics(), "a dead letter", 60)
                wait_until(lambda: broker.end("%DLQ%failing") == 4, "four dead letters", 60)
        run = opsdoc.json("mq", "rocketmq", "--namesrv", shop.address, "--peek", 10, *ONCE)
        assert backlog(run, "failing", "dead-letter")["depth"] == 4
        (letter,) = run.of("dead_letter")
        assert (letter["count"], letter["retried"], letter["origin"]) == (4, 3, "orders")
        assert set(letter["keys"]) == {"K0", "K1", "K2", "K3"}


def test_depths_are_told_before_their_trends_are_known(shop):
    watching, terminal = pty.openpty()
    command = [sys.executable, "-m", "opsdoc", "mq", "rocketmq", "--namesrv", shop.cluster.address]
    env = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=terminal, env=env, cwd="/") as run:
        os.close(terminal)
        told = b""
        while b"is known in" not in told:
            told += os.read(watching, 4096)
        assert run.poll() is None  # the window has not passed
        run.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # at its end the terminal is gone
            while os.read(watching, 4096):
                pass
    os.close(watching)
    assert re.search(rb"opsdoc: [\d,]+ messages wait, [\d,]+ of them for \S+ in \S+; how that changes", told)
    assert run.returncode == 130


# ── the playbook ─────────────────────────────────────────────────────────────────────────────────


def test_the_playbook_names_the_cause(tmp_path):
    with rocketmq.cluster("4.9") as cluster, cluster.broker() as broker:
        cluster.topic("orders")
        fill(broker, "orders", 50)
        broker.group("left-behind")
        broker.commit("left-behind", "orders", dict.fromkeys(QUEUES, 10))
        page = tmp_path / "late.html"
        run = Opsdoc(tmp_path).json("run", "mq-backlog", "-p", f"namesrv={cluster.address}", "-o", page, timeout=60)
    (found,) = [one for one in run.findings if one["rule"] == "mq-backlog.cause"]
    assert found["severity"] in ("warning", "critical")
    assert "left-behind has no consumer for orders: 160 waiting" in found["summary"]
    assert run.report["summary"] == found["summary"]
    assert "broker-a q0" in page.read_text()  # the bars of its queues
