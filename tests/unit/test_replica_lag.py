"""Replica lag: each truth gets its finding, a 0 that may be a lie gets none, and who knows more is named."""

from __future__ import annotations

import io

import pytest
from unit import sample_report

from opsdoc.model import Severity, Unknown, Unseen
from opsdoc.render import FORMATS, render
from opsdoc.signals import contention, db_cause
from opsdoc.signals.alike import MOST
from opsdoc.signals.contention_facts import DbNode, LockChain
from opsdoc.signals.replica_lag import Limits, ReplicaLag, ReplicationSlot, Stage, judge
from opsdoc.verdict import limits as changed
from opsdoc.verdict import ranked

OK, WARNING, UNKNOWN, CRITICAL = Severity.OK, Severity.WARNING, Severity.UNKNOWN, Severity.CRITICAL
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
A, B = "10.0.0.1:5432", "10.0.0.2:5432"
WHY = Unknown("it has no receiver, and cannot know what was written since")


def lag(replica=B, **more):
    """A replica that keeps up, by the word of both sides."""
    made = {
        "primary": A,
        "seconds": 0.0,
        "bytes": 0,
        "told_by": "both",
        "confidence": "proven",
        "link": "streaming",
        "link_moved": True,
        "silence": 0.2,
        "silence_expected": 35.0,
        "as_of": 0.1,
        "apply": "running",
        "window_seconds": 2.0,
        "by_hand": ("show replication",),
    }
    return ReplicaLag(subject=replica, replica=replica, id=f"l-{replica}", **{**made, **more})


def alone(**more):
    """The same by the word of the replica alone."""
    return lag(**{"told_by": "replica", "confidence": "proven", "ask": A, **more})


def mysql(**more):
    return alone(**{"product": "mariadb", **more})


def slot(**more):
    made = {"slot": "s1", "node": A, "active": True, "status": "reserved", "retained": MIB, "by_hand": ("show slots",)}
    return ReplicationSlot(subject=f"{A} slot s1", id="s", **{**made, **more})


def primary(**more):
    return DbNode(subject=A, node=A, id="n", **{"role": "primary", "replicas": 1, **more})


def findings(*observations, limits=None):
    return list(judge(observations, (), limits or Limits()))


def bad(*observations):
    return [finding for finding in findings(*observations) if finding.severity is not OK]


def only(*observations):
    (found,) = bad(*observations)
    return found


def fine(*observations):
    assert not bad(*observations)
    return {finding.rule: finding for finding in findings(*observations)}


# ── the truth tables ─────────────────────────────────────────────────────────────────────────────

CUT_OFF = {"seconds": WHY, "bytes": WHY, "confidence": "blind", "link": "down", "link_moved": None, "as_of": WHY}


def test_a_healthy_replica_is_fine_and_says_by_whose_word():
    found = fine(lag(seconds=0.6, bytes=820))["replica.fine"]
    assert found.summary == f"{B} keeps up with {A}: 600 ms, 820 bytes behind"
    assert found.confidence == "proven by both sides; 2 looks 2.0 s apart"
    assert found.evidence == (f"l-{B}",)


def test_an_idle_primary_makes_no_lag():
    """Row B: the age of the last commit grows, and nothing waits."""
    found = fine(lag(silence=8.8, link_moved=False, as_of=8.8))["replica.fine"]
    assert found.summary == f"{B} keeps up with {A}: nothing waits to be applied, as of 8.8 s ago"


@pytest.mark.parametrize("side", ["replica", "both"])
def test_paused_replay(side):
    """Row C."""
    found = only(lag(told_by=side, apply="paused", seconds=11.0, bytes=3_200_000))
    assert (found.rule, found.severity) == ("replica.paused", CRITICAL)
    assert "11 s (3.1 MiB) behind" in found.summary
    assert "pg_wal_replay_resume()" in found.next_step
    assert found.threshold.name == "replica_lag.seconds"


