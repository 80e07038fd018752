"""The engine: every run ends in a report, in time, with whatever was seen."""

from __future__ import annotations

import signal
import threading
import time
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from opsdoc import engine, verdict
from opsdoc.engine import GRACE, Settings, run
from opsdoc.model import (
    Denied,
    Finding,
    Limit,
    Malformed,
    Observation,
    Severity,
    TimedOut,
    Total,
    Unreachable,
    Unseen,
    UsageError,
    Window,
    measure,
)
from opsdoc.probes import Probe
from opsdoc.recording import ReplayHost
from opsdoc.stop import Stop

# ── a tiny probe ─────────────────────────────────────────────────────────────────────────────────


class Cup(Observation):
    kind = "cup"
    level: float = measure("level", "ratio", "main")


class CupLimits(NamedTuple):
    level: Limit = Limit(0.5, 0.9, "ratio", "a full cup spills")
    crack: Limit = Limit(1, None, "count", "a cracked cup leaks")


def judge(observations, unseen, limits):
    for cup in observations:
        yield Finding(
            rule="cup.full",
            key=f"cup.full:{cup.subject}",
            severity=limits.level.grade(cup.level),
            subject=cup.subject,
            summary=f"{cup.subject} holds {cup.level}",
            threshold=limits.level.crossed("cup.level", cup.level),
        )


CUP = SimpleNamespace(__name__="opsdoc.signals.cup", Limits=CupLimits, judge=judge)


def probe_of(run, precedence=(), judges=(CUP,)):
    return Probe("cup", run, judges, (Cup,), precedence, "opsdoc cup", 30.0)


def quick(timeout=5.0, **settings):
    return Settings(timeout=timeout, **settings)


def cups(*levels):
    def pour(host):
        for number, level in enumerate(levels):
            yield Cup(subject=f"cup {number}", level=level)

    return pour


class Hangs:
    """A question that nobody answers, whatever is done to it."""

    def __init__(self):
        self.over = threading.Event()

    def key(self):
        return "hangs"

    def answer(self, live):
        self.over.wait(20)


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


def test_what_a_probe_yields_is_numbered_judged_and_ranked():
    def pour(host):
        yield Window(seconds=2.0)
        yield from cups(0.1, 0.95, 0.6)(host)
        yield Total(kind="cup", number=9)

    report = run(probe_of(pour), {}, quick(), Stop())
    (result,) = report.results
    assert [o.id for o in result.observations] == ["o1", "o2", "o3"]
    assert [f.severity for f in result.findings] == [Severity.CRITICAL, Severity.WARNING, Severity.OK]
    assert result.findings[0].ruled_out == ("cup.full",)
    assert (result.window, result.totals, result.status) == (2.0, {"cup": 9}, "ok")
    assert (report.severity, report.exit_code, report.interrupted) == (Severity.CRITICAL, 2, False)
    assert report.host.hostname
    assert 0 <= report.cost.wall_seconds < 5


def test_of_two_equally_severe_findings_the_table_names_the_headline():
    def tell(observations, unseen, limits):
        for rule in ("cup.stain", "cup.leak", "cup.crack"):
            severity = Severity.WARNING if rule == "cup.stain" else Severity.CRITICAL
            yield Finding(rule=rule, key=rule, severity=severity, subject="cup", summary=rule)

    talker = SimpleNamespace(__name__="opsdoc.signals.cup", Limits=CupLimits, judge=tell)
    told = probe_of(cups(1), judges=(talker,), precedence=("cup.stain", "cup.crack", "cup.leak"))
    report = run(told, {}, quick(), Stop())
    assert [f.rule for f in report.results[0].findings] == ["cup.crack", "cup.leak", "cup.stain"]
    assert report.summary == "cup.crack"


def test_a_blind_spot_makes_it_partial_and_does_not_change_the_verdict():
    def pour(host):
        yield from cups(0.1)(host)
        yield Unseen(subject="saucer", reason="unsupported", detail="no saucer")

    report = run(probe_of(pour), {}, quick(), Stop())
    assert (report.results[0].status, report.severity, report.exit_code) == ("partial", Severity.OK, 0)


def test_nothing_seen_is_unknown_and_not_ok():
    report = run(probe_of(lambda host: iter(())), {}, quick(), Stop())
    assert (report.severity, report.exit_code) == (Severity.UNKNOWN, 3)


# ── limits and exit codes ────────────────────────────────────────────────────────────────────────


def test_a_limit_of_the_user_replaces_the_default_and_is_named_as_source():
    report = run(probe_of(cups(0.3)), {}, quick(limits={"cup.level": (0.1, 0.2)}), Stop())
    finding = report.results[0].findings[0]
    assert finding.severity is Severity.CRITICAL
    assert (finding.threshold.warn, finding.threshold.crit) == (0.1, 0.2)
    assert "--limit" in finding.threshold.source
    untouched = verdict.limits("cup", CupLimits(), {"saucer.level": (0, 0)})
    assert untouched == CupLimits()
    assert verdict.limits("cup", CupLimits(), {"cup.level": (0, 0)}).crack == CupLimits().crack


@pytest.mark.parametrize(
    ("level", "options", "code"),
    [
        (0.6, {}, 1),
        (0.6, {"fail_on": Severity.UNKNOWN}, 0),
        (0.95, {"fail_on": Severity.CRITICAL}, 2),
        (0.95, {"exit_zero": True}, 0),
    ],
)
def test_exit_codes_follow_what_is_asked(level, options, code):
    assert run(probe_of(cups(level)), {}, quick(**options), Stop()).exit_code == code


