"""Clients of a message queue: each way to stand still is told apart, and none is blamed for working."""

from __future__ import annotations

import pytest

from opsdoc.model import Frame, Severity, Share, Unknown
from opsdoc.signals.alike import MOST
from opsdoc.signals.backlog import Backlog
from opsdoc.signals.consumer_facts import all_halted, by_hand, waits_for, where
from opsdoc.signals.consumers import Consumer, Limits, judge, state_of

OK, WARNING, UNKNOWN, CRITICAL = Severity.OK, Severity.WARNING, Severity.UNKNOWN, Severity.CRITICAL
RESERVE = Frame("com.acme.StockClient.reserve", "StockClient.java", 40)


def top(function):
    return (Frame(function, None, None, "runtime"), RESERVE)


def client(name="10.2.0.8@77", group="orders", **more):
    given = {
        "id": f"c-{name}",
        "subject": f"{group} client {name}",
        "consumer": group,
        "client": name,
        "state": "consuming",
        "cached": 12,
        "since": 0.2,
        "ok_rate": 25.0,
        "failed_rate": 0.0,
        "consume_seconds": 0.2,
        "threads": 20,
        "queues": 4,
        "by_hand": ("jstack -l 77",),
        **more,
    }
    return Consumer(**given)


def stuck(name="10.2.0.8@77", **more):
    given = {
        "state": "stuck",
        "cached": 25,
        "since": 90.0,
        "frames": top("java.lang.Thread.sleep"),
        "agreement": Share(4, 4),
        **more,
    }
    return client(name, **given)


def backlog(group="orders", **more):
    given = {
        "id": f"b-{group}",
        "subject": f"{group} · topic",
        "consumer": group,
        "topic": "topic",
        "depth": 5000,
        "trend": "growing",
        "in_rate": 200.0,
        "out_rate": 100.0,
        "oldest_age": 90.0,
        "members": 1,
        "window": 12.0,
        **more,
    }
    return Backlog(**given)


def findings(*observations):
    return list(judge(observations, [], Limits()))


def only(*observations):
    (found,) = [one for one in findings(*observations) if one.severity is not OK]
    return found


# ── what a client does ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"cached": 25, "since": 60.0}, "stuck"),
        ({"cached": 25, "since": 59.0}, "consuming"),
        ({"cached": 9, "since": 61.0, "ordered": True}, "blocked"),  # locked, and inside its listener
        ({"cached": 0, "since": 61.0, "ordered": True, "unlocked": 2}, "blocked"),
        ({"cached": 0, "since": 3.0, "ordered": True, "unlocked": 2}, "consuming"),
        ({"cached": 0, "since": 3600.0, "last_pull": 2.0}, "idle"),  # nothing comes in
        ({"cached": 0, "since": 3600.0, "last_pull": 121.0}, "not pulling"),
        ({"cached": 1000, "since": 1.0, "last_pull": 121.0}, "consuming"),  # full, so it does not fetch
        ({"cached": Unknown("no answer"), "since": 1.0}, "unknown"),
        ({"cached": 25, "since": None}, "unknown"),
        ({"cached": 25, "since": 3600.0, "queues": 0}, "idle"),
    ],
)
def test_the_state_of_a_client(told, expected):
    assert state_of(**{"queues": 4, **told}) == expected


def test_all_clients_stand_still_only_if_each_with_a_queue_does():
    assert not all_halted([])
    assert not all_halted([client(queues=0, state="idle")])
    assert all_halted([stuck(), client("idle", queues=0, state="idle")])
    assert not all_halted([stuck(), client("b")])
    assert not all_halted([stuck(), client("b", state="unknown")])
    assert not all_halted([stuck()], members=2)  # the other was not asked