def test_replay_that_stands_still_is_not_known_from_the_primary_alone():
    """Row C from the other side: replay_lag says 7 ms, for it is of before."""
    found = only(
        lag(told_by="primary", confidence="one-sided", seconds=Unknown("replay did not move"), bytes=3_200_000, ask=B)
    )
    assert (found.rule, found.severity) == ("replica.cannot-know", UNKNOWN)
    assert "3.1 MiB behind" in found.summary
    assert B in found.next_step


def test_a_dead_receiver_is_broken_whatever_the_positions_say():
    """Row D: receive and replay are equal, which exporters call 0."""
    found = only(alone(**CUT_OFF, link_error="connection refused"))
    assert (found.rule, found.severity) == ("replica.receiver-dead", CRITICAL)
    assert "(connection refused)" in found.summary
    assert f"only {A} knows" in found.summary
    assert found.by_hand == ("show replication",)


def test_a_dead_receiver_with_both_sides_says_how_far_it_is_behind():
    found = only(lag(link="down", seconds=7.4, bytes=3_200_000, apply="idle"))
    assert found.rule == "replica.receiver-dead"
    assert "7.4 s (3.1 MiB) behind" in found.summary


def test_the_primary_misses_a_replica_that_its_slot_waits_for():
    """Row D from the primary: the row is gone, the slot is not in use."""
    found = bad(primary(replicas=0), slot(active=False, retained=3_200_000))
    assert [(one.rule, one.severity) for one in found] == [
        ("replica.slot-inactive", WARNING),
        ("replica.none-connected", WARNING),
    ]
    assert "keeps 3.1 MiB of log" in found[0].summary
    assert "1 slot waits for one (s1)" in found[1].summary


def test_a_frozen_link_is_stalled_though_it_says_0():
    """Row E on the replica, after as long as both sides may be silent."""
    found = only(alone(silence=166.0, link_moved=False, as_of=166.0, confidence="blind"))
    assert (found.rule, found.severity) == ("replica.stalled", CRITICAL)
    assert "a lag of 0 is only as of then" in found.summary
    assert "nothing came over it for 3 min, and something should at least every 35 s" in found.summary


def test_a_frozen_link_is_stalled_at_once_where_log_waits_and_nothing_moves():
    """Row E on the primary: sent is behind, and both sides were heard a few seconds ago."""
    found = only(lag(link_moved=False, silence=9.2, bytes=1_280_000, stages=(Stage("send", 1_280_000),)))
    assert found.rule == "replica.stalled"
    assert "while 1.2 MiB wait to be sent" in found.summary
    assert found.threshold.name == "replica_lag.unsent"


@pytest.mark.parametrize(
    "more",
    [
        {"silence": 35.0, "link_moved": False},
        {"silence": Unknown("one look"), "link_moved": False},
        {"silence": 60.0, "silence_expected": None},
        {"link_moved": False, "stages": (Stage("send", 64 * KIB - 1),)},
        {"link_moved": True, "stages": (Stage("send", MIB),)},
        {"link_moved": None, "stages": (Stage("send", MIB),)},
        {"link_moved": False, "stages": (Stage("replay", MIB),)},
    ],
)
def test_a_quiet_link_is_not_stalled(more):
    assert "replica.fine" in fine(lag(**more))


def test_a_lost_slot_is_told_once_with_its_replica():
    """Row F: the positions are negative, and restart_lsn is null."""
    gone = alone(slot_lost=True, **CUT_OFF)
    found = only(gone, slot(active=False, status="lost", retained=None))
    assert (found.rule, found.severity, found.subject) == ("replica.slot-lost", CRITICAL, B)
    assert "pg_basebackup" in found.next_step


def test_a_lost_slot_is_told_without_its_replica():
    found = only(slot(active=False, status="lost", retained=None))
    assert (found.rule, found.severity, found.subject) == ("replica.slot-lost", CRITICAL, f"{A} slot s1")


