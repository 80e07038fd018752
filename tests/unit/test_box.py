"""The box is judged before code is blamed: each trouble by its own name, and what is unknown is never OK."""

from __future__ import annotations

import dataclasses

import pytest

from opsdoc.model import Severity, Unknown
from opsdoc.signals import box as box_signal
from opsdoc.signals import cpu_cause
from opsdoc.signals.box import Box, Limits, judge
from opsdoc.signals.processes import Process

CALM = Box(
    id="o1",
    subject="this machine",
    busy=0.1,
    cpus=4,
    user=0.08,
    system=0.02,
    iowait=0.0,
    softirq=0.0,
    steal=0.0,
    busiest_cpu=0.3,
    busiest_cpu_id=1,
    busiest_softirq=0.01,
    runnable=1,
    blocked=0,
    forks_per_second=2.0,
    unattributed=0.0,
    pressure=0.0,
    io_pressure=0.0,
)
HOT = Process(subject="7 java", pid=7, name="java", command="java", cpu=1.0)


def findings(*others, limits=None, **changes):
    judged = judge([dataclasses.replace(CALM, **changes), *others], [], limits or Limits())
    return {finding.rule: finding for finding in judged}


def bad(*others, **changes):
    return {rule: f.severity.word for rule, f in findings(*others, **changes).items() if f.severity is not Severity.OK}


def test_a_calm_box_is_ok_and_says_what_was_ruled_out():
    found = findings()
    assert {f.severity for f in found.values()} == {Severity.OK}
    assert set(found) == set(box_signal._RULES.values())
    assert all(f.evidence == ("o1",) for f in found.values())
    assert found["box.busy"].summary == "CPUs 10 % busy"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"steal": 0.15}, {"box.steal": "warning"}),
        ({"steal": 0.3}, {"box.steal": "critical"}),
        ({"busiest_softirq": 0.75, "softirq": 0.2}, {"box.softirq": "critical"}),
        ({"iowait": 0.2, "blocked": 3}, {"box.not-cpu": "warning"}),
        ({"iowait": 0.6, "blocked": 9}, {"box.not-cpu": "critical"}),
        ({"system": 0.4}, {"box.kernel": "warning"}),
        ({"unattributed": 1.2, "forks_per_second": 400.0}, {"box.short-lived": "critical"}),
        ({"unattributed": 1.2, "forks_per_second": 0.5}, {"box.hidden": "unknown"}),
        ({"busiest_cpu": 0.99}, {"box.one-cpu": "warning"}),
        ({"busy": 0.95, "busiest_cpu": 1.0, "runnable": 9}, {"box.busy": "warning"}),
    ],
)
def test_each_trouble_has_its_own_name(changes, expected):
    assert bad(**changes) == expected


def test_waiting_for_a_disk_is_told_to_be_no_cpu_problem():
    finding = findings(iowait=0.6, blocked=9)["box.not-cpu"]
    assert finding.summary == (
        "not a CPU problem: the CPUs are 10 % busy and idle 60 % of the time while 9 tasks wait for a disk"
    )
    assert (finding.threshold.name, finding.threshold.value) == ("box.iowait", 0.6)
    assert finding.by_hand
    assert finding.next_step


def test_one_saturated_cpu_is_named_unless_its_process_is_known():
    assert "CPU 1 is 99 % busy while all 4 together are 10 %" in findings(busiest_cpu=0.99)["box.one-cpu"].summary
    assert bad(HOT, busiest_cpu=0.99) == {}
    idle = dataclasses.replace(HOT, cpu=0.1)
    unknown = dataclasses.replace(HOT, cpu=Unknown("it ended"))
    assert bad(idle, unknown, busiest_cpu=0.99) == {"box.one-cpu": "warning"}


@pytest.mark.parametrize(
    "field", ["busy", "busiest_cpu", "steal", "busiest_softirq", "iowait", "system", "unattributed"]
)
def test_what_is_unknown_is_never_ok(field):
    found = [f for f in findings(**{field: Unknown("no such file")}).values() if f.severity is Severity.UNKNOWN]
    assert len(found) == 1
    assert "no such file" in found[0].summary


def test_unknown_numbers_beside_the_judged_one_do_not_break_the_sentence():
    unknown = Unknown("x")
    found = findings(steal=0.5, iowait=0.6, busy=unknown, blocked=unknown, forks_per_second=unknown, unattributed=2.0)
    assert "unknown tasks wait for a disk" in found["box.not-cpu"].summary
    assert found["box.hidden"].severity is Severity.UNKNOWN


def test_limits_of_the_user_decide():
    limits = dataclasses.replace(Limits(), busy=Limits().busy._replace(warn=0.05, crit=0.1))
    assert findings(limits=limits)["box.busy"].severity is Severity.CRITICAL
    assert bad(steal=0.15, limits=dataclasses.replace(Limits(), steal=limits.busy)) == {"box.steal": "critical"}


def test_every_rule_of_the_box_has_its_place_in_the_table():
    assert {*box_signal._RULES.values(), "box.hidden"} <= set(cpu_cause.PRECEDENCE)
    place = cpu_cause.PRECEDENCE.index
    assert place("box.steal") < place("cpu.app-code") < place("box.short-lived") < place("box.busy")
    assert place("cpu.gc") < place("cpu.app-code") < place("cpu.hot-process")


def test_no_box_is_no_finding():
    assert list(judge([HOT], [], Limits())) == []
