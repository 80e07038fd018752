"""Markdown for a ticket: what outside text says is shown, never obeyed."""

from __future__ import annotations

import io

import pytest
from unit import sample_report

from opsdoc.model import Report
from opsdoc.render import render
from opsdoc.render.markdown import code, escape

markdown_it = pytest.importorskip("markdown_it", reason="comes with rich")


def page_of(report: Report) -> str:
    out = io.StringIO()
    render(report, "md", out)
    return out.getvalue()


def as_html(page: str) -> str:
    return markdown_it.MarkdownIt("commonmark").enable("table").enable("strikethrough").render(page)


def test_the_order_of_the_page():
    headings = [line for line in page_of(sample_report.critical()).splitlines() if line.startswith("#")]
    assert headings == [
        "# CRITICAL: order-service burns a whole core in OrderPricer.recalculate (OrderPricer.java:88)",
        "## What could not be seen",
        "## CRITICAL: order-service burns a whole core in OrderPricer.recalculate (OrderPricer.java:88)",
        "## WARNING: 5 threads want to run on 2 cores: everything else on web-07 waits for a turn",
        "## Ruled out, or in order",
        "## cpu on localhost",
        "## What the look has cost",
    ]


def test_tables_are_tables():
    assert as_html(page_of(sample_report.critical())).count("<table>") == 6


@pytest.mark.parametrize(
    "text",
    [
        "| a | b |",
        "<script>alert(1)</script>",
        "**b** _i_ __s__ ~~d~~",
        "[a](http://b)",
        "![i](x)",
        "# h",
        "- l",
        "+ l",
        "1. l",
        "1) l",
        "> q",
        "`c` ``d``",
        "```",
        "~~~",
        "---",
        "===",
        "&lt;",
        "\\*",
        "<!--",
        "a_b_c",
        "* l",
        "http://a",
        "    indented",
        "\\",
        "``",
        "`",
    ],
)
def test_text_and_code_come_out_as_they_are(text):
    import html
    import re

    for page in (f"{escape(text)}\n", f"x {code(text)}\n", f"| {escape(text)} |\n| --- |\n"):
        shown = html.unescape(re.sub(r"<[^>]+>", "", as_html(page)))
        assert text.strip() in shown
    assert "<script" not in as_html(escape(text))
    assert not re.search(r"<(a|img|em|strong|h\d|li|blockquote|pre|hr|s)\b", as_html(f"{escape(text)}\n"))


def test_a_fence_is_longer_than_any_run_of_ticks():
    hostile = sample_report.HOT._replace(by_hand=("```` ; echo", "```", "# not a heading"))
    page = page_of(sample_report.report(sample_report.result(findings=(hostile,))))
    assert "`````sh\n```` ; echo\n```\n# not a heading\n`````" in page


def test_a_long_report_is_cut_under_32_kb_and_says_so():
    many = [sample_report.process(i, f"worker {i} " + "x" * 1900, 0.01) for i in range(500)]
    page = page_of(sample_report.report(sample_report.result(*many)))
    assert len(page.encode()) <= 32_768
    assert "showing 8 of 500 (full list in the JSON)" in page
    assert "Shortened to fit 32 KB" in page


def test_a_monstrous_report_is_cut_outside_a_fence_and_says_so():
    found = [sample_report.HOT._replace(key=f"k{i}", summary=f"批{i}" * 3000) for i in range(200)]
    page = page_of(sample_report.report(sample_report.result(findings=tuple(found))))
    assert len(page.encode()) <= 32_768
    assert page.endswith("\nCut at 32 KB; the full report is in the JSON.\n")
    assert page.count("\n```") % 2 == 0
