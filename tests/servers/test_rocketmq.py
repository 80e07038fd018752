"""The clusters are as sick as they claim: checked with replies of the brokers that our own small client reads."""

from __future__ import annotations

import contextlib
import itertools
import re
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import rocketmq
from servers.programs import Program, ended, state, wait_until
from servers.rocketmq import RocketMQ
from servers.rocketmq_client import NO_SUCH_TOPIC, READ, WRITE, Account, Broker, Link, Member, Refused

pytestmark = pytest.mark.xdist_group("java")  # brokers beside a JVM that should be hot would take its CPU
QUEUES = range(4)
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def clusters() -> Iterator[Callable[..., RocketMQ]]:
    """`clusters(series, …)`: the one cluster that was made so in this session."""
    with contextlib.ExitStack() as made:
        known: dict[str, RocketMQ] = {}

        def get(series: str, **how: object) -> RocketMQ:
            key = f"{series} {sorted(how.items())}"
            if key not in known:
                known[key] = made.enter_context(rocketmq.cluster(series, **how))
            return known[key]

        yield get


@pytest.fixture(params=rocketmq.SERIES[:1])  # opsdoc itself is tested with both
def shop(request: pytest.FixtureRequest, clusters: Callable[..., RocketMQ]) -> RocketMQ:
    """One broker of each series, shared: every test takes names of its own."""
    return clusters(request.param)


@pytest.fixture
def broker(shop: RocketMQ) -> Iterator[Broker]:
    with shop.broker() as broker:
        yield broker


@pytest.fixture
def name() -> str:
    """What no other test calls a topic or a group."""
    return f"orders{next(_numbers)}"


def fill(broker: Broker, topic: str, each: int) -> None:
    for queue in QUEUES:
        broker.send_many(topic, each, queue=queue)


# ── the clusters ─────────────────────────────────────────────────────────────────────────────────


