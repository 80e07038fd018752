"""The terminal: the first line is the answer, columns hold, a pipe and an old terminal lose nothing."""

from __future__ import annotations

import io
import re

import pytest
from unit import sample_report

from opsdoc.model import Frame
from opsdoc.render import render, words
from opsdoc.render.stack import folded, marked


def text(report, **options) -> str:
    out = io.StringIO()
    render(report, "text", out, **options)
    return out.getvalue()


def test_the_critical_case_reads_as_designed():
    lines = text(sample_report.critical()).splitlines()
    assert lines[0] == "opsdoc cpu · web-07 · 14:02:11 +08:00 · 2.0 s window"
    assert lines[2] == "CRITICAL  order-service burns a whole core in OrderPricer.recalculate (OrderPricer.java:88)"
    assert re.match(r"  process   2609 java .*…\S+  1\.02 cores   user app · runtime jvm · container 3f9c1a$", lines[4])
    assert re.match(r"  thread    2854 0xb26 order-worker-3 +0\.98 cores   state RUNNABLE · 9 of 10 samples$", lines[5])
    assert re.match(r" {14}com\.acme\.OrderPricer\.recalculate +OrderPricer\.java:88 +◀$", lines[6])
    labels = [line.strip().split("  ")[0] for line in lines if re.match(r"  \w", line)]
    assert labels[2:6] == ["box", "not it", "next", "by hand"]
    assert labels[-2:] == ["unseen", "cost"]
    assert "  not it    GC 0.3 % · JIT 0 % · kernel 4 % · throttling none · 2 forks/s" in lines
    assert "  by hand   top -Hp 2609 ; jstack -l 2609 | grep -C 8 'nid=0xb26'" in lines
    assert lines[-1] == "  cost      2.3 s · 0.19 CPU-s · paused pid 2609 once for 18 ms"


@pytest.mark.parametrize("name", sample_report.ALL)
@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_line_is_wider_than_the_terminal(name, width):
    for line in text(sample_report.ALL[name](), width=width).splitlines():
        assert words.cells(line) <= width
        assert line == line.rstrip()


def test_nothing_wrong_is_one_line_what_was_looked_at_and_no_more():
    shown = text(sample_report.idle())
    assert "OK        nothing wrong: 97 % of 2 cores idle; no process above 0.10 cores" in shown
    assert "5 of 143 processes" in shown
    assert "not it" not in shown
    assert "unseen" not in shown


def test_numbers_stand_beneath_each_other_beside_wide_characters():
    rows = [line for line in text(sample_report.top()).splitlines() if " cores " in line]
    assert len(rows) == 5
    assert len({words.cells(row[: row.index(" cores")]) for row in rows}) == 1


def test_commands_and_hints_are_never_broken():
    shown = text(sample_report.denied(), width=60)
    assert "to see it: sudo /opt/opsdoc/bin/opsdoc cpu" in shown
    assert "sudo -u app jstack -l 2609 | grep -C 8 'nid=0xb26'" in shown


def test_alike_blind_spots_are_told_once():
    assert "stack of 2850, stack of 2851, stack of 2852 + 9 more: attach needs" in text(sample_report.denied())


def test_an_interrupted_run_says_so_in_its_first_line():
    assert text(sample_report.interrupted()).splitlines()[0].endswith("interrupted")


def test_what_is_in_order_but_not_ruled_out_is_told_in_one_paragraph():
    found = sample_report.result(
        findings=(sample_report.RUNNABLE, *sample_report.CLEARED), observations=(sample_report.box(),)
    )
    assert "OK        GC 0.3 % · JIT 0 % · kernel 4 %" in text(sample_report.report(found))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk"])
def test_an_old_encoding_gets_spelled_marks_and_no_error(encoding):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    for verbose in (False, True):
        render(sample_report.critical(), "text", out, verbose=verbose)
    out.flush()
    shown = raw.getvalue().decode(encoding)
    assert "OrderPricer.recalculate" in shown
    if encoding == "ascii":
        assert "opsdoc cpu, web-07, 14:02:11 +08:00, 2.0 s window" in shown
        assert "<-" in shown
        assert "..." in shown