def test_where_its_threads_are():
    assert where(stuck()) == (
        "4 of 4 consume threads in com.acme.StockClient.reserve (StockClient.java:40) ← Thread.sleep"
    )
    assert where(stuck(frames=(RESERVE,), agreement=None)) == f"its consume threads in {RESERVE}"
    assert where(stuck(frames=None)) == where(stuck(frames=())) == where(stuck(frames=Unknown("no dump"))) == ""


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        ("java.net.SocketInputStream.socketRead0", "give that call a timeout"),
        ("sun.nio.ch.SocketDispatcher.read0", "give that call a timeout"),
        ("java.lang.Thread.sleep", "sleeps"),
        ("sun.nio.ch.Net.connect0", "waits for a connection"),
        ("jdk.internal.misc.Unsafe.park", "waits for a lock, a pool or a result"),
        ("java.lang.Object.wait", "waits for a lock, a pool or a result"),
        ("java.util.HashMap.get", "it does not return"),
    ],
)
def test_what_to_do_about_the_code(function, advice):
    said = waits_for(stuck(frames=top(function)))
    assert advice in said
    assert str(RESERVE) in said


def test_how_to_see_code_that_was_not_seen():
    assert "thread dump of 10.2.0.8@77" in waits_for(stuck(frames=Unknown("timed out")))
    assert by_hand(client(by_hand=())) == ("jstack -l PID",)
    assert by_hand(client(by_hand=(), language="PYTHON")) == ("py-spy dump --nonblocking --pid PID",)
    assert by_hand(client()) == ("jstack -l 77",)


# ── judged ───────────────────────────────────────────────────────────────────────────────────────


def test_clients_that_work_are_ruled_out():
    (found,) = findings(client(), client("b", state="unknown"), backlog(oldest_age=1.0))
    assert (found.rule, found.severity) == ("consumer.fine", OK)
    assert found.summary == "2 clients asked, 1 without an answer: none has stood still for a minute"
    assert findings() == []
    assert findings(backlog()) == []


def test_a_stuck_client_among_others_is_named():
    found = only(stuck(), client("b"), backlog(oldest_age=1.0, trend="steady"))
    assert (found.rule, found.key, found.severity) == ("consumer.stuck", "consumer.stuck:orders", WARNING)
    assert found.summary == (
        "10.2.0.8@77 of orders has consumed nothing for 90 s though it has 25 messages at hand: 4 of 4 consume threads "
        "in com.acme.StockClient.reserve (StockClient.java:40) ← Thread.sleep"
    )
    assert (found.threshold.name, found.by_hand) == ("consumers.since", ("jstack -l 77",))
    assert only(stuck(since=300.0)).severity is CRITICAL
    two = only(stuck(), stuck("c", since=100.0), client("b"))
    assert two.summary.endswith("1 more of its clients too")
    assert two.evidence == ("c-10.2.0.8@77", "c-c")
    assert "24 wait behind one, in order: 4 of 4" in only(stuck(state="blocked", ordered=True), client("b")).summary


@pytest.mark.parametrize(
    "more", [{"trend": "stalled", "out_rate": 0.0}, {"stalled_parts": 1}, {"trend": "unknown", "out_rate": None}]
)
def test_what_the_backlog_says_already_is_not_said_twice(more):
    """A group whose clients all stand still is stalled, also where there was but one look."""
    assert "consumer.stuck" not in {one.rule for one in findings(stuck(), backlog(**more))}
    assert "consumer.not-pulling" not in {
        one.rule for one in findings(client(state="not pulling", last_pull=500.0), backlog(**more))
    }


def test_a_client_of_a_broadcast_group_can_tell_alone():
    assert only(stuck(), backlog(mode="broadcast")).rule == "consumer.stuck"


def test_fetching_nothing_matters_while_something_waits():
    lame = client(state="not pulling", cached=0, since=900.0, last_pull=500.0)
    found = only(lame, client("b"), backlog(trend="steady", oldest_age=5.0))
    assert (found.rule, found.severity) == ("consumer.not-pulling", WARNING)
    assert "has 4 queues and has fetched nothing for 8 min; 5,000 waiting" in found.summary
    assert [one.rule for one in findings(lame, backlog(depth=0))] == ["consumer.fine"]
    assert only(lame).rule == "consumer.not-pulling"  # nobody knows whether anything waits


