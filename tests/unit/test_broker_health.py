"""Brokers: what makes a backlog look well or messages disappear is named, and what is not told is not fine."""

from __future__ import annotations

import pytest

from opsdoc.model import Severity, Unknown
from opsdoc.signals.broker_health import MIB, BrokerHealth, Limits, judge

OK, WARNING, UNKNOWN, CRITICAL = Severity.OK, Severity.WARNING, Severity.UNKNOWN, Severity.CRITICAL


def broker(name="broker-a", role="master", **more):
    given = {
        "id": f"{name}-{role}",
        "subject": f"{name} ({role}) 10.0.0.1:10911",
        "name": name,
        "role": role,
        "disk_used": 0.28,
        "put_rate": 120.0,
        "dispatch_behind": 0,
        "send_queue": 0,
        "send_wait": 0.0,
        "store_lock": 0.0,
        "slaves": 1,
        "slaves_in_sync": 1,
        "slave_behind": 0,
        "half_messages": 0,
        "by_hand": ("show broker",),
        **more,
    }
    return BrokerHealth(**given)


def findings(*brokers):
    return list(judge(brokers, [], Limits()))


def only(**more):
    (found,) = findings(broker(**more))
    return found


def test_brokers_that_are_well_are_one_finding():
    (found,) = findings(broker(), broker("broker-b", disk_used=0.31, put_rate=80.0))
    assert (found.rule, found.severity) == ("broker.fine", OK)
    assert found.summary == "2 brokers are well: disk 31 % full at most, 200 messages/s come in"
    assert only(disk_used=None, put_rate=None).summary == "1 broker is well"
    assert findings() == []


@pytest.mark.parametrize(
    ("used", "severity"), [(0.7499, OK), (0.75, WARNING), (0.849, WARNING), (0.85, CRITICAL), (1.0, CRITICAL)]
)
def test_the_disk(used, severity):
    assert only(disk_used=used).severity is severity


def test_what_a_full_disk_does_is_told_by_the_probe():
    found = only(disk_used=0.91, disk_path="/data/store", disk_policy="it takes no messages from 90 % on")
    assert found.summary == (
        "the disk of broker-a (master) 10.0.0.1:10911 (/data/store) is 91 % full: it takes no messages from 90 % on"
    )
    assert (found.rule, found.key) == ("broker.disk", "broker.disk:broker-a")
    assert (found.threshold.name, found.threshold.crit) == ("broker_health.disk_used", 0.85)
    assert only(disk_used=0.9).summary.endswith("when it is full, no message is taken")


def test_a_broker_that_does_not_answer_leaves_the_others():
    found = findings(broker(reachable=False, why="refused", disk_used=Unknown("refused")), broker("broker-b"))
    assert [(one.rule, one.severity) for one in found] == [("broker.unreachable", CRITICAL), ("broker.fine", OK)]
    assert "does not answer (refused): its queues take no messages" in found[0].summary
    assert found[1].summary.startswith("1 other broker is well")
    slave = only(role="slave", reachable=False)
    assert (slave.severity, slave.key) == (WARNING, "broker.unreachable:broker-a/slave")


@pytest.mark.parametrize(
    ("more", "rule", "severity", "said"),
    [
        ({"send_wait": 0.1, "send_queue": 900}, "broker.send-wait", WARNING, "wait 100 ms, 900 of them"),
        ({"send_wait": 0.2}, "broker.send-wait", CRITICAL, "wait 200 ms: producers"),
        ({"send_wait": 0.1, "store_lock": 1.0}, "broker.send-wait", CRITICAL, "one write holds the store"),
        ({"dispatch_behind": 16 * MIB}, "broker.dispatch-behind", WARNING, "stored 16 MiB that no consumer can see"),
        ({"dispatch_behind": 20 << 30}, "broker.dispatch-behind", CRITICAL, "stored 20 GiB"),
        ({"slave_behind": 64 * MIB}, "broker.slave-behind", WARNING, "is 64 MiB behind"),
        ({"slave_behind": 256 * MIB}, "broker.slave-behind", CRITICAL, "is 256 MiB behind"),
        ({"slaves_in_sync": 0, "replication": "sync"}, "broker.slave-behind", CRITICAL, "none of 1 slave"),
        ({"slaves_in_sync": 0, "replication": "async"}, "broker.slave-behind", WARNING, "what it loses now is lost"),
        ({"half_messages": 1, "oldest_half": 180.0}, "broker.half-messages", WARNING, "is not decided"),
        ({"half_messages": 9, "oldest_half": 900.0}, "broker.half-messages", CRITICAL, "are not decided"),
        ({"controller_ok": False}, "broker.controller", WARNING, "no controller is elected"),
    ],
)
def test_what_is_wrong_with_a_broker(more, rule, severity, said):
    found = only(**more)
    assert (found.rule, found.severity) == (rule, severity)
    assert said in found.summary
    assert found.evidence == ("broker-a-master",)
    assert found.next_step
    assert found.by_hand == ("show broker",)


@pytest.mark.parametrize(
    "more",
    [
        {"slaves": 0, "slaves_in_sync": 0},  # it has none, by design
        {"half_messages": 50, "oldest_half": 4.0},  # under way
        {"half_messages": 0, "oldest_half": None},
        {"dispatch_behind": 4096},
        {"controller_ok": None},
    ],
)
def test_what_is_nothing_wrong(more):
    assert only(**more).rule == "broker.fine"


@pytest.mark.parametrize(
    "name", ["disk_used", "send_wait", "dispatch_behind", "slave_behind", "half_messages", "controller"]
)
def test_what_is_not_told_is_not_fine(name):
    found = only(**{name: Unknown("not permitted")})
    assert (found.rule, found.severity) == ("broker.unknown", UNKNOWN)
    assert found.summary.endswith("of broker-a (master) 10.0.0.1:10911 unknown: not permitted")


def test_open_transactions_of_unknown_age_are_unknown():
    assert only(half_messages=3, oldest_half=Unknown("not readable")).severity is UNKNOWN


def test_where_the_probe_knows_no_command_there_are_those_of_the_machine():
    assert only(disk_used=0.9, by_hand=()).by_hand[0] == "df -h"