def listening(pid: int) -> set[str]:
    """The addresses that a process listens on, as the kernel writes them."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(link.readlink().name)
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
                found.add(words[1].rpartition(":")[0])
    return found


def test_servers_listen_on_loopback_alone(shop: RocketMQ) -> None:
    for server in (shop.namesrv, shop.brokers["broker-a"]):
        assert listening(server.pid) == {"0100007F"}


def test_it_is_the_version_that_it_says(shop: RocketMQ, broker: Broker) -> None:
    assert broker.do(28).value()["table"]["brokerVersionDesc"] == "V" + shop.version.replace(".", "_")


# ── backlogs, by offsets made to order ───────────────────────────────────────────────────────────


def test_drained_growing_and_draining(shop: RocketMQ, broker: Broker, name: str) -> None:
    shop.topic(name)
    fill(broker, name, 100)
    broker.commit(name, name, dict.fromkeys(QUEUES, 100))
    assert broker.lag(name) == 0
    fill(broker, name, 50)
    assert broker.lag(name) == 200
    broker.commit(name, name, dict.fromkeys(QUEUES, 120))
    assert broker.lag(name) == 120


def test_one_queue_of_four_stands(shop: RocketMQ, broker: Broker, name: str) -> None:
    shop.topic(name)
    fill(broker, name, 100)
    broker.commit(name, name, {0: 100, 1: 100, 2: 7, 3: 100})
    assert {key[1]: row.end - row.committed for key, row in broker.stats(name).items()} == {0: 0, 1: 0, 2: 93, 3: 0}


def test_no_consumer_and_one_that_poses(shop: RocketMQ, broker: Broker, name: str) -> None:
    shop.topic(name)
    fill(broker, name, 10)
    broker.commit(name, name, {0: 1})
    assert broker.connections(name) is None
    with Member(broker.address, name, [name], client="127.0.0.1@4711", tags="TagA || TagB") as member:
        known = broker.connections(name)
        assert known is not None
        assert [one["clientId"] for one in known["connectionSet"]] == [member.client]
        assert known["subscriptionTable"][name]["subString"] == "TagA || TagB"
    wait_until(lambda: broker.connections(name) is None, "the member to be gone")


def test_a_group_that_never_was_and_one_without_commits(shop: RocketMQ, broker: Broker, name: str) -> None:
    shop.topic(name)
    fill(broker, name, 5)
    group = broker.group(f"never-{name}")
    assert broker.stats(group) == {}  # nothing is known, which is not the same as no backlog
    assert broker.lag(group, name) == 20  # with the topic, 0 stands for what was never committed
    assert f"{name}@{group}" not in broker.offsets()
    # 4.9 says 0 for a queue whose messages are all there; only 5.x says that nothing was committed.
    assert broker.committed(group, name) == (0 if shop.series == "4.9" else None)
    spans = broker.do(303, {"topic": name, "group": group}).value()["consumeTimeSpanSet"]
    assert max(span["delayTime"] for span in spans) > 50 * 365 * 86_400_000  # milliseconds since 1970
    with shop.name_server() as names:
        assert names.ask(105, {"topic": f"%RETRY%{group}"}).code == NO_SUCH_TOPIC


def test_committed_ahead_of_the_end(shop: RocketMQ, broker: Broker, name: str) -> None:
    shop.topic(name)
    fill(broker, name, 10)
    broker.commit(name, name, {0: 10, 1: 25, 2: 10, 3: 4})
    assert broker.stats(name)[name, 1].end - broker.stats(name)[name, 1].committed == -15
    assert broker.lag(name) == -9  # the sum hides six that wait


def test_names_that_contain_each_other(shop: RocketMQ, broker: Broker, name: str) -> None:
    """The retry topic of POP for the group `x` and topic `y_z` is that of the group `x_y` and topic `z`."""
    short, long = broker.group(name), broker.group(f"{name}_b")
    shop.topic(name)
    fill(broker, name, 3)
    broker.commit(short, name, dict.fromkeys(QUEUES, 3))
    broker.commit(long, name, dict.fromkeys(QUEUES, 1))
    broker.topic(f"%RETRY%{short}_b", read=1, write=1)
    assert (broker.lag(short, name), broker.lag(long, name)) == (0, 8)
    assert {short, long} <= broker.groups()


def test_messages_in_queues_that_nobody_reads(shop: RocketMQ, broker: Broker, name: str) -> None:
    shop.topic(name)
    fill(broker, name, 5)
    broker.commit(name, name, dict.fromkeys(QUEUES, 5))
    broker.topic(name, read=2, write=4)
    assert {queue for _, queue in broker.stats(name)} == {0, 1}
    broker.send(name, queue=3)
    assert broker.end(name, 3) == 6


def test_consuming_is_disabled(shop: RocketMQ, broker: Broker, name: str) -> None:
    broker.group(name, consumeEnable=False)
    groups = broker.do(201).value()["subscriptionGroupTable"]
    assert groups[name]["consumeEnable"] is False


# ── retries and dead letters ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("series", rocketmq.SERIES)
def test_retries_wait_in_backoff_while_their_topic_is_empty(
    series: str, clusters: Callable[..., RocketMQ], name: str
) -> None:
    shop = clusters(series, delays=rocketmq.LONG_DELAYS)
    shop.topic(name)
    with shop.broker() as broker:
        broker.group(name)
        before = len(broker.entries("SCHEDULE_TOPIC_XXXX", 2))
        for number in range(6):
            broker.send_back(name, name, broker.send(name, keys=f"K{number}"))
        wait_until(lambda: len(broker.entries("SCHEDULE_TOPIC_XXXX", 2)) == before + 6, "six in backoff")
        due = broker.entries("SCHEDULE_TOPIC_XXXX", 2)[before:]
        assert all(entry["tagsCode"] > (time.time() + 1800) * 1000 for entry in due)
        assert b"%RETRY%" + name.encode() in broker.message(due[0]["physicOffset"], "SCHEDULE_TOPIC_XXXX")
        assert broker.end(f"%RETRY%{name}") == 0


@pytest.mark.parametrize("perm", [READ | WRITE, WRITE])
def test_dead_letters_are_read_without_a_trace(shop: RocketMQ, broker: Broker, name: str, perm: int) -> None:
    shop.topic(name)
    broker.group(name)
    dead = broker.topic(f"%DLQ%{name}", read=1, write=1, perm=perm)  # brokers before 4.9.2 made it with WRITE alone
    for number in range(3):
        broker.send_back(name, name, broker.send(name, f"order {number}".encode(), keys=f"K{number}"), delay=-1)
    wait_until(lambda: broker.end(dead) == 3, "three dead letters")
    assert broker.topics()[dead]["perm"] == perm
    before = broker.groups(), broker.offsets()
    letters = [broker.message(entry["physicOffset"], dead) for entry in broker.entries(dead)]
    assert (broker.groups(), broker.offsets()) == before
    for number, letter in enumerate(letters):
        assert struct.unpack(">I", letter[4:8]) == (0xDAA320A7,)
        assert f"order {number}".encode() in letter
        assert f"RETRY_TOPIC\x01{name}\x02".encode() in letter


def test_dead_letters_after_real_failures(shop: RocketMQ, broker: Broker, name: str) -> None:
    shop.topic(name)
    for number in range(4):
        broker.send(name, keys=f"K{number}", queue=number)
    with ended(shop.consumer(name, name, "fail", retries=2)) as program:
        wait_until(lambda: f"%DLQ%{name}" in broker.topics(), "a dead letter", 60)
        wait_until(lambda: broker.end(f"%DLQ%{name}") == 4, "four dead letters", 60)
        assert program.say("status")["failed"] >= 12  # once, and two tries more
    assert broker.end(f"%RETRY%{name}") == 8


# ── consumers ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def consumer(shop: RocketMQ) -> Iterator[Callable[..., Program]]:
    """`consumer(group, topic, mode, …)`: a consumer that ends with the test."""
    with contextlib.ExitStack() as made:

        def start(*args: str, **how: object) -> Program:
            program = shop.consumer(*args, **how)
            made.callback(program.stop)
            return program

        yield start


def consume_threads(stacks: str) -> list[str]:
    """The blocks of a dump whose thread consumes."""
    return [block for block in re.split(r"\n\s*\n", stacks) if block.lstrip().startswith("ConsumeMessageThread_")]


def test_stuck_on_its_first_messages(
    shop: RocketMQ, broker: Broker, name: str, consumer: Callable[..., Program]
) -> None:
    shop.topic(name)
    fill(broker, name, 5)
    program = consumer(name, name, "stuck")
    wait_until(lambda: program.say("status")["begun"] == 4, "four threads to be stuck")
    assert broker.stats(name) == {}  # an empty reply about twenty messages
    assert broker.lag(name, name) == 20
    client = program.facts["client"]
    running = wait_until(lambda: broker.running(name, client, stacks=True), "the client to answer")
    assert sum(queue["cachedMsgCount"] for key, queue in running["mqTable"].items() if name in key) == 20
    threads = consume_threads(running["jstack"])
    assert len(threads) == 4
    assert all(rocketmq.STUCK in block for block in threads)
    program.say("rest")
    wait_until(lambda: program.say("commit")["consumed"] == 20, "all to be consumed")
    wait_until(lambda: broker.lag(name, name) == 0, "all to be committed")


def test_ordered_and_blocked_behind_one_message(
    shop: RocketMQ, broker: Broker, name: str, consumer: Callable[..., Program]
) -> None:
    shop.topic(name)
    for queue, number in itertools.product(QUEUES, range(10)):
        broker.send(name, keys=f"K{queue}-{number}", queue=queue)
    program = consumer(name, name, "stuck", ordered=True, only="K2-3")
    wait_until(lambda: program.say("commit")["consumed"] == 33, "three queues and three messages")
    wait_until(lambda: program.say("commit") and broker.lag(name, name) == 7, "seven behind the one")
    assert broker.committed(name, name, 2) == 3
    running = broker.running(name, program.facts["client"], stacks=True)
    (queue,) = [q for key, q in running["mqTable"].items() if f'"queueId":2,"topic":"{name}"' in key]
    assert queue["locked"] is True
    assert queue["transactionMsgCount"] == 1
    assert queue["cachedMsgCount"] in (6, 7)  # 5.x counts the one in hand
    assert sum(rocketmq.STUCK in block for block in consume_threads(running["jstack"])) == 1


def test_growing_and_draining_with_real_programs(
    shop: RocketMQ, broker: Broker, name: str, consumer: Callable[..., Program]
) -> None:
    shop.topic(name)
    with ended(shop.producer(name, rate=200)) as producer, producer.hot():
        slow = consumer(name, name, sleep=40, threads=2)  # fifty a second
        wait_until(lambda: broker.end(name) > 50, "messages")
        wait_until(lambda: slow.say("commit")["consumed"] > 10, "the consumer to work")
        first = broker.lag(name, name)
        wait_until(lambda: slow.say("commit") and broker.lag(name, name) > first + 100, "the backlog to grow")
    full = broker.lag(name, name)
    wait_until(lambda: slow.say("commit") and 0 < broker.lag(name, name) < full - 20, "the backlog to shrink")


def test_mismatch_and_two_of_one_id(shop: RocketMQ, broker: Broker, name: str) -> None:
    shop.topic(name)
    with (
        Member(broker.address, name, [name], client="127.0.0.1@1", tags="TagA"),
        Member(broker.address, name, [name], client="127.0.0.1@2", tags="TagB"),
        Member(broker.address, name, [name], client="127.0.0.1@2", tags="TagB"),
    ):
        known = broker.connections(name)
        assert known is not None
        assert sorted(one["clientId"] for one in known["connectionSet"]) == [f"127.0.0.1@{i}" for i in (1, 2, 2)]
        assert known["subscriptionTable"][name]["subString"] == "TagB"  # the last one wins, and nobody is told


def test_broadcast(shop: RocketMQ, broker: Broker, name: str) -> None:
    shop.topic(name)
    with Member(broker.address, name, [name], broadcast=True):
        known = broker.connections(name)
        assert known is not None
        assert known["messageModel"] == "BROADCASTING"
        assert broker.stats(name) == {}


def test_half_messages_are_never_resolved(shop: RocketMQ, broker: Broker, name: str) -> None:
    shop.topic(name)
    before = broker.end("RMQ_SYS_TRANS_HALF_TOPIC")
    for number in range(3):
        broker.send(name, keys=f"K{number}", half=True)
    wait_until(lambda: broker.end("RMQ_SYS_TRANS_HALF_TOPIC") >= before + 3, "three halves")
    assert broker.end(name) == 0


# ── brokers that fail ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("series", rocketmq.SERIES)
def test_expired_unread(series: str, clusters: Callable[..., RocketMQ], name: str) -> None:
    shop = clusters(series, delays=rocketmq.LONG_DELAYS)  # not the shared one: it is restarted
    shop.topic(name, read=1, write=1)
    with shop.broker() as broker:
        broker.send_many(name, 3000, size=500)
        broker.commit(name, name, {0: 10})
    shop.lose_oldest()
    with shop.broker() as broker:
        assert broker.end(name) == 3000
        assert broker.committed(name, name) == 10
        assert 10 < broker.start(name) < 3000
        assert broker.lag(name) == 2990  # what 208 makes of it: the lost are counted


@pytest.mark.parametrize("series", rocketmq.SERIES)
def test_one_broker_of_two_dies(series: str) -> None:
    with rocketmq.cluster(series, brokers=2) as shop:
        assert shop.registered() == {"broker-a", "broker-b"}
        shop.topic("orders")
        assert shop.route("orders") == 8
        silent = shop.brokers["broker-b"]
        with silent.stopped(), Link(silent.address, timeout=0.5) as link, pytest.raises(TimeoutError):
            link.ask(28)
        shop.brokers["broker-b"].kill()
        wait_until(lambda: shop.registered() == {"broker-a"}, "the name server to see the connection close")
        with shop.broker() as broker:
            assert broker.end("orders") == 0


@pytest.mark.parametrize("series", rocketmq.SERIES)
def test_wrong_credentials(series: str) -> None:
    with rocketmq.cluster(series, acl=True) as shop:
        shop.topic("orders")
        with shop.broker() as broker:
            broker.send("orders")
            broker.commit("group", "orders", {0: 0})
        with shop.broker(account=rocketmq.READER) as reader:
            assert reader.lag("group", "orders") == 1
            with pytest.raises(Refused):
                reader.send("orders")
        with shop.broker(account=Account(rocketmq.READER.access, "wrong")) as stranger:
            reply = stranger.ask(208, {"consumerGroup": "group"})
            assert reply.code != 0
            assert re.search("signature", reply.remark, re.IGNORECASE)


@pytest.mark.parametrize("series", rocketmq.SERIES)
def test_only_tls(series: str) -> None:
    with rocketmq.cluster(series, tls=True) as shop:
        shop.topic("orders")
        with shop.broker() as broker:
            broker.send("orders")
        with Link(shop.address) as plain, pytest.raises((EOFError, ConnectionError, TimeoutError)):
            plain.ask(106)


def written(broker: Broker) -> int:
    """The end of a broker's commit log."""
    return int(broker.do(28).value()["table"]["commitLogMaxOffset"])


