"""One line for a monitoring system: every finding before the bar, what was measured behind it, nothing that acts."""

from __future__ import annotations

import io
import re

import pytest
from unit import sample_report

from opsdoc.model import Severity, Threshold
from opsdoc.render import render
from opsdoc.signals.hot import Process

NUMBER = r"-?\d+(?:\.\d+)?"
PERFDATUM = re.compile(rf"'([^=']+)'=(?:({NUMBER})(s|B)?|U)((?:;(?:{NUMBER})?){{0,4}})")


def line(report) -> str:
    out = io.StringIO()
    render(report, "nagios", out)
    shown = out.getvalue()
    assert shown.count("\n") == 1
    assert shown.endswith("\n")
    assert shown.count("|") == 1
    return shown[:-1]


def perfdata(report) -> dict[str, str]:
    shown = line(report).partition(" | ")[2]
    assert re.fullmatch(rf"{PERFDATUM.pattern}(?: {PERFDATUM.pattern})*", shown), shown
    found = PERFDATUM.findall(shown)
    assert len({label for label, *_ in found}) == len(found)
    return {label: f"{value or 'U'}{unit}{limits}" for label, value, unit, limits in found}


@pytest.mark.parametrize("name", sample_report.ALL)
def test_it_is_one_line_with_performance_data(name):
    report = sample_report.ALL[name]()
    assert line(report).startswith(f"OPSDOC {report.severity.name} - {report.summary}")
    assert "elapsed" in perfdata(report)


def test_the_critical_line_in_full():
    assert line(sample_report.critical()) == (
        "OPSDOC CRITICAL - order-service burns a whole core in OrderPricer.recalculate (OrderPricer.java:88) "
        "(cpu.app-code); WARNING: 5 threads want to run on 2 cores: everything else on web-07 waits for a turn "
        "(box.run-queue); OK: GC 0.3 % (cpu.gc), JIT 0 % (cpu.jit), kernel 4 % (cpu.kernel), throttling none "
        "(cpu.throttled), 2 forks/s (cpu.forks); unseen: kernel stack of 2854 (reading it needs root; to see it: "
        "sudo /opt/opsdoc/bin/opsdoc cpu) | 'elapsed'=2.31s;;;0 'hot.thread_cpu java/order-worker'=0.98;0.5;0.9;0;2 "
        "'box.runnable web-07'=5;4;16;0 'box busy'=0.974;;;0;1"
    )


def test_what_the_sentence_has_said_is_not_said_again():
    shown = line(sample_report.idle())
    assert shown.startswith(
        "OPSDOC OK - nothing wrong: 97 % of 2 cores idle; no process above 0.10 cores; OK: cpu.saturated, cpu.app-code"
    )


def test_the_step_tells_series_of_one_name_apart():
    found = sample_report.result(sample_report.box(), findings=(sample_report.HOT,))
    twice = sample_report.report(found._replace(step="before"), found._replace(step="after"))
    assert {"before box busy", "after box busy"} < set(perfdata(twice))
    assert {"before hot.thread_cpu java/order-worker", "after hot.thread_cpu java/order-worker"} < set(perfdata(twice))


def test_units_limits_and_what_is_unknown():
    limits = {
        "a.seconds": (Threshold("a.seconds", 90.0, 60.0, None, "seconds", ""), "90s;60;;0"),
        "a.bytes": (Threshold("a.bytes", 2**40, 1024, 2**41, "bytes", ""), "1099511627776B;1024;2199023255552;0"),
        "a.ratio": (Threshold("a.ratio", 0.5, 1e-7, 0.9, "ratio", ""), "0.5;0;0.9;0;1"),
        "a.nan": (Threshold("a.nan", float("nan"), 1.0, float("inf"), "count", ""), "U;1;;0"),
        "a.less": (Threshold("a.less", -1e-9, 1.0, None, "per_second", ""), "0;1;;0"),
    }
    findings = tuple(sample_report.HOT._replace(key="cpu.app-code", threshold=limit) for limit, _ in limits.values())
    got = perfdata(sample_report.report(sample_report.result(sample_report.box(busy=float("nan")), findings=findings)))
    assert {name: got[name] for name in limits} == {name: said for name, (_, said) in limits.items()}
    assert got["box busy"] == "U;;;0;1"


def test_what_passes_is_no_series():
    shown = perfdata(sample_report.critical())
    assert not [label for label in shown if "order-worker-3" in label or label.startswith("process")]
    assert "pid" in Process.fields()


def test_outside_text_ends_neither_the_line_nor_the_label_nor_opens_a_tag():
    hostile = "a\nb | 'c'=1;2 <script>x</script> <b 1 < 2 \x1b[31m"
    finding = sample_report.HOT._replace(summary=hostile, key=f"cpu.app-code:{hostile}", rule="cpu.app-code")
    shown = line(sample_report.report(sample_report.result(findings=(finding,))))
    assert r"a\nb \x7c 'c'=1;2 \x3cscript>x\x3c/script> \x3cb 1 < 2 \x1b[31m" in shown
    assert r"'hot.thread_cpu a\nb \x7c _c__1;2 \x3cscript" in shown
    perfdata(sample_report.report(sample_report.result(findings=(finding,))))


def test_a_monstrous_line_is_cut_before_its_performance_data_and_says_so():
    found = tuple(
        sample_report.HOT._replace(key=f"cpu.app-code:{i}", summary=f"批{i} " * 50, severity=Severity(1 + i % 3))
        for i in range(1000)
    )
    report = sample_report.report(sample_report.result(sample_report.box(), findings=found))
    assert len(line(report).encode()) <= 8_192
    assert "findings more, all of them in the JSON" in line(report)
    assert perfdata(report)["elapsed"] == "2.31s;;;0"


def test_an_old_encoding_gets_escapes():
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    finding = sample_report.HOT._replace(summary="批量")
    render(sample_report.report(sample_report.result(findings=(finding,))), "nagios", out)
    out.flush()
    assert rb"OPSDOC CRITICAL - \u6279\u91cf" in raw.getvalue()
