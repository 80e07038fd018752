"""Looks at a RocketMQ cluster, on replies that a 4.9.3 gave, and on such replies made to order."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from opsdoc.clients.remoting import Server
from opsdoc.clients.rocketmq import Call, Messages
from opsdoc.clients.rocketmq_account import Account
from opsdoc.host import Answer, Host
from opsdoc.looks import rocketmq_facts, rocketmq_offsets, rocketmq_report, rocketmq_retries, rocketmq_rows
from opsdoc.looks.rocketmq_broker import health
from opsdoc.looks.rocketmq_cluster import (
    AT_MOST,
    Cluster,
    Proxy,
    addresses,
    ask_all,
    clock_difference,
    decimal,
    find,
    is_own_group,
    is_own_topic,
    number,
)
from opsdoc.looks.rocketmq_consumers import Client, Group, members, running
from opsdoc.looks.rocketmq_facts import Facts, Range
from opsdoc.looks.rocketmq_offsets import Extra, Key, Place
from opsdoc.looks.rocketmq_watch import Wanted, Watch, watch
from opsdoc.model import Denied, Frame, ProbeError, Share, TimedOut, Unknown, Unreachable, Unsupported, UsageError
from opsdoc.parsers import fastjson, rocketmq_message, rocketmq_stacks
from opsdoc.parsers import rocketmq_names as names
from opsdoc.redact import Redactor
from opsdoc.signals.backlog_facts import Backlog

SAMPLES = Path(__file__).parent / "samples/rocketmq"
REPLIES = [one for name in ("replies", "more") for one in json.loads((SAMPLES / f"{name}-4.9.3.json").read_text())]
STARTED = 1795384434.0  # when they were given
NAME_SERVER = Server("127.0.0.1:19876")
BROKER = Server("127.0.0.1:20911")
STUCK = "127.0.0.1@13529#2344775600420"


def reply(code: int, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the 4.9.3 answered."""
    for item in REPLIES:
        if item["code"] == code and {k: str(v) for k, v in item["ext"].items()} == dict(fields):
            body = base64.b64decode(item["body_b64"])
            binary = code == names.VIEW_MESSAGE_BY_ID or not body
            return {
                "code": item["header"]["code"],
                "remark": item["header"].get("remark"),
                "fields": item["header"].get("extFields") or {},
                "body": None if binary else fastjson.parse(body),
            }
    return None


def body(**table: Any) -> dict[str, Any]:
    return {"code": 0, "remark": None, "fields": {}, "body": table}


def fields(**values: Any) -> dict[str, Any]:
    return {"code": 0, "remark": None, "fields": {name: str(value) for name, value in values.items()}, "body": None}


def code(number: int, remark: str = "") -> dict[str, Any]:
    return {"code": number, "remark": remark, "fields": {}, "body": None}


def queue(topic: str, number: int, broker: str = "broker-a") -> str:
    return json.dumps({"brokerName": broker, "queueId": number, "topic": topic}, separators=(",", ":"))


class Scripted(Host):
    """A host whose answers are made by a function; what it returns as None was recorded, or is not supported."""

    started = "2026-11-22T21:53:54+00:00"

    def __init__(self, answers: Callable[[Call], Any] = lambda _: None) -> None:
        self.redactor = Redactor()
        self.asked: list[Any] = []
        self._answers = answers
        self._now = 0.0

    def ask(self, question: Any) -> Answer[Any]:
        answer = self.start(question)()
        if isinstance(answer, ProbeError):
            raise answer
        return answer

    def start(self, question: Any, within: float | None = None) -> Callable[[], Any]:
        self.asked.append(question)
        self._now += 0.001
        value = self._messages(question) if isinstance(question, Messages) else self._answer(question)
        answer = value if isinstance(value, ProbeError) else Answer(value, self._now, 0.0)
        return lambda: answer

    def sleep(self, seconds: float) -> None:
        self._now += seconds

    def now(self) -> float:
        return self._now

    def _answer(self, question: Call) -> Any:
        made = self._answers(question)
        if made is not None:
            return made
        found = reply(question.code, dict(question.fields))
        return found or code(3, f" request type {question.code} not supported")

    def _messages(self, question: Messages) -> Any:
        found = []
        for offset in question.offsets:
            items = [i for i in REPLIES if i["code"] == 33 and int(i["ext"]["offset"]) == offset]
            message = None
            if items:
                told = rocketmq_message.parse(base64.b64decode(items[0]["body_b64"]))
                message = {**told._asdict(), "body": (told.body or b"").decode(), "properties": dict(told.properties)}
            found.append({"offset": offset, "code": 0, "remark": None, "message": message})
        return found


