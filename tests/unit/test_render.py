"""What holds for every form: the same findings, nothing imported that is not needed."""

from __future__ import annotations

import html
import io
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


def test_an_unknown_format_is_an_error():
    with pytest.raises(ValueError, match="text, json, md, html"):
        render(sample_report.idle(), "yaml", io.StringIO())


def test_suffixes_name_formats():
    assert set(SUFFIXES.values()) == set(FORMATS)


@pytest.mark.parametrize(("form", "absent"), [("json", "rich jinja2"), ("text", "rich jinja2"), ("md", "rich jinja2")])
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