@pytest.mark.parametrize("series", rocketmq.SERIES)
def test_a_slave_has_what_its_master_had(series: str) -> None:
    with rocketmq.cluster(series, slave=True) as shop:
        shop.topic("orders")
        with shop.broker() as master, shop.broker("broker-a-slave") as slave:
            master.send_many("orders", 50)
            there = written(master)
            wait_until(lambda: written(slave) >= there, "the slave to copy", 30)
        shop.brokers["broker-a"].kill()
        wait_until(lambda: shop.registered() == {"broker-a-slave"}, "the master to be gone")


def test_a_proxy_serves_only_some() -> None:
    with rocketmq.cluster("5.3", proxy=True) as shop:
        shop.topic("orders")
        assert shop.proxy is not None
        with shop.broker() as broker, Broker(shop.proxy.address) as proxy:
            broker.send_many("orders", 7)
            broker.commit("group", "orders", {0: 2})
            for code in (106, 208, 317, 202, 201, 307):
                assert proxy.ask(code, {"consumerGroup": "group", "topic": "orders", "clientId": "x"}).code != 0
            proxy.behind = "broker-a"
            assert (proxy.end("orders"), proxy.start("orders"), proxy.committed("group", "orders")) == (7, 0, 2)


def test_nothing_outlives_its_cluster() -> None:
    with rocketmq.cluster("4.9") as shop:
        pids = [shop.namesrv.pid, shop.brokers["broker-a"].pid]
        folder = shop.namesrv.folder.parent
    assert [state(pid) for pid in pids] == ["X", "X"]
    assert not folder.exists()