def recorded(question: Call) -> Any:
    """What the recording lacks."""
    asked = dict(question.fields)
    found = None
    match question.code:
        case names.GET_ALL_SUBSCRIPTIONGROUP_CONFIG:
            found = reply(question.code, {})
            assert found is not None
            found["body"]["subscriptionGroupTable"]["never"] = {"consumeEnable": True}
        case names.GET_ALL_CONSUMER_OFFSET:
            found = body(offsetTable={"T1@g_stuck": dict.fromkeys("0123", 0), "%RETRY%g_stuck@g_stuck": {"0": 0}})
        case names.GET_TOPIC_STATS_INFO if asked["topic"] == names.SCHEDULE_TOPIC:
            found = body(offsetTable={queue(names.SCHEDULE_TOPIC, 2): {"minOffset": 0, "maxOffset": 6}})
        case names.QUERY_CONSUME_QUEUE if asked["topic"] == names.SCHEDULE_TOPIC and asked["index"] == "5":
            found = body(queueData=[{"physicOffset": 26697, "tagsCode": 1795384122703}])
        case names.QUERY_CONSUME_QUEUE if asked["topic"] == "%DLQ%g_dlq":
            found = reply(question.code, {**asked, "count": "10"})
        case names.QUERY_CONSUMER_OFFSET | names.GET_MIN_OFFSET | names.GET_MAX_OFFSET:
            found = fields(offset=0)
    return found


def watched(host: Host, window: float = 0.0, **wanted: Any) -> Watch:
    cluster = find(host, [NAME_SERVER])
    assert isinstance(cluster, Cluster)
    groups, topics = (frozenset(wanted.get(name, ())) for name in ("groups", "topics"))
    return watch(host, cluster, Wanted(groups, topics, wanted.get("peek", 0)), window, NAME_SERVER.address)


def rows(seen: Watch) -> dict[tuple[str, str, str], Backlog]:
    found = [item for item in rocketmq_report.items(Scripted(), seen, 0) if isinstance(item, Backlog)]
    return {(one.consumer, one.part, one.topic): one for one in found}


# ── the recorded cluster ─────────────────────────────────────────────────────────────────────────


def test_the_recorded_cluster_at_one_look() -> None:
    seen = watched(Scripted(recorded), peek=10)
    found = rows(seen)
    stuck = found["g_stuck", "main", "T1"]
    assert (stuck.depth, stuck.members, stuck.lost, stuck.ahead, stuck.never_consumed) == (100, 1, 0, 0, 0)
    assert stuck.oldest_age == pytest.approx(363.9, abs=0.2)
    assert (stuck.trend, stuck.consume_from, stuck.mode) == ("unknown", "earliest", "clustering")
    assert {part.owner for part in stuck.parts} == {STUCK}
    assert found["g_ord", "main", "TORD"].ordered is True
    assert found["g_ok", "main", "T1"].members == 0
    assert found["g_dlq", "main", "TDLQ"].depth == 0
    retry = found["g_dlq", "retry", "%RETRY%g_dlq"]
    assert (retry.depth, retry.in_backoff) == (18, 0)
    dead = found["g_dlq", "dead-letter", "%DLQ%g_dlq"]
    assert (dead.depth, dead.members) == (6, None)
    assert not [key for key in found if key[0] in ("never", "TOOLS_CONSUMER", "CID_ONSAPI_OWNER")]