def test_a_primary_whose_synchronous_replica_is_missing():
    """Row G; the commits themselves are told by the other signal."""
    found = only(primary(replicas=0, commit_waits_for="nosuch"))
    assert (found.rule, found.severity) == ("replica.none-connected", CRITICAL)
    assert "commits wait for nosuch" in found.summary


CAUSES = {
    "replica.sql-stopped": mysql(apply="stopped", seconds=Unknown("NULL"), bytes=225),
    "replica.io-stopped": mysql(link="down", link_moved=None, seconds=Unknown("NULL"), bytes=WHY, confidence="blind"),
    "replica.apply-error": mysql(
        apply="error",
        apply_errno=1062,
        apply_error="Duplicate entry '?' for key 'PRIMARY'",
        seconds=Unknown("NULL"),
        bytes=300,
    ),
    "replica.delayed": mysql(apply="delayed", delay=6.0, seconds=0.0, bytes=300),
    "replica.apply-locked": mysql(apply="locked", seconds=4.0, bytes=300, blocked_by="session 12 of app (idle)"),
    "replica.stalled": mysql(link_moved=False, silence=4.1, silence_expected=2.0, as_of=WHY, confidence="one-sided"),
}


@pytest.mark.parametrize("rule", CAUSES)
def test_each_of_the_six_causes_is_told(rule):
    (found,) = findings(CAUSES[rule])
    assert found.rule == rule
    assert found.evidence == (f"l-{B}",)
    assert found.by_hand == ("show replication",)
    assert found.severity is {"replica.delayed": OK, "replica.apply-locked": WARNING}.get(rule, CRITICAL)


def test_six_causes_have_six_next_steps():
    assert len({findings(one)[0].next_step for one in CAUSES.values()}) == 6


def test_the_words_of_the_causes():
    said = {rule: findings(one)[0] for rule, one in CAUSES.items()}
    assert "error 1062: Duplicate entry '?' for key 'PRIMARY'" in said["replica.apply-error"].summary
    assert "compare the row" in said["replica.apply-error"].next_step
    assert "START SLAVE SQL_THREAD" in said["replica.sql-stopped"].next_step
    assert "START SLAVE IO_THREAD" in said["replica.io-stopped"].next_step
    assert "session 12 of app (idle) holds" in said["replica.apply-locked"].summary
    assert said["replica.delayed"].summary == f"{B} is 6 s late by design, and no later"
    assert not said["replica.delayed"].next_step


def test_mysql_is_told_its_own_commands():
    found = only(mysql(product="mysql", apply="stopped", bytes=225))
    assert "START REPLICA SQL_THREAD (before 8.0.22 START SLAVE SQL_THREAD)" in found.next_step


def test_an_error_of_the_link_is_to_be_cleared_and_not_only_started():
    found = only(mysql(**CUT_OFF, link_error="error 1236: purged"))
    assert "clear what the error says" in found.next_step
    assert "(error 1236: purged)" in found.summary


def test_a_link_that_never_connects_is_dead_in_every_product():
    for product in ("postgresql", "mysql", "mariadb"):
        found = only(alone(**{**CUT_OFF, "link": "connecting"}, product=product))
        assert found.rule == "replica.receiver-dead"
        assert "tries to connect" in found.summary


def test_a_stop_of_both_threads_is_both():
    found = bad(mysql(**CUT_OFF, apply="stopped"))
    assert {one.rule for one in found} == {"replica.io-stopped", "replica.sql-stopped"}


@pytest.mark.parametrize("apply", ["stopped", "paused"])
def test_what_was_stopped_with_nothing_waiting_is_a_warning(apply):
    assert only(lag(apply=apply)).severity is WARNING
    assert only(lag(apply=apply, missing=1)).severity is CRITICAL
    assert only(lag(apply=apply, seconds=WHY, bytes=WHY)).severity is CRITICAL


