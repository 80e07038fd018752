"""Backlogs: no number is guessed, each way to fall behind is named, and hundreds of groups are few findings."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from opsdoc.model import Frame, Severity, Share, Unknown
from opsdoc.signals import backlog_cause
from opsdoc.signals.alike import MOST
from opsdoc.signals.backlog import Backlog, DeadLetter, DrainTime, Limits, Part, judge
from opsdoc.signals.backlog_facts import STALLED
from opsdoc.signals.backlog_standing import standing, uneven
from opsdoc.signals.backlog_trend import Look, Position, drain, flow, never_consumed, parts, rate, trend
from opsdoc.signals.backlog_words import drains, per_second
from opsdoc.signals.consumers import Consumer
from opsdoc.verdict import ranked

SIGNALS = Path(backlog_cause.__file__).parent
OK, WARNING, UNKNOWN, CRITICAL = Severity.OK, Severity.WARNING, Severity.UNKNOWN, Severity.CRITICAL


# ── measured: positions ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("position", "depth", "lost", "ahead"),
    [
        (Position("q", 0, 25, 5), 20, 0, 0),
        (Position("q", 0, 25, 25), 0, 0, 0),
        (Position("q", 40, 100, 10), 60, 30, 0),  # 30 expired unread: they are gone and do not wait
        (Position("q", 40, 100, 130), 0, 0, 30),  # beyond the end: never negative
        (Position("q", 40, 100, None), 60, 0, 0),  # never committed: what is kept, and nothing is lost
        (Position("q", 100, 100, 3), 0, 97, 0),
    ],
)
def test_what_waits_of_a_queue(position, depth, lost, ahead):
    assert (position.depth, position.lost, position.ahead) == (depth, lost, ahead)


def test_differences_of_queues_are_summed_without_those_that_would_be_negative():
    queues = [Position("q0", 0, 100, 60), Position("q1", 0, 100, 5000)]
    assert sum(queue.depth for queue in queues) == 40
    assert flow([Look(0.0, queues)]).trend == "unknown"


# ── measured: the trend ──────────────────────────────────────────────────────────────────────────


def looks(*ends_and_commits, step=12.0, low=0):
    """Looks at one queue: (end, committed) of each."""
    return [Look(i * step, [Position("q0", low, end, done)]) for i, (end, done) in enumerate(ends_and_commits)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((1000, 1000), (2200, 2200), "drained"),
        ((1000, 0), (1000, 0), "stalled"),
        ((1000, 500), (1480, 500), "stalled"),
        ((1000, 1000), (1480, 1000), "growing"),  # nothing waited at the first look, so nothing stood still
        ((1000, 0), (2200, 300), "growing"),
        ((1000, 0), (1010, 600), "draining"),
        ((1000, 0), (2200, 1200), "steady"),
        ((1000, 0), (2200, 1180), "steady"),  # 1.7/s, but less than 5 % of the input
        ((100, 90), (106, 91), "steady"),  # 0.4/s: less than 1/s
    ],
)
def test_the_trend_of_exact_counts(before, after, expected):
    assert flow(looks(before, after)).trend == expected


def test_rates_are_of_the_window():
    found = flow(looks((1000, 0), (2200, 300)))
    assert (found.in_rate, found.out_rate, found.drain) == (100.0, 25.0, None)


def test_commits_in_steps_make_bounds_and_several_clients_narrower_ones():
    assert rate(600, 12.0, 5.0) == (50.0, 600 / 17, 600 / 7)
    alone, four = rate(600, 12.0, 5.0, 1), rate(600, 12.0, 5.0, 4)
    assert alone.low < four.low < 50.0 < four.high < alone.high


def test_a_commit_just_before_and_one_just_missed_is_no_growth():
    """A consumer that keeps up at 100/s and commits every 5 s: seen right after a commit, then right before one."""
    seen = looks((1000, 1000), (2200, 1700))  # 7 s were committed of 12
    assert flow(seen).trend == "growing"
    assert flow(seen, commit_interval=5.0).trend == "steady"


def test_a_drain_within_the_noise_of_commits_is_not_forecast():
    seen = looks((10_000, 0), (11_200, 1500))  # in 100/s, out 125/s by 1 client
    assert flow(seen).trend == "draining"
    noisy = flow(seen, commit_interval=5.0)
    assert (noisy.trend, noisy.drain) == ("steady", None)
    assert flow(seen, commit_interval=5.0, clients=25).trend == "draining"


@pytest.mark.parametrize("phase", [0.0, 1.3, 2.6, 4.9])
@pytest.mark.parametrize("window", [10.0, 12.0, 30.0])
@pytest.mark.parametrize("speed", [30, 200])
def test_the_forecast_holds_the_real_time(phase, window, speed):
    """A client that consumes at an even speed and commits every 5 s, looked at in any phase of that."""

    def look(at):
        return Look(at, [Position("q0", 0, 20_000, int(speed * ((at + phase) // 5 * 5)))])

    found = flow([look(20.0), look(20.0 + window)], commit_interval=5.0)
    assert found.trend == "draining"
    real = look(20.0 + window).queues[0].depth / speed
    assert found.drain.low <= real <= found.drain.high
    assert found.drain.high <= real * window / (window - 5) * (window + 5) / (window - 5) + 1


def test_exact_counts_make_an_exact_forecast():
    assert flow(looks((1000, 0), (1000, 600))).drain == DrainTime(8.0, 8.0)


def test_the_halves_of_the_window_widen_the_forecast():
    seen = looks((1000, 0), (1000, 100), (1000, 400), step=6.0)
    assert flow(seen).drain == DrainTime(600 / 50, 600 / (100 / 6))
    coarse = flow(seen, commit_interval=5.0)  # a half has no room for two commits
    assert coarse.drain == flow([seen[0], seen[2]], commit_interval=5.0).drain


def test_halves_that_disagree_give_no_forecast():
    seen = looks((1000, 0), (2000, 100), (2000, 1900), step=6.0)
    found = flow(seen)
    assert found.trend == "draining"
    assert isinstance(found.drain, Unknown)
    assert isinstance(drain(10, [(rate(6, 6.0), rate(6, 6.0))]), Unknown)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ([], "looked at once"),
        (looks((10, 0)), "looked at once"),
        (looks((10, 0), (10, 0), step=0.0), "looked at once"),
        (looks((10, 0), (10, 0), step=9.0), "no room for 2 commits"),
        ([Look(0.0, [Position("a", 0, 1, 0)]), Look(12.0, [Position("b", 0, 1, 0)])], "no queue"),
        (looks((10, None), (10, 4)), "no queue"),  # where did it begin?
        (looks((100, 50), (100, 20)), "set back by 30"),
        (looks((100, 50), (40, 50)), "the end of a queue went back"),
    ],
)
def test_what_cannot_be_told_is_unknown_with_its_reason(seen, reason):
    found = flow(seen, commit_interval=5.0)
    assert isinstance(found.out_rate, Unknown)
    assert isinstance(found.in_rate, Unknown)
    assert reason in found.out_rate.reason
    assert found.trend == ("unknown" if seen and sum(q.depth for q in seen[-1].queues) else "drained")
    assert found.drain is None
    assert found.rewound == (30 if "set back" in reason else 0)


def test_what_expires_is_not_consumed():
    before, after = Position("q", 0, 1000, 0), Position("q", 600, 1000, 0)
    found = flow([Look(0.0, [before]), Look(12.0, [after])])
    assert (found.trend, found.out_rate) == ("stalled", 0.0)


def test_a_broker_that_answered_once_makes_no_flow():
    one, two = Position("a q0", 0, 100, 40), Position("b q0", 0, 9000, 0)
    found = flow([Look(0.0, [one]), Look(12.0, [one._replace(end=124, committed=64), two])])
    assert (found.in_rate, found.out_rate) == (2.0, 2.0)


def test_a_queue_committed_for_the_first_time_tells_no_rate_but_the_others_do():
    first, second = Position("q0", 0, 500, None), Position("q1", 0, 100, 40)
    later = [first._replace(committed=500), second._replace(end=124, committed=64)]
    assert flow([Look(0.0, [first, second]), Look(12.0, later)]).out_rate == 2.0


def test_queues_that_did_not_move_are_noted_deepest_first():
    before = [Position(f"q{i}", 0, 50, 10, "c1") for i in range(4)]
    after = [one._replace(end=90, committed=10 if one.name == "q1" else 80) for one in before]
    listed, still = parts([Look(0.0, before), Look(12.0, after)], commit_interval=5.0)
    assert still == 1
    assert listed[0] == Part("q1", 80, "c1", STALLED)
    assert {part.note for part in listed[1:]} == {""}


def test_a_queue_in_which_nothing_waited_before_did_not_stand_still():
    before, after = Position("q0", 0, 50, 50), Position("q0", 0, 90, 50)
    assert parts([Look(0.0, [before]), Look(12.0, [after])]) == ((Part("q0", 40, None, ""),), 0)


def test_one_look_knows_no_queue_that_stands_still():
    queues = [Position("q0", 0, 50, None), Position("q1", 0, 50, 20)]
    assert parts([Look(0.0, queues)]) == ((Part("q0", 50, None, "never committed"), Part("q1", 30)), None)
    assert parts([]) == ((), None)
    assert never_consumed(Look(0.0, queues)) == 50


def test_only_the_deepest_queues_are_listed():
    queues = [Position(f"q{i}", 0, i, 0) for i in range(100)]
    listed, _ = parts([Look(0.0, queues)])
    assert (len(listed), listed[0].depth, listed[-1].depth) == (64, 99, 36)


def test_the_functions_for_brokers_without_offsets():
    still = rate(0, 10.0)
    assert trend(0, 5, still, still) == "drained"
    assert trend(5, 5, still, still) == "stalled"
    assert trend(50, 5, rate(100, 10.0), still) == "stalled"
    assert trend(50, 0, rate(100, 10.0), still) == "growing"


# ── judged ───────────────────────────────────────────────────────────────────────────────────────

CLIENT = "10.2.0.8@77"


def backlog(consumer="order-consumer", topic="order-topic", **more):
    given = {
        "id": f"b-{consumer}",
        "subject": f"{consumer} · {topic}",
        "consumer": consumer,
        "topic": topic,
        "broker": "cluster-1",
        "depth": 0,
        "trend": "drained",
        "in_rate": 40.0,
        "out_rate": 40.0,
        "members": 1,
        "queue_count": 4,
        "window": 12.0,
        "depth_before": 0,
        "commit_interval": 5.0,
        "by_hand": (f"show {consumer}",),
        **more,
    }
    return Backlog(**given)


def stalled(consumer="order-consumer", **more):
    return backlog(
        consumer,
        **{"depth": 48_210, "trend": "stalled", "out_rate": 0.0, "depth_before": 47_730, "oldest_age": 360.0, **more},
    )


def client(name=CLIENT, state="stuck", **more):
    given = {
        "id": f"c-{name}",
        "subject": f"order-consumer client {name}",
        "consumer": "order-consumer",
        "client": name,
        "state": state,
        "cached": 1000,
        "since": 380.0,
        "queues": 1,
        "threads": 20,
        "agreement": Share(20, 20),
        "frames": (
            Frame("java.net.SocketInputStream.socketRead0", "SocketInputStream.java", None, "runtime"),
            Frame("com.acme.StockClient.reserve", "StockClient.java", 40),
        ),
        "by_hand": ("jstack -l 77",),
        **more,
    }
    return Consumer(**given)


def findings(*observations, limits=None):
    return list(judge(observations, [], limits or Limits()))


def bad(*observations, limits=None):
    return [found for found in findings(*observations, limits=limits) if found.severity is not OK]


def only(*observations, limits=None):
    (found,) = bad(*observations, limits=limits)
    return found


def fine(*observations):
    return {found.rule: found for found in findings(*observations) if found.severity is OK}


def test_nothing_to_judge():
    assert findings() == []


def test_drained_groups_are_one_finding():
    (found,) = findings(*(backlog(f"g{i}") for i in range(31)))
    assert (found.rule, found.severity, found.summary) == ("backlog.drained", OK, "31 groups drained")
    assert len(found.evidence) == 5
    assert "31 other groups drained" in [f.summary for f in findings(stalled(), *(backlog(f"g{i}") for i in range(31)))]


def test_a_group_is_not_drained_while_another_topic_of_it_waits():
    late = backlog(topic="late", depth=500, trend="steady", oldest_age=90.0)
    assert fine(backlog(), late, backlog("other"))["backlog.drained"].summary == "1 other group drained"
    keeps = backlog(topic="busy", depth=20, trend="steady", oldest_age=3.0)
    assert [found.summary for found in findings(backlog(), keeps)] == ["1 group keeps up: 20 waiting, oldest 3 s"]


def test_stalled_names_the_client_and_its_code():
    found = only(stalled(), client(), client("10.2.0.7@51", "consuming", since=1.0, queues=0, cached=0))
    assert (found.rule, found.severity) == ("backlog.stalled", CRITICAL)
    assert found.key == "backlog.stalled:order-consumer/order-topic"
    assert found.summary == (
        "order-consumer is stuck on order-topic: 48,210 waiting, oldest 6 min, nothing consumed for 6 min, client "
        "10.2.0.8@77 holds 1,000: 20 of 20 consume threads in com.acme.StockClient.reserve (StockClient.java:40) ← "
        "SocketInputStream.socketRead0"
    )
    assert found.evidence == ("b-order-consumer", "c-10.2.0.8@77")
    assert found.threshold.name == "backlog.idle"
    assert found.confidence == ("2 looks 12 s apart (offsets are committed every 5 s), and told by the client itself")
    assert "give that call a timeout" in found.next_step
    assert found.by_hand == ("jstack -l 77", "show order-consumer")


def test_stalled_without_proof_says_how_to_get_it():
    queues = (Part("broker-a q1", 48_210, CLIENT, STALLED), Part("broker-a q0", 0, "10.2.0.7@51"))
    found = only(stalled(parts=queues))
    assert f"1 of 4 queues, client {CLIENT}" in found.summary
    assert "nothing consumed in the window of 12 s" in found.summary
    assert found.next_step.startswith(f"take a thread dump of {CLIENT}")
    assert only(stalled(members=Unknown("denied"))).summary.endswith("clients unknown")


@pytest.mark.parametrize(
    ("more", "severity"),
    [
        ({"oldest_age": 13.0, "depth": 3}, WARNING),  # one slow message looks the same for 12 s
        ({"oldest_age": 300.0, "depth": 3}, CRITICAL),
        ({"oldest_age": None, "depth": 100_000}, CRITICAL),
        ({"oldest_age": None, "depth": 3, "idle": 61.0}, CRITICAL),
        ({"oldest_age": None, "depth": 3, "window": 60.0}, CRITICAL),
        ({"oldest_age": None, "depth": 3, "window": 4.0}, WARNING),
    ],
)
def test_how_bad_it_is_that_nothing_is_consumed(more, severity):
    assert only(stalled(**more)).severity is severity


def test_a_group_stuck_on_its_first_message_is_found_without_any_commit():
    first = stalled(depth=100, never_consumed=100, oldest_age=70.0)
    found = only(first, client())
    assert (found.rule, found.severity) == ("backlog.stalled", CRITICAL)
    assert "has never committed anything: 100 waiting" in found.summary


def test_one_look_is_enough_where_all_clients_are_proven_to_be_stuck():
    once = {"trend": "unknown", "window": None, "in_rate": None, "out_rate": None, "oldest_age": None}
    found = only(stalled(depth=25, **once), client())
    assert (found.rule, found.severity) == ("backlog.stalled", CRITICAL)
    assert found.confidence == "one look, so no trend, and told by the client itself"
    moved = stalled(**{**once, "out_rate": 5.0, "trend": "growing", "oldest_age": 20.0})
    assert only(moved, client()).rule == "backlog.growing"  # by clients that were not asked
    assert "backlog.stalled" not in {f.rule for f in findings(stalled(**once, members=2), client())}
    moving = client("other", "consuming", since=0.5)
    assert "backlog.stalled" not in {f.rule for f in findings(stalled(depth=25, **once), client(), moving)}


def test_an_ordered_queue_is_blocked_behind_one_message():
    found = only(stalled(ordered=True), client(state="blocked", ordered=True, cached=9))
    assert (found.rule, found.severity) == ("backlog.blocked", CRITICAL)
    assert "is blocked on order-topic: 48,210 waiting, oldest 6 min behind one message, in order" in found.summary
    assert only(stalled(), client(state="blocked")).rule == "backlog.blocked"
    unproven = only(stalled(ordered=True))
    assert unproven.rule == "backlog.blocked"
    assert "oldest 6 min, in order, nothing consumed" in unproven.summary
    lock = only(stalled(), client(state="blocked", cached=0, unlocked=2))
    assert "does not get the lock" in lock.next_step


def test_one_queue_of_four_that_stands_still_is_named_with_its_client():
    queues = (Part("broker-a q1", 48_210, CLIENT, STALLED), Part("broker-a q0", 12, "10.2.0.7@51"))
    moving = client("10.2.0.7@51", "consuming", since=0.1)
    one = backlog(depth=48_222, trend="growing", oldest_age=360.0, stalled_parts=1, parts=queues, out_rate=30.0)
    found = only(one, client(), moving)
    assert (found.rule, found.severity) == ("backlog.skewed", CRITICAL)
    assert found.summary.startswith(
        "order-consumer is stuck on 1 of 4 queues of order-topic: 48,210 waiting in broker-a q1, oldest 6 min, "
        f"nothing consumed for 6 min there, client {CLIENT} holds 1,000: 20 of 20"
    )
    unproven = only(one.replaced(oldest_age=20.0), moving)
    assert unproven.severity is WARNING
    assert f"nothing consumed in the window of 12 s there, client {CLIENT}" in unproven.summary


def test_the_owner_of_the_queue_that_stands_still_is_named_before_other_stuck_clients():
    queues = (Part("q1", 10, CLIENT, STALLED),)
    one = backlog(depth=10, trend="steady", stalled_parts=1, parts=queues)
    found = only(one, client("x@1", since=9000.0), client(), client("y@1", "consuming"))
    assert f"client {CLIENT} holds" in found.summary


def test_a_client_that_fetches_nothing_is_the_cause():
    found = only(stalled(), client(state="not pulling", cached=0, last_pull=400.0))
    assert found.summary.endswith(f"client {CLIENT} fetches nothing, for 7 min now")
    assert "flow control" in found.next_step


def test_no_consumer_and_an_abandoned_group():
    found = only(stalled(members=0))
    assert (found.rule, found.severity) == ("backlog.no-consumer", CRITICAL)
    assert found.summary == (
        "order-consumer has no consumer for order-topic: 48,210 waiting, oldest 6 min, 40/s come in"
    )
    old = only(stalled(members=0, oldest_age=3 * 86_400.0))
    assert old.severity is WARNING
    assert old.summary.endswith("it looks abandoned")
    assert only(stalled(members=0, oldest_age=5.0, depth=2)).severity is WARNING
    perhaps = only(stalled(members=0, never_consumed=Unknown("the broker does not tell zeros apart")))
    assert perhaps.severity is WARNING
    assert "the broker does not tell zeros apart" in perhaps.confidence


def test_a_group_that_was_never_used_is_not_late():
    never = backlog("never", depth=100, never_consumed=100, members=0, trend="stalled", oldest_age=1.8e9)
    (found,) = findings(never)
    assert (found.rule, found.severity) == ("backlog.never-consumed", OK)
    assert "100 messages are kept there" in found.summary
    assert "only for those that begin with the earliest" in found.summary
    assert "no backlog" in findings(never.replaced(consume_from="latest"))[0].summary
    assert "begin with all of it" in findings(never.replaced(consume_from="earliest"))[0].summary
    partly = never.replaced(never_consumed=40, oldest_age=5.0)
    assert only(partly).rule == "backlog.no-consumer"


def test_growing_tells_the_rate_and_when_retention_bites():
    grows = {"depth": 9400, "trend": "growing", "in_rate": 200.0, "out_rate": 80.0, "oldest_age": 120.0}
    found = only(backlog("pay-consumer", "pay", **grows))
    assert (found.rule, found.severity) == ("backlog.growing", WARNING)
    assert found.summary == (
        "pay-consumer grows by 120/s on pay: 9,400 waiting, oldest 2 min; 200/s come in, 80/s are consumed; at this "
        "rate it never drains"
    )
    assert found.threshold.name == "backlog.oldest"
    kept = only(backlog(**grows, retention=7200.0))
    assert kept.summary.endswith("; retention deletes the first in about 3 h")  # (7200 - 120) / (1 - 80 / 200)
    assert only(backlog(**grows, retention=60.0)).summary.endswith("; retention deletes it now")
    assert only(backlog(**{**grows, "oldest_age": 300.0})).severity is CRITICAL
    fresh = only(backlog(**{**grows, "oldest_age": 20.0}))
    assert (fresh.severity, fresh.threshold.name) == (WARNING, "backlog.growth")


@pytest.mark.parametrize("more", [{"oldest_age": 4.0}, {"oldest_age": None, "depth": 900}])
def test_a_burst_is_no_growth(more):
    grows = {"depth": 600, "trend": "growing", "in_rate": 100.0, "out_rate": 60.0, **more}
    assert bad(backlog(**grows)) == []
    assert "backlog.keeps-up" in fine(backlog(**grows))


def test_draining_is_told_with_its_time_and_a_warning_at_most():
    drained = {"depth": 1000, "trend": "draining", "in_rate": 10.0, "out_rate": 50.0, "oldest_age": 30.0}
    found = fine(backlog(**drained, drain_seconds=DrainTime(14.2, 33.1)))["backlog.draining"]
    assert found.summary == (
        "order-consumer drains order-topic: 1,000 waiting, oldest 30 s; 10/s come in, 50/s are consumed; drained in "
        "14 to 34 s"
    )
    slow = only(backlog(**drained, drain_seconds=DrainTime(280.0, 301.0)))
    assert (slow.severity, slow.threshold.name) == (WARNING, "backlog.drain")
    old = only(backlog(**{**drained, "oldest_age": 9000.0, "depth": 10**7}, drain_seconds=DrainTime(10.0, 20.0)))
    assert old.severity is WARNING
    noisy = fine(backlog(**drained, drain_seconds=Unknown("the halves disagree")))["backlog.draining"]
    assert noisy.summary.endswith("when it is drained is unknown: the halves disagree")


@pytest.mark.parametrize(
    ("age", "depth", "severity"),
    [
        (59.0, 9_999, OK),
        (60.0, 5, WARNING),
        (300.0, 5, CRITICAL),
        (5.0, 200_000, WARNING),  # many, and young: busy
        (None, 9_999, OK),
        (None, 10_000, WARNING),
        (Unknown("not readable"), 100_000, CRITICAL),
    ],
)
def test_age_first_and_count_second(age, depth, severity):
    (found,) = findings(backlog(depth=depth, trend="steady", oldest_age=age))
    assert found.severity is severity
    assert found.rule == ("backlog.keeps-up" if severity is OK else "backlog.behind")


def test_behind_says_why_there_is_no_trend():
    late = {"depth": 700, "oldest_age": 90.0}
    found = only(backlog(**late, trend="steady"))
    assert found.summary.endswith("40/s come in, 40/s are consumed: it neither grows nor drains clearly")
    once = only(backlog(**late, trend="unknown", window=None, in_rate=None, out_rate=None))
    assert once.summary.endswith("whether it grows or drains was not seen")
    assert once.confidence == "one look, so no trend"
    short = only(backlog(**late, trend="unknown", in_rate=Unknown("x"), out_rate=Unknown("a window too short")))
    assert short.confidence.endswith("no rate: a window too short")


def test_one_deep_queue_explains_a_backlog_that_matters():
    deep = tuple(Part(f"q{i}", depth, f"c{i}") for i, depth in enumerate([5000, 10, 8, 4]))
    late = backlog(depth=5022, trend="growing", in_rate=50.0, out_rate=20.0, oldest_age=100.0, parts=deep)
    found = only(late)
    assert found.rule == "backlog.skewed"
    assert found.summary.endswith("; 5,000 of it in one of 4 queues, q0, which c0 has")
    assert bad(late.replaced(trend="steady", oldest_age=2.0)) == []


@pytest.mark.parametrize(
    ("depths", "count", "expected"),
    [
        ([101, 0, 0, 0], 4, True),
        ([100, 0, 0, 0], 4, False),
        ([500, 120, 100, 90], 4, False),
        ([501, 90, 120, 100], 4, True),
        ([5000, 10], 2, True),
        ([5000], 1, False),
        ([5000, 4000], 200, False),  # the others may hold as much as the last that is listed
    ],
)
def test_uneven_queues(depths, count, expected):
    assert uneven(backlog(parts=tuple(Part(f"q{d}", d) for d in depths), queue_count=count)) is expected


def test_disabled_consuming_is_the_cause():
    found = only(stalled(enabled=False, disabled_by="the topic may not be read"))
    assert (found.rule, found.severity) == ("backlog.disabled", CRITICAL)
    assert "may not consume order-topic, the topic may not be read: 48,210 waiting" in found.summary
    assert bad(backlog(enabled=False)) == []


def test_an_unknown_depth_is_never_fine_and_one_reason_is_one_finding():
    hidden = [backlog(f"g{i}", depth=Unknown("broker-b does not answer"), trend="unknown") for i in range(12)]
    found = only(*hidden, backlog("ok"))
    assert (found.rule, found.severity) == ("backlog.unknown", UNKNOWN)
    assert found.summary == ("what waits for 12 groups (g0, g1, g2 and 9 more) is unknown: broker-b does not answer")
    assert fine(*hidden, backlog("ok"))["backlog.drained"].summary == "1 group drained"
    assert len(bad(*hidden, backlog("z", depth=Unknown("denied")))) == 2
    dead = backlog(part="dead-letter", depth=Unknown("no such topic here"))
    assert only(dead).rule == "backlog.unknown"


def test_broadcast_is_unknown_only_where_nothing_else_is_known():
    heard = backlog("radio", mode="broadcast", depth=Unknown("offsets are in the clients"))
    alone = only(heard)
    assert (alone.rule, alone.severity) == ("backlog.broadcast", UNKNOWN)
    assert bad(heard, backlog()) == []
    assert "no broker knows" in fine(heard, backlog())["backlog.broadcast"].summary
    stale = heard.replaced(depth=5000, oldest_age=9999.0)  # whatever a broker still holds of it
    assert bad(stale, backlog()) == []


def test_a_filter_lowers_the_confidence():
    found = only(backlog(depth=700, trend="steady", oldest_age=90.0, filter="TagA || TagB"))
    assert found.confidence.endswith("lower: the count holds messages that its filter TagA || TagB skips")


# ── notes ────────────────────────────────────────────────────────────────────────────────────────


def test_lost_messages_are_told_apart_from_those_that_wait():
    found = only(backlog(lost=30, retention=259_200.0))
    assert (found.rule, found.severity) == ("backlog.lost", WARNING)
    assert found.summary == (
        "30 messages of order-topic expired before order-consumer got them (kept for 3 d): they are gone"
    )
    assert only(backlog(lost=1000)).severity is CRITICAL
    assert {f.severity for f in bad(stalled(lost=10**6, members=0, oldest_age=None, depth=5))} == {WARNING}
    told = only(backlog(depth=700, trend="steady", oldest_age=90.0, lost=Unknown("the broker did not tell")))
    assert told.confidence.endswith("what expired unread is unknown: the broker did not tell")


def test_ahead_of_the_end_is_no_drained_group():
    found = only(backlog(ahead=500))
    assert (found.rule, found.severity) == ("backlog.ahead", WARNING)
    assert "committed 500 messages beyond the end" in found.summary
    assert "backlog.drained" not in fine(backlog(ahead=500))
    assert bad(backlog(ahead=40, in_rate=40.0)) == []  # came in between the two answers


def test_set_back_unread_and_delivered_again():
    assert "set back by 30 messages in the window of 12 s" in only(backlog(rewound=30)).summary
    unread = only(backlog(unread_queues=12))
    assert (unread.rule, unread.severity) == ("backlog.unread-queues", WARNING)
    again = only(backlog(redelivered=0.6))
    assert (again.rule, again.severity) == ("backlog.redelivery", CRITICAL)
    assert bad(backlog(redelivered=0.01), backlog(redelivered=Unknown("no statistics"))) == []


def test_more_clients_than_queues_matter_only_where_it_is_behind():
    late = backlog(depth=700, trend="steady", oldest_age=90.0, idle_members=2, members=6)
    found = {f.rule: f for f in bad(late)}["backlog.idle-members"]
    assert "2 clients of order-consumer on order-topic have no queue, with 4 queues for 6 clients" in found.summary
    assert fine(backlog(idle_members=2))["backlog.idle-members"].summary.endswith("2 clients in reserve")


def test_offsets_of_a_slave_are_told_once():
    found = only(*(backlog(f"g{i}", source_age=60.0) for i in range(40)))
    assert (found.rule, found.severity) == ("backlog.from-slave", WARNING)
    assert "up to 60 s old" in found.summary


# ── retries and dead letters ─────────────────────────────────────────────────────────────────────


def retry(**more):
    return backlog(**{"part": "retry", "topic": "retry of order-consumer", "in_backoff": 0, **more})


def test_retries_in_backoff_count_while_none_is_due():
    found = only(retry(in_backoff=312))
    assert (found.rule, found.severity) == ("backlog.retry", WARNING)
    assert found.summary == (
        "312 messages of order-consumer failed and will be delivered again: 0 due, 312 waiting for their next delivery"
    )
    assert fine(retry(depth=2, in_backoff=3, oldest_age=1.0))["backlog.retry"].summary == (
        "5 retries wait in 1 group (order-consumer)"
    )
    assert only(retry(depth=1, oldest_age=900.0)).severity is WARNING
    assert bad(retry(in_backoff=4, oldest_age=900.0)) == []  # it waits on purpose


def test_retries_that_cannot_be_counted_are_a_blind_spot():
    why = Unknown("the delay queue holds 2,000,000 messages")
    found = only(*(retry(consumer=f"g{i}", in_backoff=why) for i in range(5)))
    assert (found.rule, found.severity) == ("backlog.retry", UNKNOWN)
    assert "5 groups" in found.summary
    assert why.reason in found.summary


def dead(**more):
    return backlog(
        **{
            "part": "dead-letter",
            "topic": "dead letters",
            "members": None,
            "in_rate": None,
            "depth_before": None,
            **more,
        }
    )


def peeked(**more):
    given = {
        "id": "d1",
        "subject": "order-consumer",
        "consumer": "order-consumer",
        "origin": "order-topic",
        "count": 8,
        "of": 10,
        "retried": 16,
        "keys": ("A1", "A2", "A3", "A4"),
    }
    return DeadLetter(**{**given, **more})


@pytest.mark.parametrize(
    ("more", "severity"),
    [
        ({"depth": 0}, OK),
        ({"depth": 42, "recent": 0, "depth_before": 42}, OK),
        ({"depth": 42, "recent": 1, "depth_before": 42}, WARNING),
        ({"depth": 42, "recent": None, "depth_before": 40}, WARNING),
        ({"depth": 420, "recent": 100}, CRITICAL),
        ({"depth": 42, "recent": None, "depth_before": None}, WARNING),  # of unknown age
        ({"depth": 42, "recent": Unknown("x"), "depth_before": 42, "window": None}, WARNING),
        ({"depth": 40, "recent": 0, "depth_before": 42}, OK),  # some expired
    ],
)
def test_new_dead_letters_matter_and_old_ones_are_a_note(more, severity):
    (found,) = findings(dead(**more))
    assert (found.rule, found.severity) == ("backlog.dead-letters", severity)


def test_dead_letters_are_told_with_where_they_came_from():
    found = only(dead(depth=42, recent=17), peeked(), peeked(id="d2", origin="other", count=2))
    assert found.summary == (
        "order-consumer gave up 17 messages in the last 10 min; 42 dead letters in all; 8 of 10 looked at came from "
        "order-topic after 16 retries (keys A1, A2, A3 and 1 more)"
    )
    assert found.evidence == ("b-order-consumer", "d1", "d2")
    assert "A1" in found.next_step
    assert found.key == "backlog.dead-letters:order-consumer/dead letters/dead-letter"
    old = fine(dead(depth=42, recent=0), peeked(reason="rejected", retried=None))["backlog.dead-letters"]
    assert "none of them new; 8 of 10 looked at came from order-topic because rejected" in old.summary
    assert "of unknown age" in only(dead(depth=3, recent=None, depth_before=None)).summary


# ── many, and in order ───────────────────────────────────────────────────────────────────────────


def test_hundreds_of_groups_are_few_findings_the_worst_first():
    many = [stalled(f"g{i}", oldest_age=300.0 + i, idle=float(60 + i)) for i in range(300)]
    found = bad(*many, *(backlog(f"h{i}", ahead=i + 1, in_rate=0.0) for i in range(300)))
    assert len(found) == 2 * (MOST + 1)
    assert found[0].subject == "g299 on order-topic"
    assert found[MOST].summary.startswith("290 more of the same (backlog.stalled): g289")
    assert found[MOST].severity is CRITICAL
    assert len({one.key for one in found}) == len(found)


def test_limits_decide():
    late = backlog(depth=700, trend="steady", oldest_age=90.0)
    patient = Limits()._replace(oldest=Limits().oldest._replace(warn=100.0, crit=200.0))
    assert bad(late, limits=patient) == []


def test_every_finding_that_is_bad_says_what_to_do_and_what_it_rests_on():
    everything = [
        stalled(), client(), stalled("a", members=0), stalled("b", enabled=False), backlog("c", lost=5, ahead=90),
        backlog("d", depth=700, trend="steady", oldest_age=90.0, idle_members=1), backlog("e", rewound=3),
        backlog("f", depth=Unknown("x")), backlog("g", unread_queues=4, redelivered=0.2), backlog("h", source_age=10.0),
        backlog("i", depth=700, trend="growing", out_rate=1.0, oldest_age=20.0), retry(in_backoff=500),
        retry(in_backoff=Unknown("y")), dead(depth=5, recent=5),
        backlog("j", depth=9, trend="draining", drain_seconds=DrainTime(900.0, 990.0)),
    ]  # fmt: skip
    found = bad(*everything)
    assert len({one.rule for one in found}) >= 13
    for one in found:
        assert one.next_step, one.rule
        assert one.by_hand, one.rule
        assert one.evidence, one.rule
        assert one.key.startswith(one.rule + ":")
        assert one.confidence or one.rule in ("backlog.unknown", "backlog.from-slave", "backlog.retry")


def test_what_names_the_client_is_the_headline():
    both = ranked(
        findings(stalled(), client(), stalled("gone", members=0), backlog("l", lost=5000)), backlog_cause.PRECEDENCE
    )
    assert [one.rule for one in both[:3]] == ["backlog.no-consumer", "backlog.stalled", "backlog.lost"]


def test_every_rule_has_its_place_in_the_table():
    given = set()
    for path in SIGNALS.glob("*.py"):
        if path.name.startswith(("backlog", "consumer", "dead_letters", "broker_health")) and "cause" not in path.name:
            texts = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
            given |= {t for t in texts if isinstance(t, str) and re.fullmatch(r"(backlog|consumer|broker)\.[a-z-]+", t)}
    given |= {f"backlog.{rule}" for rule in ("blocked", "skewed", "stalled")}
    given -= {f"backlog.{name}" for name in Limits._fields}
    assert given == set(backlog_cause.PRECEDENCE)
    assert len(backlog_cause.PRECEDENCE) == len(given)


# ── words ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (14.2, 33.1, "drained in 14 to 34 s"),
        (8.0, 8.0, "drained in about 8 s"),
        (100.0, 400.0, "drained in 100 s to 7 min"),
        (130.0, 170.0, "drained in 2 to 3 min"),
        (7200.0, 9000.0, "drained in about 2 h"),
        (0.2, 0.4, "drained in 200 to 400 ms"),
    ],
)
def test_a_forecast_in_words(low, high, said):
    assert drains(DrainTime(low, high)) == said


def test_rates_in_words():
    assert [per_second(value) for value in (1234.5, 12.3, 4.56, 0.083)] == ["1,234/s", "12/s", "4.6/s", "0.083/s"]


def test_standing_of_a_group_whose_members_are_unknown():
    assert standing(backlog(depth=5, trend="stalled", members=Unknown("denied"))) == "stalled"
    assert standing(backlog(depth=5, trend="unknown", members=None)) == "behind"