def test_the_stuck_client_is_told_with_its_stack() -> None:
    seen = watched(Scripted(recorded))
    one = next(o.observed for o in seen.running["g_stuck"])
    assert (one.client, one.cached, one.threads, one.queues, one.ordered) == (STUCK, 100, 4, 5 - 1, False)
    assert one.agreement == Share(4, 4)
    assert isinstance(one.frames, tuple)
    assert one.frames[0] == Frame("java.lang.Thread.sleep", None, None, "runtime")
    assert one.frames[1] == Frame("P.lambda$main$1", "P.java", 7, "app")
    assert one.since == pytest.approx(24, abs=2)
    assert one.subscription == "T1 *"
    ordered = next(o.observed for o in seen.running["g_ord"])
    assert (ordered.ordered, ordered.unlocked, ordered.cached) == (True, 0, 40)


def test_dead_letters_are_peeked_and_put_together() -> None:
    seen = watched(Scripted(recorded), peek=10)
    (letter,) = rocketmq_report.dead_letters(seen.letters, STARTED)
    assert (letter.consumer, letter.origin, letter.retried, letter.count, letter.of) == ("g_dlq", "TDLQ", 3, 6, 6)
    assert set(letter.keys) < {f"K{n}" for n in range(6)}
    assert letter.example is not None
    assert letter.example.startswith("hello-")
    assert isinstance(letter.oldest_age, float)
    assert 280 < letter.oldest_age < 300


def test_the_broker_is_told_by_its_own_numbers() -> None:
    seen = watched(Scripted(recorded))
    (one,) = seen.health
    assert (one.name, one.role, one.version, one.disk_used) == ("broker-a", "master", "4.9.3", 0.28)
    assert (one.put_rate, one.dispatch_behind, one.send_wait, one.half_messages) == (0.0, 0, 0.0, 0)


def test_only_few_requests_are_made_and_none_that_changes_anything() -> None:
    host = Scripted(recorded)
    watched(host, 12, peek=10)
    codes = [question.code for question in host.asked if isinstance(question, Call)]
    assert not {10, 11, 12, 14, 15, 34, 36} & set(codes) - {14}
    assert codes.count(317) == 3
    assert codes.count(201) == codes.count(21) == 1
    assert codes.count(307) == 2
    assert len(host.asked) < 80


def test_two_looks_and_the_clients_of_those_who_stand_still() -> None:
    seen = watched(Scripted(recorded), 12)
    stuck = rows(seen)["g_stuck", "main", "T1"]
    assert (stuck.trend, stuck.in_rate, stuck.out_rate, stuck.stalled_parts) == ("stalled", 0.0, 0.0, 4)
    assert stuck.window == pytest.approx(12, abs=0.1)
    assert stuck.depth_before == 100


def test_named_groups() -> None:
    seen = watched(Scripted(recorded), groups=["g_ok", "gone"])
    assert {consumer for consumer, _, _ in rows(seen)} == {"g_ok"}
    assert [(one.subject, one.reason) for one in seen.unseen if "gone" in one.subject] == [
        ("consumer group 'gone'", "gone")
    ]
    with pytest.raises(Unreachable, match=r"no consumer group 'g_stuk' \(did you mean 'g_stuck'\?\)"):
        watched(Scripted(recorded), groups=["g_stuk"])


def test_a_group_that_never_was_used_is_told_when_it_is_named() -> None:
    one = rows(watched(Scripted(recorded), groups=["never"]))["never", "main", ""]
    assert (one.depth, one.members, one.queue_count) == (0, 0, 0)
    with_topic = rows(watched(Scripted(recorded), groups=["never"], topics=["T1"]))["never", "main", "T1"]
    assert (with_topic.depth, with_topic.never_consumed) == (100, 100)
    assert isinstance(with_topic.oldest_age, float)
    assert 300 < with_topic.oldest_age < 400  # and not 56 years


# ── who is there ─────────────────────────────────────────────────────────────────────────────────


