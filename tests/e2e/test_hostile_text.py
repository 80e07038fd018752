"""Names and arguments that attack whoever reads them come out of every format as the same visible text."""

from __future__ import annotations

import re

import pytest
from servers import programs
from servers.cli import CALM

# What a terminal, an editor or a browser would obey. A JSON string holds them as escapes only.
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
HOT = ("--limit", "hot.thread_cpu=0.02:0.05")  # a finding, whatever share of the CPUs the box has left
FILES = ("r.txt", "r.json", "r.md", "r.html")
VISIBLE = (
    "two\\nlines",
    "\\x1b[31mred\\x1b[0m\\x07",
    "[bold]x[/nothing]",
    "\\r\\x08\\x08overwritten",
    "\\u202egnp.exe",
)


def texts(run, folder):
    """What was written: standard output and the files, by name."""
    return {"stdout": run.stdout, **{name: (folder / name).read_text() for name in FILES}}


def shown(name, text):
    """A format's text as its reader gets it, without the format's own escapes and line breaks."""
    import html
    import json

    if name.endswith(".json"):
        text = " ".join(o.get("command") or "" for r in json.loads(text)["results"] for o in r["observations"])
        for char, escape in (("\n", "\\n"), ("\r", "\\r"), ("\x1b", "\\x1b"), ("\x07", "\\x07"), ("\x08", "\\x08")):
            text = text.replace(char, escape)
        return text.replace("\u202e", "\\u202e")
    text = html.unescape(text)
    return re.sub(r"\\([\[\]\\<>_*`|~#!-])", r"\1", text) if name.endswith(".md") else text


def written(opsdoc, *args):
    return opsdoc(*args, *(word for name in FILES for word in ("-o", name)), "-v")


def test_hostile_arguments_are_visible_in_every_format(opsdoc, start, tmp_path):
    program = start(programs.pose, ["shop", *programs.HOSTILE_ARGS], comm="my) sh[op]", duty=0.2)
    run = written(opsdoc, "cpu", "--pid", program.pid, *HOT, *CALM)
    for name, text in texts(run, tmp_path).items():
        assert ACTING.findall(text) == [], name
        for wanted in VISIBLE:
            assert wanted in shown(name, text), name


def test_a_process_named_like_a_script_is_text(opsdoc, start, browser, tmp_path):
    with start(programs.script_tag).hot() as program:
        run = written(opsdoc, "cpu", "--pid", program.pid, *HOT, *CALM)
    for name, text in texts(run, tmp_path).items():
        assert programs.SCRIPT_TAG in shown(name, text), name
    for javascript in (True, False):
        page = browser.show(tmp_path / "r.html", javascript=javascript)
        assert (page.dialogs, page.errors, page.requests) == ([], [], [])
        assert programs.SCRIPT_TAG in page.text


def test_a_thread_named_like_markup_is_text(opsdoc, hostile_jvm, browser, tmp_path):
    run = written(opsdoc, "cpu", "--pid", hostile_jvm.pid, *HOT, *CALM)
    for name, text in texts(run, tmp_path).items():
        if not name.endswith(".json"):
            assert "[red]x[/closed]" in shown(name, text), name
        else:
            assert "[red]x[/closed]" in text
    page = browser.show(tmp_path / "r.html")
    assert (page.dialogs, page.errors, page.requests) == ([], [], [])
    assert "[red]x[/closed]" in page.text


@pytest.mark.parametrize("color", ["always", "never"])
def test_a_terminal_obeys_nothing_of_the_names(opsdoc, hostile_jvm, color):
    run = opsdoc("threads", hostile_jvm.pid, "-n", 0, "--color", color, "--window", "200ms")
    ours = re.compile(r"\x1b\[[0-9;]*m")  # colours are ours; everything else would be theirs
    assert ACTING.findall(ours.sub("", run.stdout)) == []
    assert (ours.search(run.stdout) is not None) == (color == "always")
