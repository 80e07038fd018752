"""What holds for every form: the same findings, nothing imported that is not needed."""

from __future__ import annotations

import html
import io
import json
import re
import subprocess
import sys

import pytest
from unit import sample_report

from opsdoc.model import Report, Severity
from opsdoc.render import FORMATS, SUFFIXES, render


def rendered(report: Report, form: str, **options) -> str:
    out = io.StringIO()
    render(report, form, out, **options)
    return out.getvalue()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", sample_report.ALL)
def test_every_finding_of_the_json_stands_in_every_format(name, form):
    report = sample_report.ALL[name]()
    page = rendered(report, form, width=1000)
    if form == "html":
        page = html.unescape(page.partition('<script type="application/json"')[0])
    for finding in (f for result in report.results for f in result.findings):
        assert finding.summary in page
        if form != "text":
            assert finding.rule in page


@pytest.mark.parametrize("form", FORMATS)
def test_every_blind_spot_stands_in_every_format(form):
    page = rendered(sample_report.critical(), form, width=1000)
    assert "kernel stack of 2854" in page
    assert "sudo /opt/opsdoc/bin/opsdoc cpu" in page


@pytest.mark.parametrize("form", FORMATS)
def test_a_report_without_results_is_unknown_and_does_not_fail(form):
    page = rendered(sample_report.report(), form)
    assert "nothing was measured" in page
    assert Severity.UNKNOWN.word in page.lower()


@pytest.mark.parametrize("form", FORMATS)
def test_a_result_without_findings_is_never_reported_as_nothing_wrong(form):
    silent = sample_report.result(probe="stack", status="skipped", observations=())
    well = sample_report.result(findings=(sample_report.cleared("cpu.gc", "GC 0.3 %"),))
    report = sample_report.report(silent, well)
    assert report.severity is Severity.UNKNOWN
    page = rendered(report, form, width=1000)
    assert "not everything could be judged: stack came to no verdict" in page


def test_how_each_step_ended_stands_in_every_format():
    report = sample_report.steps()
    said = "hot ok 2.2 s · stacks ok 400 ms · db timeout 5.0 s · gc skipped"
    assert f"steps     {said}" in rendered(report, "text")
    assert f"Steps: {said}" in rendered(report, "md")
    page = html.unescape(re.sub(r"(?:<[^>]+>)+", " ", rendered(report, "html").partition("<script")[0]))
    assert "db top 10.3.1.9:3306 timeout 2.0 s 5.0 s" in page
    assert "gc threads skipped — —" in page
    ends = {each["step"]: each["status"] for each in json.loads(rendered(report, "json"))["results"]}
    assert ends == {"hot": "ok", "stacks": "ok", "db": "timeout", "gc": "skipped", None: "partial"}
    line = rendered(report, "nagios")
    assert "10.3.1.9:3306 did not answer within 5 s (target.timeout)" in line
    assert "step gc: not needed: not steps.hot.gc (step.skipped)" in line


def test_a_playbooks_own_finding_is_the_headline_and_its_evidence_stands_once():
    report = sample_report.steps()
    assert rendered(report, "text").splitlines()[2].startswith("CRITICAL  one thread of order-service owns a core")
    page = rendered(report, "html").partition("<script")[0]
    assert "playbook" not in re.findall(r"<h3>(.*?)</h3>", page)
    hrefs, ids = set(re.findall(r'href="#(r[^"]+)"', page)), set(re.findall(r'id="(r[^"]+)"', page))
    assert {"r0-process-0", "r0-thread-0"} <= hrefs <= ids


def test_an_unknown_format_is_an_error():
    with pytest.raises(ValueError, match="text, json, md, html, nagios"):
        render(sample_report.idle(), "yaml", io.StringIO())


def test_suffixes_name_formats():
    assert set(SUFFIXES.values()) == set(FORMATS) - {"nagios"}  # a line for a monitoring system is no file


@pytest.mark.parametrize(
    ("form", "absent"),
    [("json", "rich jinja2"), ("text", "rich jinja2"), ("md", "rich jinja2"), ("nagios", "rich jinja2")],
)
def test_only_what_a_format_needs_is_imported(form, absent):
    program = (
        "import io, sys; from unit import sample_report; from opsdoc.render import render;"
        f"render(sample_report.critical(), {form!r}, io.StringIO());"
        f"print([name for name in {absent.split()!r} if name in sys.modules])"
    )
    path = [entry for entry in sys.path if entry]
    child = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {program}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.stdout.strip() == "[]", child.stderr