def cluster_of(**brokers: dict[str, str]) -> dict[str, Any]:
    return body(
        brokerAddrTable={
            name: {"brokerAddrs": found, "brokerName": name, "cluster": "C1"} for name, found in brokers.items()
        }
    )


def test_masters_slaves_and_brokers_without_a_master() -> None:
    told = cluster_of(b={"2": "h:3", "1": "h:2"}, a={"0": "h:1", "1": "h:4"}, c={"x": "h:9"})
    found = find(Scripted(lambda _: told), [NAME_SERVER])
    assert isinstance(found, Cluster)
    assert [(one.name, one.server.address, one.is_master, one.slaves) for one in found.brokers] == [
        ("a", "h:1", True, ("h:4",)),
        ("b", "h:2", False, ("h:3",)),
    ]
    assert found.clusters == {"a", "b", "C1"}


def test_one_name_server_of_two_is_down() -> None:
    def answers(question: Call) -> Any:
        return Unreachable("refused") if question.server.address == "x:1" else None

    found = find(Scripted(answers), [Server("x:1"), NAME_SERVER])
    assert isinstance(found, Cluster)
    assert [one.name for one in found.brokers] == ["broker-a"]
    assert [one.subject for one in found.unseen] == ["name server x:1"]


def test_what_is_no_name_server() -> None:
    with pytest.raises(Unsupported, match="is a broker, not a name server"):
        find(Scripted(lambda _: code(3, "request type not supported")), [NAME_SERVER])
    found = find(Scripted(lambda q: code(3) if q.code == 106 else code(17, "no route")), [NAME_SERVER])
    assert found == Proxy(NAME_SERVER)
    with pytest.raises(Unreachable, match="no broker is registered"):
        find(Scripted(lambda _: body(brokerAddrTable={})), [NAME_SERVER])
    with pytest.raises(TimedOut):
        find(Scripted(lambda _: TimedOut("late")), [NAME_SERVER])


def test_who_is_late_is_not_asked_again() -> None:
    host = Scripted(lambda q: TimedOut("late") if q.server == BROKER else code(0))
    questions = [Call(server, n) for n in range(100) for server in (BROKER, NAME_SERVER)]
    answers = list(ask_all(host, questions))
    assert [question for question, _ in answers] == questions
    assert sum(q.server == BROKER for q in host.asked) <= 16
    assert sum(isinstance(answer, TimedOut) for _, answer in answers) == 100
    late = Scripted(lambda _: code(0))
    late.sleep(AT_MOST)
    assert all(isinstance(answer, TimedOut) for _, answer in ask_all(late, questions, ends=1.0))
    assert late.asked == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("25", 25), (25, 25), (2.9, 2), ("-1", -1), ("x", 0), (None, 0), (True, 0), ("9" * 30, 0), ([], 0)],
)
def test_numbers(text: Any, value: int) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.28", 0.28), ("3.99  ", 3.99), ("1.8 0.0 0.0", 1.8), ("-1", None), ("null", None), (None, None), (2, 2.0)],
)
def test_decimals(text: Any, value: float | None) -> None:
    assert decimal(text) == value


def test_clocks_that_differ() -> None:
    runtime = {"bootTimestamp": "1795384401197", "runtime": "[ 0 days, 0 hours, 0 minutes, 32 seconds ]"}
    assert clock_difference(runtime, 1795384434.0) == 0
    assert clock_difference(runtime, 1795384334.0) == pytest.approx(99.7, abs=0.1)
    assert clock_difference({}, 1795384334.0) == 0


def test_what_is_rocketmqs_own() -> None:
    assert is_own_topic("broker-a", {"broker-a", "C1"})
    assert is_own_topic("rmq_sys_wheel_timer")
    assert is_own_topic("C1_REPLY_TOPIC")
    assert not is_own_topic("orders")
    assert is_own_group("CID_RMQ_SYS_TRANS")
    assert not is_own_group("CID_orders")
    assert addresses(["a:1;b:2", " a:1 ", ";"]) == ["a:1", "b:2"]


