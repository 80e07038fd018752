"""The HTML of every sample and of a real playbook passes the checker of the Web's own specifications."""

from __future__ import annotations

import io

import pytest
from unit import sample_report

from opsdoc.render import render


@pytest.mark.xdist_group("java")
def test_every_page_is_valid_html(html_checker, opsdoc, hot_jvm, tmp_path):
    pages = []
    for name, make in sample_report.ALL.items():
        text = io.StringIO()
        render(make(), "html", text, width=100, verbose=True)
        pages.append(tmp_path / f"{name}.html")
        pages[-1].write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")
    live = tmp_path / "live.html"
    opsdoc("run", "cpu-hot", "-p", f"pid={hot_jvm.pid}", "-p", "window=1s", "-q", "-o", live)
    assert html_checker(*pages, live) == []


def test_the_checker_sees_what_is_wrong(html_checker, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><title>x</title><p><b>never closed</p><nonsense>")
    assert html_checker(page)