def test_colour_changes_no_character():
    plain = text(sample_report.critical(), width=80)
    colored = text(sample_report.critical(), width=80, color=True)
    assert "\x1b[1;31mCRITICAL" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain


def test_markup_of_outside_text_is_not_obeyed():
    hostile = sample_report.HOT._replace(summary="[red]x[/closed] [link=http://a]b[/link] :smile:")
    shown = text(sample_report.report(sample_report.result(findings=(hostile,))), color=True)
    assert "[red]x[/closed] [link=http://a]b[/link] :smile:" in re.sub(r"\x1b\[[0-9;]*m", "", shown)


def test_verbose_shows_every_field_and_every_reason():
    shown = text(sample_report.critical(), verbose=True, width=300)
    assert sample_report.COMMAND in shown
    assert "unknown (no NSpid in this kernel)" in shown
    assert "hot.thread_cpu 0.98 cores · warning from 0.50 cores · critical from 0.90 cores" in shown
    assert "java.lang.Thread.run" in shown
    assert "I/O pressure, 10 s: unknown (no /proc/pressure in this kernel)" in shown


def test_records_stand_in_a_table_beneath_their_row_and_only_when_all_is_asked_for():
    assert "8,098" not in text(sample_report.parts(), width=140)
    shown = text(sample_report.parts(), verbose=True, width=140)
    heading = next(line for line in shown.splitlines() if line.strip().startswith("servers  "))
    row = next(line for line in shown.splitlines() if "10.3.1.8:8080  " in line and "refused" in line)
    assert " ".join(heading.split()) == "servers attempts failed share expected share p50 p95 state now"
    assert row.split("  ")[-1] == "refused"
    assert heading.index("p95") + len("p95") == row.index("153 ms") + len("153 ms")
    assert "p50 unknown: no answer was timed" in shown


def test_records_that_are_too_wide_for_columns_flow():
    shown = text(sample_report.parts(), verbose=True, width=80)
    assert "10.3.1.8:8080 · attempts 8,098 · failed 812 · share 33 %" in shown
    assert re.search(r"p95 153 ms(?: · |\n +)state failing(?: · |\n +)now refused\n", shown)


def test_headings_stand_in_as_many_lines_as_the_width_asks_for():
    lines = text(sample_report.parts(), width=80).splitlines()
    last = next(number for number, line in enumerate(lines) if re.match(r"  upstream group +lost +requests", line))
    assert lines[last - 1].split() == ["requests", "without", "a", "made", "good", "a", "retry"]
    assert lines[last].split() == [
        "upstream",
        "group",
        "lost",
        "requests",
        "live",
        "server",
        "by",
        "a",
        "retry",
        "costs",
    ]
    assert "upstream group  requests lost  requests  without a live" in text(sample_report.parts(), width=120)


def test_a_long_list_of_records_is_cut_and_counted():
    many = tuple(sample_report.PARTS[0]._replace(server=f"10.4.0.{n}:80") for n in range(70))
    report = sample_report.report(sample_report.result(sample_report.group(1, "big", many)))
    shown = text(report, verbose=True, width=140)
    assert "10.4.0.49:80" in shown
    assert "10.4.0.50:80" not in shown
    assert "+ 20 more, all of them in the JSON" in shown


def test_runtime_frames_are_folded_and_the_first_app_frame_is_marked():
    waiting = (
        [Frame("read", origin="runtime")] * 4 + [Frame("app.a"), Frame("app.b")] + [Frame("run", origin="library")]
    )
    lines = marked(folded(waiting))
    assert [(line.frame.function, line.folded, line.marked) for line in lines] == [
        ("read", 3, False),
        ("app.a", 0, True),
        ("app.b", 0, False),
        ("run", 0, False),
    ]


def test_a_deep_stack_is_cut_and_counted():
    lines = folded([Frame(f"recurse{i}") for i in range(1000)], 8)
    assert len(lines) == 8
    assert lines[-1].folded == 992