# ── offsets ──────────────────────────────────────────────────────────────────────────────────────


def first_look(host: Host) -> rocketmq_offsets.First:
    cluster = find(host, [NAME_SERVER])
    assert isinstance(cluster, Cluster)
    return rocketmq_offsets.look(host, cluster)


def test_where_not_all_groups_may_be_asked_for_at_once_each_is_asked_for() -> None:
    host = Scripted(lambda q: Denied("no right to it") if q.code == 317 else recorded(q))
    first = first_look(host)
    sweep, unseen = rocketmq_offsets.sweep(host, first, {"g_stuck", "g_ok"}, again=False)
    assert set(sweep.places) == {
        Key("g_ok", "T1"),
        Key("g_stuck", "T1"),
        Key("g_stuck", "%RETRY%g_stuck"),
    }
    assert sweep.places[Key("g_stuck", "T1")]["broker-a", 2] == Place(25, 0)
    assert not unseen
    again, _ = rocketmq_offsets.sweep(host, first, {"g_stuck", "g_ok"})
    assert again.places == sweep.places


def test_where_everything_is_denied_so_is_the_probe() -> None:
    with pytest.raises(Denied, match="signature"):
        first_look(Scripted(lambda q: Denied("check signature failed") if q.server == BROKER else None))


def test_one_broker_of_two_is_lost_and_said_to_be() -> None:
    def answers(question: Call) -> Any:
        if question.code == 106:
            return cluster_of(**{"broker-a": {"0": BROKER.address}, "broker-b": {"0": "h:2"}})
        return TimedOut("no answer") if question.server.address == "h:2" else recorded(question)

    seen = watched(Scripted(answers))
    assert rows(seen)["g_stuck", "main", "T1"].depth == 100
    assert [(one.name, one.reachable) for one in seen.health] == [("broker-a", True), ("broker-b", False)]
    assert [one.subject for one in seen.unseen if one.reason == "timeout"] == ["broker broker-b"]


def test_a_broker_whose_offsets_come_no_more_is_unseen() -> None:
    host = Scripted(recorded)
    first = first_look(host)
    broken = Scripted(lambda q: TimedOut("late") if q.code == 317 else recorded(q))
    sweep, unseen = rocketmq_offsets.sweep(broken, first)
    assert not sweep.places
    assert [one.subject for one in unseen] == ["offsets of broker-a"]


def test_extras_are_asked_for_by_topic() -> None:
    host = Scripted(recorded)
    first = first_look(host)
    sweep, _ = rocketmq_offsets.sweep_extras(host, first, [Extra("broker-a", Key("never", "T1"))])
    assert sum(place.end for place in sweep.places[Key("never", "T1")].values()) == 100


# ── what offsets do not tell ─────────────────────────────────────────────────────────────────────


def test_queues_with_what_expired_what_is_ahead_and_what_was_never_committed() -> None:
    key = Key("g", "t")
    places = {("a", 0): Place(100, 10), ("a", 1): Place(100, 130), ("a", 2): Place(100, 0), ("a", 3): Place(100, 0)}
    kept = {("a", "t", queue): Range(40, 100) for queue in range(4)}
    facts = Facts(kept, {"a": {key: {0: 10, 1: 130, 2: 0}}}, {}, {})
    zero, one, two, three = rocketmq_facts.positions(key, places, facts, {}, {})
    assert (zero.depth, zero.lost) == (60, 30)
    assert (one.depth, one.ahead) == (0, 30)
    assert (two.depth, two.lost, two.committed) == (60, 40, 0)
    assert (three.depth, three.lost, three.committed) == (60, 0, None)
    began = {names.Queue("a", "t", 3): 90}
    assert rocketmq_facts.positions(key, places, facts, began, {})[3].depth == 10
    unknown = facts._replace(commits={"a": Denied("no")})
    assert rocketmq_facts.positions(key, places, unknown, {}, {})[3].committed == 0