# ── errors ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "status"), [(Denied, "denied"), (TimedOut, "timeout"), (Unreachable, "error"), (Malformed, "error")]
)
def test_a_target_that_is_lost_is_unknown_and_what_was_seen_before_stays(error, status):
    def pour(host):
        yield from cups(0.1)(host)
        raise error("the cupboard is shut", "open the cupboard")

    report = run(probe_of(pour), {}, quick(), Stop())
    (result,) = report.results
    assert (report.severity, report.exit_code, result.status) == (Severity.UNKNOWN, 3, status)
    assert len(result.observations) == 1
    (unseen,) = result.unseen
    assert (unseen.reason, unseen.detail, unseen.hint) == (error.reason, "the cupboard is shut", "open the cupboard")
    assert result.findings[0].rule == f"target.{error.reason}"
    assert result.findings[0].next_step == "open the cupboard"


def test_a_lost_target_never_hides_what_is_critical():
    def pour(host):
        yield from cups(0.95)(host)
        raise Unreachable("gone")

    assert run(probe_of(pour), {}, quick(), Stop()).exit_code == 2


def test_a_bug_ends_in_a_report_with_its_trace_and_without_secrets():
    def pour(host):
        yield from cups(0.95)(host)
        raise KeyError("--password=hunter2hunter2")

    report = run(probe_of(pour), {}, quick(), Stop())
    (result,) = report.results
    assert (report.exit_code, result.status) == (70, "error")
    assert len(result.observations) == 1
    lost = next(f for f in result.findings if f.rule == engine.INTERNAL)
    assert (lost.severity, "--record" in lost.next_step) == (Severity.UNKNOWN, True)
    assert "KeyError" in result.unseen[0].detail
    assert "Traceback" in result.unseen[0].detail
    assert "hunter2" not in repr(report)


def test_bad_usage_that_only_a_probe_can_know_is_raised():
    def pour(host):
        raise UsageError("name a cup")
        yield

    with pytest.raises(UsageError, match="name a cup"):
        run(probe_of(pour), {}, quick(), Stop())


# ── the deadline ─────────────────────────────────────────────────────────────────────────────────


def hang_after(level, question):
    def pour(host):
        yield from cups(level)(host)
        host.ask(question)

    return pour


def test_a_probe_that_hangs_ends_in_time_with_what_was_yielded_and_is_not_ok(tmp_path):
    question = Hangs()
    began = time.monotonic()
    settings = quick(0.2, record=tmp_path / "case")
    report = run(probe_of(hang_after(0.1, question)), {}, settings, Stop())
    assert time.monotonic() - began < 0.2 + 4
    (result,) = report.results
    assert len(result.observations) == 1
    assert (result.status, report.severity, report.exit_code) == ("timeout", Severity.UNKNOWN, 3)
    assert result.unseen[0].reason == "timeout"
    question.over.set()

    again = run(probe_of(hang_after(0.1, question)), {}, quick(replay=tmp_path / "case"), Stop())
    assert again._replace(cost=report.cost) == report


def test_a_probe_that_sums_up_at_the_deadline_is_heard():
    def pour(host):
        try:
            host.sleep(30)
        except TimedOut as error:
            yield error.unseen("the rest")
        yield from cups(0.1, 0.6)(host)

    began = time.monotonic()
    report = run(probe_of(pour), {}, quick(0.2), Stop())
    assert time.monotonic() - began < 0.2 + 4
    (result,) = report.results
    assert (len(result.observations), result.status, report.exit_code) == (2, "timeout", 1)


# ── interrupts ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def stop():
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    made = Stop()
    made.install()
    yield made
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_it_with_what_was_seen(stop, number, code, tmp_path):
    def pour(host):
        yield from cups(0.1)(host)
        signal.pthread_kill(threading.main_thread().ident, number)
        host.sleep(30)

    began = time.monotonic()
    report = run(probe_of(pour), {}, quick(record=tmp_path / "case.tar.gz"), stop)
    assert time.monotonic() - began < GRACE + 0.5
    (result,) = report.results
    assert (report.exit_code, report.interrupted, result.status) == (code, True, "partial")
    assert len(result.observations) == 1
    assert result.unseen[0].reason == "interrupted"
    assert ReplayHost(tmp_path / "case.tar.gz").cut_short == "interrupted"


def test_an_interrupt_of_a_probe_that_does_not_listen(stop):
    question = Hangs()

    def pour(host):
        yield from cups(0.95)(host)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        host.ask(question)

    began = time.monotonic()
    report = run(probe_of(pour), {}, quick(), stop)
    question.over.set()
    assert time.monotonic() - began < GRACE + 0.5
    assert (report.exit_code, report.results[0].unseen[0].reason) == (130, "interrupted")
    assert report.severity is Severity.CRITICAL


def test_an_interrupt_before_the_start_is_not_lost(stop):
    signal.raise_signal(signal.SIGINT)

    def pour(host):
        host.sleep(30)
        yield from cups(0.1)(host)

    began = time.monotonic()
    report = run(probe_of(pour), {}, quick(), stop)
    assert (report.exit_code, time.monotonic() - began < GRACE + 0.5) == (130, True)


# ── replay ───────────────────────────────────────────────────────────────────────────────────────


def test_a_recording_of_another_probe_is_refused(tmp_path):
    run(probe_of(cups(0.1)), {}, quick(record=tmp_path / "case"), Stop())
    other = Probe("saucer", cups(0.1), (CUP,), (Cup,), (), "opsdoc saucer", 30.0)
    with pytest.raises(UsageError, match="is a recording of 'cup'"):
        run(other, {}, quick(replay=tmp_path / "case"), Stop())