def test_another_error_of_the_applier_is_to_be_cleared():
    found = only(mysql(apply="error", apply_errno=1114, apply_error="The table 't' is full", missing=7))
    assert "7 transactions wait" in found.summary
    assert "clear what the error says" in found.next_step


# ── late ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("more", "severity", "limit"),
    [
        ({"seconds": 4.99}, OK, None),
        ({"seconds": 5.0}, WARNING, "replica_lag.seconds"),
        ({"seconds": 29.9}, WARNING, "replica_lag.seconds"),
        ({"seconds": 30.0}, CRITICAL, "replica_lag.seconds"),
        ({"seconds": 0.1, "bytes": 64 * MIB - 1}, OK, None),
        ({"seconds": 0.1, "bytes": 64 * MIB}, WARNING, "replica_lag.bytes"),
        ({"seconds": 6.0, "bytes": GIB}, CRITICAL, "replica_lag.bytes"),
        ({"seconds": WHY, "bytes": GIB}, CRITICAL, "replica_lag.bytes"),
        ({"seconds": 31.0, "bytes": WHY}, CRITICAL, "replica_lag.seconds"),
        ({"seconds": 0.0, "heartbeat_table": 40.0}, CRITICAL, "replica_lag.seconds"),
        ({"seconds": 40.0, "heartbeat_table": 1.0}, OK, None),
        ({"seconds": 40.0, "heartbeat_table": 8.0, "delay": 6.0}, OK, None),
        ({"seconds": 31.0, "delay": 600.0}, CRITICAL, "replica_lag.seconds"),
    ],
)
def test_it_is_judged_by_seconds_or_by_bytes(more, severity, limit):
    (found,) = findings(lag(**more))
    assert found.severity is severity
    assert (found.threshold.name if found.threshold else None) == limit


@pytest.mark.parametrize(
    ("stage", "rule", "said", "step"),
    [
        ("send", "replica.send-slow", "not sent yet", "network"),
        ("write", "replica.send-slow", "not received yet", "network"),
        ("receive", "replica.send-slow", "not received yet", "network"),
        ("flush", "replica.send-slow", "not on the replica's disk", "disk of"),
        ("replay", "replica.apply-slow", "not applied yet", "applier of"),
        ("apply", "replica.apply-slow", "not applied yet", "applier of"),
        ("upstream", "replica.behind", f"has not come to {A} itself", f"look at {A} first"),
        (None, "replica.behind", "which stage holds it up is unknown", "applier"),
    ],
)
def test_the_stage_that_most_of_it_waits_before_is_the_cause(stage, rule, said, step):
    found = only(lag(seconds=12.0, stage=stage))
    assert found.rule == rule
    assert said in found.summary
    assert step in found.next_step


@pytest.mark.parametrize(
    ("grows", "said"),
    [
        (-2 * MIB, "; it shrinks by 2.0 MiB/s, gone in about 32 s"),
        (MIB, "; it grows by 1.0 MiB/s"),
        (0.0, "; it neither grows nor shrinks"),
        (Unknown("one look"), "yet"),
        (None, "yet"),
    ],
)
def test_it_says_whether_it_catches_up(grows, said):
    assert only(lag(seconds=6.0, bytes=64 * MIB, stage="replay", grows=grows)).summary.endswith(said)


def test_how_fast_it_applies_is_said():
    assert "not applied yet, at 3.0 MiB/s" in only(lag(seconds=6.0, stage="apply", applied_per_second=3 * MIB)).summary


def test_an_unknown_stage_with_one_side_asks_the_other():
    assert A in only(alone(seconds=12.0, confidence="one-sided")).next_step


def test_a_lock_chain_that_the_applier_waits_in_is_cited():
    chain = LockChain(
        subject="c", id="c", node=B, root=42, root_user="app", root_application="report", blocks_applier=True,
        waiting=1, root_open=7.0,
    )  # fmt: skip
    found = only(lag(), chain)
    assert (found.rule, found.evidence) == ("replica.apply-locked", (f"l-{B}", "c"))
    assert "session 42 of app (report), open for 7 s" in found.summary
    assert only(lag(seconds=31.0), chain).severity is CRITICAL
    assert "replica.fine" in fine(lag(), chain.replaced(node=A))
    assert "replica.fine" in fine(lag(), chain.replaced(blocks_applier=False))