@pytest.mark.parametrize(
    ("first", "delay", "age"),
    [
        (1_000_000, 5_000, 5.0),
        (1_000_000, 1_795_384_098_591, 1000.0),  # nothing was committed: 56 years
        (1_000_000, 0, 1000.0),
        (0, 7_000, 7.0),
    ],
)
def test_how_old_the_oldest_is(first: int, delay: int, age: float) -> None:
    now_ms = int(STARTED * 1000)
    row = {
        "messageQueue": {"queueId": 0},
        "delayTime": delay,
        "minTimeStamp": now_ms - first if first else -1,
    }
    answer = Answer(body(consumeTimeSpanSet=[row, {"messageQueue": {"queueId": 1}, "delayTime": 9e9}]), 0.0, 0.0)
    assert rocketmq_facts._oldest(answer, {0}, STARTED) == pytest.approx(age)


def test_an_oldest_message_that_cannot_be_read_is_of_unknown_age() -> None:
    row = {"messageQueue": {"queueId": 0}, "delayTime": 1795384098591, "minTimeStamp": -1}
    answer = Answer(body(consumeTimeSpanSet=[row]), 0.0, 0.0)
    assert isinstance(rocketmq_facts._oldest(answer, {0}, STARTED), Unknown)


# ── retries ──────────────────────────────────────────────────────────────────────────────────────


def backoff(total: int, waiting: int, groups: list[str]) -> Scripted:
    """A level of delay with so many entries, of which the last are not due; their messages go to the groups in turn."""

    class Delayed(Scripted):
        def _messages(self, question: Messages) -> Any:
            return [
                {"offset": n, "message": {"properties": {"REAL_TOPIC": f"%RETRY%{groups[n % len(groups)]}"}}}
                for n in question.offsets
            ]

    def answers(question: Call) -> Any:
        asked = dict(question.fields)
        if question.code == 202 and asked["topic"] == names.SCHEDULE_TOPIC:
            return body(offsetTable={queue(names.SCHEDULE_TOPIC, 4): {"minOffset": 0, "maxOffset": total}})
        if question.code == names.QUERY_CONSUME_QUEUE:
            start, count = int(asked["index"]), int(asked["count"])
            due = [STARTED + (100 if n >= total - waiting else -100) for n in range(start, min(total, start + count))]
            return body(
                queueData=[{"physicOffset": start + at, "tagsCode": int(when * 1000)} for at, when in enumerate(due)]
            )
        return recorded(question)

    return Delayed(answers)


@pytest.mark.parametrize("waiting", [0, 1, 5, 64])
def test_what_waits_for_its_next_delivery_is_counted_by_its_messages(waiting: int) -> None:
    host = backoff(5000, waiting, ["g"])
    told, unseen = rocketmq_retries.in_backoff(host, first_look(host), 60.0)
    assert told.of("%RETRY%g") == waiting
    assert told.of("%RETRY%other") == 0
    assert not unseen
    assert len(host.asked) < 60


def test_of_much_that_waits_a_sample_is_read_and_that_is_said() -> None:
    host = backoff(50_000, 8000, ["a", "b", "b", "b"])
    told, unseen = rocketmq_retries.in_backoff(host, first_look(host), 60.0)
    assert told.of("%RETRY%a") == 2000
    assert told.of("%RETRY%b") == 6000
    assert [one.subject for one in unseen] == ["what waits at level 5 of broker-a"]
    assert "64 of 8,000" in unseen[0].detail


def test_a_level_that_cannot_be_read_is_unknown() -> None:
    host = backoff(50, 8, ["a"])
    first = first_look(host)
    deaf = Scripted(lambda q: TimedOut("late") if q.code == names.QUERY_CONSUME_QUEUE else host._answers(q))
    told, unseen = rocketmq_retries.in_backoff(deaf, first, 60.0)
    assert told.of("%RETRY%a") == Unknown("late")
    assert unseen


# ── members ──────────────────────────────────────────────────────────────────────────────────────