def test_silent_clients_are_a_blind_spot_where_no_backlog_tells():
    silent = client(state="unknown", cached=Unknown("timed out"), since=Unknown("timed out"))
    found = only(silent, backlog(depth=Unknown("denied")))
    assert (found.rule, found.severity) == ("consumer.unknown", UNKNOWN)
    assert found.summary == "whether 1 client of orders consumes is unknown: timed out"
    assert found.evidence == ("c-10.2.0.8@77",)
    assert only(silent, backlog(mode="broadcast")).rule == "consumer.unknown"
    assert [one.rule for one in findings(silent, backlog(depth=0))] == ["consumer.fine"]


def test_slow_is_not_stuck():
    slow = [client(consume_seconds=0.8, threads=40), client("b", consume_seconds=0.8, threads=40)]
    found = only(*slow, backlog())
    assert (found.rule, found.severity) == ("consumer.slow", WARNING)
    assert found.summary == (
        "orders is slow, not stuck: a message takes 800 ms on 80 threads, so 100/s at most are consumed, and 200/s "
        "come in; 5,000 waiting, oldest 90 s"
    )
    assert found.confidence == "its threads are busy 100 % of the time"
    assert found.evidence == ("b-orders", "c-10.2.0.8@77", "c-b")


@pytest.mark.parametrize(
    ("more", "of_backlog"),
    [
        ({"consume_seconds": 0.01}, {}),  # its threads idle: something else holds it up
        ({"consume_seconds": 0.8}, {"trend": "steady", "oldest_age": 2.0}),  # it keeps up, at its limit
        ({"consume_seconds": 0.8}, {"trend": "draining"}),
        ({"consume_seconds": Unknown("not told")}, {}),
        ({"consume_seconds": 0.8, "threads": None}, {}),
        ({"consume_seconds": 0.8}, {"out_rate": Unknown("one look")}),
    ],
)
def test_slow_is_not_guessed(more, of_backlog):
    assert "consumer.slow" not in {one.rule for one in findings(client(**more), backlog(**of_backlog))}


def test_failing_clients():
    found = only(client(failed_rate=25.0), client("b"))
    assert (found.rule, found.severity) == ("consumer.failing", WARNING)
    assert "orders fails 33 % of its messages, 25/s of 75/s, most of them on 10.2.0.8@77" in found.summary
    assert only(client(failed_rate=50.0)).severity is CRITICAL
    assert findings(client(failed_rate=0.1, ok_rate=Unknown("x")))[0].rule == "consumer.failing"
    assert findings(client(failed_rate=1.0))[0].rule == "consumer.fine"


def test_groups_that_are_set_up_wrongly():
    twice = only(client(connections=3))
    assert (twice.rule, twice.severity) == ("consumer.duplicate-id", WARNING)
    assert twice.summary.startswith("3 processes call themselves 10.2.0.8@77 in orders")
    other = only(
        client(subscription="topic: TagA"), client("b", subscription="topic: TagB", mismatch="topic: TagB, not TagA")
    )
    assert (other.rule, other.severity) == ("consumer.mismatch", WARNING)
    assert "b (topic: TagB, not TagA)" in other.summary
    assert other.confidence == "2 subscriptions among 2 clients"


def test_many_groups_are_few_findings_the_worst_first():
    found = findings(*(stuck(f"c{i}", group=f"g{i}", since=301.0 + i) for i in range(200)))
    assert len(found) == MOST + 1
    assert found[0].subject == "clients of g199"
    for one in found:
        assert (one.severity, one.next_step != "", one.by_hand != ()) == (CRITICAL, True, True)