def test_limits_can_be_moved():
    moved = changed("replica_lag", Limits(), {"replica_lag.seconds": (60.0, 120.0)})
    assert findings(lag(seconds=59.0), limits=moved)[0].severity is OK
    assert findings(lag(seconds=60.0), limits=moved)[0].severity is WARNING


# ── what cannot be known ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "more",
    [
        {"seconds": WHY, "bytes": WHY},
        {"seconds": None, "bytes": None},
        {"confidence": "blind"},
        {"link": Unknown("permission denied")},
        {"link": None},
        {"seconds": WHY, "bytes": 1},
        {"link_moved": False, "as_of": Unknown("nothing came in 2.0 s"), "confidence": "one-sided"},
        {"link_moved": None, "as_of": None},
    ],
)
def test_a_zero_that_may_be_a_lie_is_unknown_and_names_who_knows(more):
    found = only(alone(**more))
    assert (found.rule, found.severity) == ("replica.cannot-know", UNKNOWN)
    assert A in found.next_step


def test_a_status_that_may_not_be_read_names_the_grant():
    node = DbNode(subject=B, node=B, id="n", role="replica", grant="GRANT REPLICA MONITOR ON *.* TO opsdoc")
    found = only(mysql(link=Unknown("denied"), seconds=Unknown("denied"), bytes=WHY), node)
    assert "GRANT REPLICA MONITOR" in found.next_step
    seen = lag(told_by="primary", link=Unknown("denied"), seconds=WHY, bytes=WHY)
    assert "GRANT pg_monitor TO x" in only(seen, primary(grant="GRANT pg_monitor TO x")).next_step


def test_a_blind_side_still_tells_what_is_bad():
    assert only(alone(seconds=12.0, confidence="blind")).rule == "replica.behind"


def test_a_replica_that_tells_nothing_is_unknown():
    node = DbNode(subject=B, node=B, id="n", role="replica")
    assert only(node).rule == "replica.cannot-know"
    assert not bad(node, lag())
    assert not bad(node.replaced(reachable=False))
    assert not bad(node.replaced(role="primary"))


def test_one_side_is_believed_where_its_link_is_alive():
    found = fine(alone(confidence="one-sided", as_of=3.0, link_moved=False))["replica.fine"]
    assert found.summary.endswith("as of 3 s ago")
    assert f"{A} could say otherwise" in found.confidence


def test_the_primary_proves_that_nothing_waits():
    assert "replica.fine" in fine(lag(told_by="primary", link_moved=False, seconds=WHY, bytes=0))


def test_no_replica_is_no_finding():
    assert findings() == []
    assert findings(primary(replicas=0)) == []


def test_many_that_cannot_be_known_are_summed_up():
    found = bad(*(alone(replica=f"r{number:02}", seconds=WHY, bytes=WHY) for number in range(MOST + 15)))
    assert len(found) == MOST + 1
    assert found[-1].subject == "15 more"


def test_those_that_keep_up_are_told_in_one():
    found = findings(*(lag(replica=f"r{n}", seconds=n / 10) for n in range(4)))
    assert len(found) == 1
    assert found[0].summary == "all 4 replicas keep up: at most 300 ms behind (r3)"
    found = findings(lag(replica="r1"), lag(replica="r2"), lag(replica="r3", seconds=9.0))
    assert found[-1].summary.startswith("2 other replicas keep up")