def connections(*clients: str, model: str = "CLUSTERING", tags: str = "*") -> dict[str, Any]:
    listed = [{"clientId": name, "clientAddr": "h:1", "language": "JAVA", "version": 399} for name in clients]
    return body(
        connectionSet=listed,
        messageModel=model,
        consumeFromWhere="CONSUME_FROM_LAST_OFFSET",
        subscriptionTable={"t": {"subString": tags}},
    )


def test_members_of_several_brokers_are_one_group() -> None:
    first = first_look(Scripted(recorded))
    broker = first.settings[0].broker
    other = broker._replace(name="b", server=Server("h:2"))

    def answers(question: Call) -> Any:
        return connections("x", "y", "y", tags="A") if question.server == other.server else connections("x")

    groups, lost = members(Scripted(answers), {"g": [broker, other]}, 60.0)
    assert [(one.name, one.connections) for one in groups["g"].clients] == [("x", 1), ("y", 2)]
    assert (groups["g"].mode, groups["g"].consume_from) == ("clustering", "latest")
    assert not lost


def test_offline_is_nobody_and_no_answer_is_unknown() -> None:
    broker = first_look(Scripted(recorded)).settings[0].broker
    groups, lost = members(Scripted(recorded), {"g_ok": [broker]}, 60.0)
    assert groups["g_ok"].clients == ()
    groups, lost = members(Scripted(lambda _: TimedOut("late")), {"g": [broker]}, 60.0)
    assert not groups
    assert lost["g"].detail == "late"


def info(topic: str = "t", tags: str = "*", **queue_row: Any) -> dict[str, Any]:
    return body(
        mqTable={queue(topic, 0): {"cachedMsgCount": 0, "droped": False, **queue_row}, queue("t", 1): {"droped": True}},
        properties={"PROP_CONSUMEORDERLY": "false"},
        statusTable={"t": {"consumeOKTPS": 1.5, "consumeFailedTPS": 0.5, "consumeRT": 40.0}},
        subscriptionSet=[{"topic": topic, "subString": tags}, {"topic": "%RETRY%g", "subString": "*"}],
        jstack="",
    )


def asked_clients(answers: Callable[[Call], Any], *clients: str) -> Any:
    broker = first_look(Scripted(recorded)).settings[0].broker
    group = Group(tuple(Client(name, "h:1", "JAVA", "4.9.3", 1, broker) for name in clients), "clustering")
    return running(Scripted(answers), {"g": group}, {}, STARTED, "n:1")


def test_what_a_client_tells_of_itself() -> None:
    long_ago, now = int((STARTED - 90) * 1000), int(STARTED * 1000)
    told = info(cachedMsgCount=7, lastConsumeTimestamp=long_ago, lastPullTimestamp=now, cachedMsgMinOffset=5)
    found, unseen = asked_clients(lambda _: told, "x")
    (one,) = found["g"]
    assert (one.observed.state, one.observed.cached, one.observed.queues) == ("stuck", 7, 1)
    assert (one.observed.since, one.observed.last_pull) == (90.0, 0.0)
    assert (one.observed.ok_rate, one.observed.failed_rate, one.observed.consume_seconds) == (1.5, 0.5, 0.04)
    assert one.starts == {names.Queue("broker-a", "t", 0): 5}
    assert not unseen


def test_clients_that_do_not_subscribe_to_the_same() -> None:
    found, _ = asked_clients(lambda q: info(tags="B" if dict(q.fields)["clientId"] == "z" else "A"), "x", "y", "z")
    assert [one.observed.mismatch for one in found["g"]] == [None, None, "subscribes to t B"]


def test_a_client_that_does_not_answer_is_unknown_and_no_more_than_ten_are_asked() -> None:
    found, unseen = asked_clients(lambda _: TimedOut("late"), *[f"c{n:02}" for n in range(12)])
    assert {one.observed.state for one in found["g"]} == {"unknown"}
    assert len(found["g"]) == 10
    assert unseen[-1].detail.startswith("2 of 12 clients were not asked")


