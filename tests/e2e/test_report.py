"""`opsdoc report`: what a run has saved is rendered again, later and anywhere, with the same verdict."""

from __future__ import annotations

import io
import json
import shlex
import time

import pytest
from servers.cli import CALM
from unit import sample_report

from opsdoc.render import FORMATS, render


def written(report, form):
    out = io.StringIO()
    render(report, form, out)
    return out.getvalue()


@pytest.fixture
def saved(opsdoc):
    """A critical report beside the command, as c.json and c.html."""
    for suffix in ("json", "html"):
        (opsdoc.folder / f"c.{suffix}").write_text(written(sample_report.critical(), suffix))
    return opsdoc


def test_a_run_is_rendered_again_from_its_json_and_from_its_page(opsdoc):
    run = opsdoc("top", "--window", "500ms", "-o", "r.json", "-o", "r.html", "-o", "r.md", *CALM)
    for source in ("r.json", "r.html"):
        again = opsdoc("report", source, "-o", "again.json", "-o", "again.html", "-o", "again.md")
        assert (again.code, again.stdout, again.stderr) == (run.code, run.stdout, "")
        for suffix in ("json", "html", "md"):
            assert (opsdoc.folder / f"again.{suffix}").read_bytes() == (opsdoc.folder / f"r.{suffix}").read_bytes()
            assert (opsdoc.folder / f"again.{suffix}").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_on_standard_output(saved, form):
    run = saved("report", "c.html", "-f", form)
    assert (run.code, run.stderr) == (2, "")
    assert run.stdout == written(sample_report.critical(), form)


def test_standard_input_and_json_keep_the_schema(saved):
    for source in ("c.json", "c.html"):
        run = saved.json("report", "-", stdin=(saved.folder / source).read_bytes())
        assert run.stdout == (saved.folder / "c.json").read_text()


def test_nagios_is_one_line_from_a_run_too(opsdoc):
    run = opsdoc("top", "--window", "500ms", "-f", "nagios", *CALM)
    assert run.code == 0
    assert run.stdout.count("\n") == 1
    assert run.stdout.startswith("OPSDOC OK - ")
    assert " | 'elapsed'=" in run.stdout
    assert "'box busy'=" in run.stdout


@pytest.mark.parametrize(
    ("changes", "options", "code"),
    [
        ({}, "", 2),
        ({}, "--exit-zero", 0),
        ({"exit_code": 0}, "", 0),  # the run was told --exit-zero or --fail-on
        ({"exit_code": 130, "interrupted": True}, "", 2),  # this one was not interrupted
        ({"exit_code": 70}, "", 2),
    ],
)
def test_the_exit_code_is_that_of_the_report(opsdoc, changes, options, code):
    report = sample_report.critical()._replace(**changes)
    assert opsdoc("report", "-", *options.split(), stdin=written(report, "json").encode()).code == code


def test_options_of_the_output(saved):
    assert saved("report", "c.json", "-q", "-o", "r.txt").stdout == ""
    assert "java.lang.Thread.run" in (saved.folder / "r.txt").read_text()
    assert "java.lang.Thread.run" not in saved("report", "c.json").stdout
    assert "java.lang.Thread.run" in saved("report", "c.json", "-v").stdout
    assert "\x1b[1;31mCRITICAL" in saved("report", "c.json", "--color", "always").stdout


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("report", "missing FILE; see 'opsdoc report --help'"),
        ("report no.json", "cannot read no.json: No such file or directory"),
        ("report .", "cannot read .: Is a directory"),
        ("report -", "standard input: the report is empty"),
        ("report notes.md", "notes.md: not a report of opsdoc: it is neither JSON nor HTML"),
        ("report newer.json", "has the schema opsdoc.report/2, and this opsdoc reads opsdoc.report/1"),
        ("report cut.json", "cut.json: not whole JSON"),
        ("report c.json -o r.htlm", "its suffix names no format"),
        ("report c.json --json -f md", "--json and --format md contradict each other"),
        ("report c.json -f nagois", "did you mean 'nagios'"),
    ],
)
def test_what_cannot_be_rendered_is_one_line_with_64(saved, line, words):
    whole = (saved.folder / "c.json").read_text()
    (saved.folder / "notes.md").write_text("# Notes\n")
    (saved.folder / "newer.json").write_text(whole.replace("opsdoc.report/1", "opsdoc.report/2"))
    (saved.folder / "cut.json").write_text(whole[: len(whole) // 2])
    before = sorted(saved.folder.iterdir())
    run = saved(*shlex.split(line))
    assert (run.code, run.stdout) == (64, "")
    assert run.stderr.startswith("opsdoc: ")
    assert run.stderr.count("\n") == 1
    assert words in run.stderr
    assert sorted(saved.folder.iterdir()) == before


def test_ten_thousand_threads_become_a_page_that_a_browser_can_bear(opsdoc):
    many = [sample_report.thread(i, f"worker-{i}", 0.01, frames=sample_report.FRAMES) for i in range(10_000)]
    report = sample_report.report(sample_report.result(*many, findings=(sample_report.HOT,), totals={}))
    (opsdoc.folder / "big.json").write_text(written(report, "json"))
    started = time.process_time()
    render(report, "html", io.StringIO())
    assert time.process_time() - started < 5
    run = opsdoc("report", "big.json", "-q", "-o", "big.html")
    assert (run.code, run.stderr) == (2, "")
    assert run.cpu < 10
    page = (opsdoc.folder / "big.html").read_text()
    assert len(page.encode()) < 5_000_000
    assert "showing 50 of 10,000 (full list in the JSON)" in page
    assert "Its lists are cut" in page
    shown = json.loads(opsdoc("report", "big.html", "--json").stdout)["results"][0]
    assert (shown["total"]["thread"], shown["shown"]["thread"]) == (10_000, 200)