# ── slots ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("more", "rule", "severity"),
    [
        ({}, None, OK),
        ({"active": False}, "replica.slot-inactive", WARNING),
        ({"status": "unreserved"}, "replica.slot-retains", WARNING),
        ({"status": "extended"}, None, OK),
        ({"status": "lost", "active": False, "retained": None}, "replica.slot-lost", CRITICAL),
        ({"retained": 24, "disk_free": 100}, None, OK),
        ({"retained": 25, "disk_free": 100}, "replica.slot-retains", WARNING),
        ({"retained": 50, "disk_free": 100, "active": False}, "replica.slot-retains", CRITICAL),
        ({"retained": MIB, "disk_free": 0}, "replica.slot-retains", CRITICAL),
        ({"retained": None, "active": False}, "replica.slot-inactive", WARNING),
        ({"active": Unknown("denied")}, "replica.cannot-know", UNKNOWN),
        ({"retained": Unknown("denied")}, "replica.cannot-know", UNKNOWN),
        ({"status": Unknown("from version 13 on")}, None, OK),
        ({"active": False, "type": "logical"}, "replica.slot-inactive", WARNING),
    ],
)
def test_what_a_slot_keeps(more, rule, severity):
    found = findings(slot(**more))
    assert [(one.rule, one.severity) for one in found] == ([(rule, severity)] if rule else [])
    for one in found:
        assert "s1" in one.summary
        assert one.next_step
        assert one.by_hand == ("show slots",)


def test_a_slot_says_when_it_is_lost():
    assert "is lost after 16 MiB more" in only(slot(active=False, safe=16 * MIB)).summary
    assert "without a limit" in only(slot(active=False)).summary
    assert "without" not in only(slot(active=False, safe=Unknown("from version 13 on"))).summary


def test_a_primary_that_nobody_need_follow_is_no_finding():
    assert not bad(primary(replicas=0), slot())
    assert not bad(primary(replicas=0), slot(active=False, type="logical"))[1:]
    assert not bad(primary(replicas=Unknown("denied"), commit_waits_for="x"))


# ── besides ──────────────────────────────────────────────────────────────────────────────────────


def test_readers_that_were_cancelled():
    found = only(lag(conflicts=2, conflicts_total=9))
    assert (found.rule, found.severity) == ("replica.conflicts", WARNING)
    assert "cancelled 2 queries of its readers in 2.0 s so that replay could go on, 9 since" in found.summary
    assert "replica.fine" in fine(lag(conflicts=0, conflicts_total=9))


def test_writes_that_only_the_replica_has():
    found = only(mysql(errant=3))
    assert (found.rule, found.severity) == ("replica.diverged", WARNING)
    assert "3 transactions that 10.0.0.1:5432 never had" in found.summary
    assert "replica.fine" in fine(mysql(errant=0))
    assert "replica.fine" in fine(mysql(errant=Unknown("no GTIDs")))


@pytest.mark.parametrize(
    ("more", "severity"),
    [
        ({"seconds": WHY, "bytes": WHY}, UNKNOWN),
        ({"seconds": 0.0, "bytes": 0, "confidence": "blind"}, UNKNOWN),
        ({"seconds": 1.0, "told_by": "both"}, OK),
        ({"seconds": 40.0, "told_by": "both"}, CRITICAL),
    ],
)
def test_an_archive_is_no_connection(more, severity):
    (found,) = findings(alone(link="archive", **more))
    assert (found.rule, found.severity) == ("replica.archive-only", severity)
    assert bool(found.next_step) == (severity is not OK)


def test_a_channel_has_its_own_name_and_key():
    found = bad(mysql(channel="east", apply="stopped"), mysql(channel="west", apply="stopped"))
    assert [one.key for one in found] == [f"replica.sql-stopped:{B} (east)", f"replica.sql-stopped:{B} (west)"]