@pytest.mark.parametrize(
    "text", ["", "\n\n\n", "x", "a TID: 1 STATE: NEW", "\n\na  TID: 1 STATE: RUNNABLE\na  b.c(D.java:1)"]
)
def test_dumps_of_clients_that_are_short(text: str) -> None:
    for stack in rocketmq_stacks.parse(text):
        assert stack.name == "a"


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────


def one_backlog(name: str, depth: Any, trend: Any = "unknown", age: Any = None, **more: Any) -> Backlog:
    return Backlog(subject=name, consumer=name, depth=depth, trend=trend, oldest_age=age, **more)


def test_worst_first_and_not_too_many() -> None:
    listed = rocketmq_rows.worst_first(
        [
            one_backlog("well", 0, "drained"),
            one_backlog("drains", 9, "draining", 9.0),
            one_backlog("young", 9, "stalled", 3.0),
            one_backlog("old", 1, "stalled", 30.0),
            one_backlog("ahead", 0, "drained", ahead=3),
            one_backlog("grows", 1, "growing", 1.0),
        ]
    )
    assert [one.subject for one in listed] == ["old", "young", "grows", "drains", "ahead", "well"]
    many = [one_backlog(f"b{n}", 1) for n in range(300)] + [one_backlog(f"w{n}", 0, "drained") for n in range(9)]
    assert len(list(rocketmq_report.shown(many, 5))) == 205
    assert len(list(rocketmq_report.shown(many, 0))) == 309
    assert len(list(rocketmq_report.shown(many, 5, frozenset({"w8"})))) == 206


def test_dead_letters_grow_by_the_ends_of_their_queues() -> None:
    before = {("a", "%DLQ%g", 0): Range(0, 6)}
    one = rocketmq_rows.dead("%DLQ%g", {("a", "%DLQ%g", 0): Range(2, 18)}, before, 12.0, 3)
    assert (one.depth, one.in_rate, one.trend, one.recent, one.depth_before) == (16, 1.0, "growing", 3, 4)
    still = rocketmq_rows.dead("%DLQ%g", before, {}, None, None)
    assert (still.depth, still.trend) == (6, "unknown")
    assert isinstance(still.in_rate, Unknown)


def test_slaves_are_asked_how_far_they_are() -> None:
    def answers(question: Call) -> Any:
        if question.code == 106:
            return cluster_of(**{"broker-a": {"0": BROKER.address, "1": "h:2", "2": "h:3"}})
        if question.server.address == "h:2":
            return body(table={"commitLogMaxOffset": "39000"})
        return Unreachable("refused") if question.server.address == "h:3" else recorded(question)

    host = Scripted(answers)
    master, slave = health(host, first_look(host), 60.0)
    assert (master.slaves, master.slaves_in_sync, master.slave_behind) == (2, 1, 720)
    assert (slave.role, slave.reachable, slave.address) == ("slave", False, "h:3")


# ── credentials ──────────────────────────────────────────────────────────────────────────────────


def test_credentials_are_read_from_where_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("hunter2\nmore\n")
    (tmp_path / "tools.yml").write_text("accessKey: a\nsecretKey: b\n")
    monkeypatch.setenv("WHERE", "hunter3")
    assert Account("u", password_file=tmp_path / "secret").credentials().secret_key == "hunter2"
    assert Account("u", "WHERE").credentials()[:2] == ("u", "hunter3")
    assert Account(config=tmp_path / "tools.yml").credentials()[:2] == ("a", "b")


def test_credentials_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    for account in (
        Account("u", "NO_SUCH_VARIABLE"),
        Account("u", password_file=tmp_path / "none"),
        Account("u", password_file=tmp_path / "empty"),
        Account(config=tmp_path),
        Account(config=tmp_path / "empty"),
    ):
        with pytest.raises(UsageError):
            account.credentials()
    for account in (
        Account("u"),
        Account(None, "X"),
        Account("u", "X", tmp_path / "y"),
        Account("u", "X", None, tmp_path),
    ):
        with pytest.raises(UsageError):
            account.check()
    Account().check()
