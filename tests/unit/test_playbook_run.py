"""Running a playbook: what is run and in which order, what is unknown and why, and what is never green by blindness."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import pytest

from opsdoc.config import Mark
from opsdoc.engine import Settings
from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unreachable, Unseen, measure
from opsdoc.playbook import runner, scope, types
from opsdoc.playbook.case import Case
from opsdoc.playbook.expressions import ExpressionError, ListOf, Record, parse
from opsdoc.playbook.nouns import Judgement, Outcome, Parallel, Playbook, Step
from opsdoc.playbook.runner import Choice
from opsdoc.playbook.templates import parse_template
from opsdoc.probes import Probe
from opsdoc.stop import Stop

HERE = Mark("try.yml", 1, 1)


class Cup(Observation):
    kind = "cup"
    level: float = measure("level", "ratio", "main")


class CupLimits(NamedTuple):
    level: Limit = Limit(0.5, 0.9, "ratio", "a full cup spills")


class Signal:
    __name__ = "opsdoc.signals.cup"
    Limits = CupLimits

    @staticmethod
    def judge(observations, unseen, limits):
        for cup in observations:
            severity = limits.level.grade(cup.level)
            yield Finding("cup.full", f"cup.full:{cup.subject}", severity, cup.subject, f"it holds {cup.level}")


def probe(look):
    return Probe("cup", look, (Signal(),), (Cup,), (), "opsdoc cup", 5.0)


def cups(*levels, unseen=()):
    def look(host):
        yield from (Cup(subject=f"cup {number}", level=level) for number, level in enumerate(levels))
        yield from unseen

    return probe(look)


def gone(host):
    raise Unreachable("nobody is there")
    yield


def step(identity, *, when=None, timeout=None, optional=False):
    return Step(identity, identity, {}, None if when is None else parse(when), timeout, optional, HERE)


def judgement(*outcomes, evidence=()):
    made = [
        Outcome(Severity[severity.upper()], None if when is None else parse(when), parse_template(message))
        for severity, when, message in outcomes
    ]
    return Judgement("verdict", parse_template("Full?"), tuple(made), tuple(map(parse, evidence)), (), HERE)


FULL = judgement(
    ("critical", "any(steps.a.cup, 'level > 0.8')", "full"), ("ok", None, "not full"), evidence=("steps.a.cup",)
)


def run(monkeypatch, probes, steps, findings=(FULL,), *, choice=None, settings=None, case=None):
    monkeypatch.setattr(runner, "load", lambda name: probes[name])
    playbook = Playbook("try", "Try", "", (), {}, tuple(steps), tuple(findings), "try.yml")
    return runner.run(playbook, {}, settings or Settings(timeout=5.0), Stop(), choice or Choice(), case)


def verdict(report):
    (finding,) = report.results[-1].findings
    return finding.severity.word, finding.summary


def test_steps_stand_in_order_and_the_playbook_behind_them(monkeypatch):
    report = run(monkeypatch, {"a": cups(0.9), "b": cups(0.1)}, [step("a"), step("b")])
    assert [(one.probe, one.step) for one in report.results] == [("cup", "a"), ("cup", "b"), ("playbook", None)]
    assert verdict(report) == ("critical", "full")
    assert report.summary == "full", "the playbook knows all its steps"
    assert [one.id for one in report.results[0].observations] == ["a.o1"]
    assert report.results[-1].findings[0].evidence == ("a.o1",)
    assert [one.id for one in report.results[-1].observations] == ["a.o1"]


def test_what_was_seen_in_full_and_is_not_there_is_fine(monkeypatch):
    report = run(monkeypatch, {"a": cups(0.1)}, [step("a")])
    assert verdict(report) == ("ok", "not full")
    assert report.exit_code == 0


def test_never_green_by_blindness(monkeypatch):
    blind = Unseen("cup 7", "denied", "behind a door")
    report = run(monkeypatch, {"a": cups(0.1, unseen=[blind])}, [step("a")])
    assert verdict(report) == ("unknown", "cannot be told: cup 7: behind a door")
    seen = run(monkeypatch, {"a": cups(0.9, unseen=[blind])}, [step("a")])
    assert verdict(seen) == ("critical", "full"), "decided by what was seen"


def test_a_step_that_fails_makes_what_needs_it_unknown_and_the_rest_goes_on(monkeypatch):
    report = run(monkeypatch, {"a": probe(gone), "b": cups(0.1)}, [step("a"), step("b")])
    assert (report.results[0].status, report.results[1].status) == ("error", "ok")
    severity, summary = verdict(report)
    assert severity == "unknown"
    assert "nobody is there" in summary


def test_an_optional_step_that_fails_is_unseen_and_no_verdict(monkeypatch):
    report = run(monkeypatch, {"a": cups(0.1), "b": probe(gone)}, [step("a"), step("b", optional=True)])
    assert report.severity is Severity.OK
    assert report.results[1].unseen[0].detail == "nobody is there"


@pytest.mark.parametrize(
    ("when", "status", "severity"),
    [
        ("len(steps.a.cup) == 1", "ok", "ok"),
        ("len(steps.a.cup) == 2", "skipped", "ok"),
        ("steps.a.cup[7].level > 0.1", "skipped", "unknown"),
    ],
)
def test_a_condition_decides_and_an_unknown_one_is_not_run(monkeypatch, when, status, severity):
    report = run(monkeypatch, {"a": cups(0.1), "b": cups(0.1)}, [step("a"), step("b", when=when)], [])
    assert (report.results[1].status, report.results[1].severity.word) == (status, severity)


def test_a_step_that_hangs_ends_in_time_and_the_others_are_there(monkeypatch):
    never = threading.Event()

    def hang(host):
        yield Cup(subject="first", level=0.2)
        never.wait(20)

    began = time.monotonic()
    report = run(monkeypatch, {"a": probe(hang), "b": cups(0.1)}, [step("a", timeout=0.3), step("b")])
    never.set()
    assert time.monotonic() - began < 3
    assert report.results[0].status == "timeout"
    assert report.results[0].observations, "what it had yielded is there"
    assert report.results[1].status == "ok"
    assert verdict(report)[0] == "unknown"


def test_parallel_steps_are_under_way_at_the_same_time(monkeypatch):
    both = threading.Barrier(2)

    def meet(host):
        both.wait(5)
        yield Cup(subject="met", level=0.1)

    together = Parallel((step("a"), step("b")), HERE)
    report = run(monkeypatch, {"a": probe(meet), "b": probe(meet)}, [together])
    assert [result.status for result in report.results] == ["ok", "ok", "ok"]


def test_what_was_left_out_is_said_and_what_needs_it_is_unknown(monkeypatch):
    choice = Choice(skip=("a",))
    report = run(monkeypatch, {"a": cups(0.9), "b": cups(0.1)}, [step("a"), step("b")], choice=choice)
    assert report.results[0].findings[0].summary == "step a: it was left out by --skip"
    assert verdict(report) == ("unknown", "cannot be told: step a: it was left out by --skip")


def test_a_case_is_judged_again_and_by_a_better_playbook(monkeypatch, tmp_path):
    path = tmp_path / "case.tar.gz"
    live = run(monkeypatch, {"a": cups(0.7)}, [step("a")], settings=Settings(timeout=5.0, record=path))
    assert verdict(live) == ("ok", "not full")
    # The tiny probe asks nothing, so it yields the same from the recording of its step.
    again = run(monkeypatch, {"a": cups(0.7)}, [step("a")], case=Case(path))
    assert (again.started, again.results[-1]) == (live.started, live.results[-1]._replace(elapsed=again.elapsed))
    stricter = judgement(("warning", "any(steps.a.cup, 'level > 0.6')", "nearly full"), ("ok", None, "fine"))
    better = run(monkeypatch, {"a": cups(0.7)}, [step("a")], [stricter], case=Case(path))
    assert verdict(better) == ("warning", "nearly full")
    more = run(monkeypatch, {"a": cups(0.7), "b": cups(0.1)}, [step("a"), step("b")], case=Case(path))
    assert more.results[0].status == "ok"


@pytest.mark.parametrize(
    ("name", "commands", "said"),
    [
        ("worker-3", ["ps -C worker-3"], ""),
        ("x; reboot", [], "left out"),
        ("'$(reboot)'", [], "left out"),
        ("-x", [], "left"),
    ],
)
def test_a_name_of_the_target_smuggles_nothing_into_a_command(monkeypatch, name, commands, said):
    def named(host):
        yield Cup(subject=name, level=0.9)

    advice = (parse_template("$ ps -C ${{ steps.a.cup[0].subject }}"),)
    report = run(monkeypatch, {"a": probe(named)}, [step("a")], [FULL._replace(advice=advice)])
    (finding,) = report.results[-1].findings
    assert list(finding.by_hand) == commands
    assert said in finding.next_step


# ── records within observations ──────────────────────────────────────────────────────────────────


class Sip(NamedTuple):
    who: str
    failed: int
    seconds: float | Unknown = Unknown("no clock")


class Bowl(Observation):
    kind = "bowl"
    sips: tuple[Sip, ...] = measure("sips", default=(), columns={"seconds": "seconds"})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("steps.n.bowl[0].sips[0].failed > 0", False),
        ("any(steps.n.bowl[0].sips, \"failed > 0 and who == 'b'\")", True),
        ("sum(each(steps.n.bowl[0].sips, 'failed'))", 3),
        ("steps.n.bowl[0].sips[0].seconds > 1", Unknown("no clock")),
    ],
)
def test_expressions_see_the_fields_of_records(expression, value):
    known = {"steps": Record({"n": Record({"bowl": ListOf(types.of_observation(Bowl))})})}
    seen = {"steps": {"n": {"bowl": [scope.plain(Bowl(subject="bowl", sips=(Sip("a", 0), Sip("b", 3, 0.5))))]}}}
    parsed = parse(expression)
    parsed.check(known)
    assert parsed.evaluate(seen) == value
    with pytest.raises(ExpressionError, match=r"has no field 'fialed'.*did you mean 'failed'"):
        parse("steps.n.bowl[0].sips[0].fialed > 0").check(known)