def test_all_rules_have_their_place():
    seen = [
        *CAUSES.values(), lag(seconds=9.0), lag(seconds=9.0, stage="send"), lag(seconds=9.0, stage="apply"), lag(),
        alone(**CUT_OFF), alone(slot_lost=True), alone(link="archive"), alone(confidence="blind"), lag(apply="paused"),
        lag(conflicts=1), lag(errant=1), slot(active=False), slot(status="unreserved"),
        primary(replicas=0, commit_waits_for="x"),
    ]  # fmt: skip
    rules = {finding.rule for one in seen for finding in findings(one)}
    assert rules == {rule for rule in db_cause.PRECEDENCE if rule.startswith("replica.")}


def test_every_finding_to_act_on_says_what_to_do_and_how_sure_it_is():
    for one in [*CAUSES.values(), alone(**CUT_OFF), lag(seconds=9.0), lag(apply="paused"), lag(conflicts=1)]:
        for finding in bad(one):
            assert finding.next_step
            assert finding.confidence
            assert finding.summary.startswith((B, "the link", "replay", "the applier"))


def test_the_cause_comes_first_in_the_verdict():
    both = findings(mysql(**CUT_OFF, apply="error", apply_errno=1062, errant=1))
    assert [one.rule for one in ranked(both, db_cause.PRECEDENCE)][:2] == ["replica.apply-error", "replica.io-stopped"]


HOSTILE = "a\x1b[31m\n<script>alert(1)</script>|`]("


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_names_and_errors_are_only_text(form):
    seen = (
        lag(replica=HOSTILE, channel=HOSTILE, apply="error", apply_errno=1, apply_error=HOSTILE),
        alone(
            replica="b", primary=HOSTILE, ask=HOSTILE, **{**CUT_OFF, "seconds": Unknown(HOSTILE)}, link_error=HOSTILE
        ),
        lag(replica="c", apply="locked", blocked_by=HOSTILE),
        slot(slot=HOSTILE, active=False),
    )
    found = [*findings(*seen), *contention.judge(seen, (Unseen("x", "denied", HOSTILE),), contention.Limits())]
    result = sample_report.result(*seen, findings=tuple(found), probe="db.postgresql", totals={})
    out = io.StringIO()
    render(sample_report.report(result, title="db postgresql"), form, out)
    assert "\x1b" not in out.getvalue()
    assert "<script>alert" not in out.getvalue() or form != "html"


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────

STAGES = (Stage("send", 0, 0.0), Stage("write", 12_288, 0.001), Stage("flush", 64_000), Stage("replay", 3 * GIB, 44.0))


def shown(form, *observations, **options):
    result = sample_report.result(
        *observations, findings=tuple(findings(*observations)), probe="db.postgresql", totals={}
    )
    out = io.StringIO()
    render(sample_report.report(result, title="db postgresql"), form, out, **options)
    return out.getvalue()


def test_the_stages_are_a_way_from_left_to_right():
    late = lag(seconds=44.0, bytes=3 * GIB, stage="replay", stages=STAGES)
    line = "send 0 B, 0 ms → write 12 KiB, 1 ms → flush 62 KiB → replay 3.0 GiB, 44.0 s"
    assert f"still before each stage: {line}" in " ".join(shown("text", late, width=80).split())
    assert line in shown("md", late)
    page = shown("html", late)
    places = [page.index(f'text-anchor="middle">{name}</text>') for name in ("send", "write", "flush", "replay")]
    assert places == sorted(places)
    assert 'height="44.0"' in page
    assert 'class="value strong"' in page


def test_a_way_where_nothing_waits_is_drawn_on_a_page_only():
    idle = lag(seconds=9.0, stages=(Stage("receive", 0), Stage("apply", None, None)))
    assert "before each stage" not in shown("text", idle)
    assert "before receive: 0 B; before apply: not known" in shown("html", idle)


def test_stages_with_strange_names_and_numbers_do_no_harm():
    strange = tuple(Stage(HOSTILE * 9, n, n * 1.5) for n in range(6))
    for form in FORMATS:
        assert "\x1b" not in shown(form, lag(seconds=9.0, stages=strange))
        assert shown(form, lag(seconds=9.0, stages=(*strange, Stage("x", -1, float("nan")))))
