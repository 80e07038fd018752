"""Hostile text in every field of a report comes out of every format as the same visible text."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from unit import sample_report

from opsdoc import reread
from opsdoc.model import (
    Cost,
    Finding,
    Frame,
    HostFacts,
    Observation,
    Pause,
    Point,
    ProbeResult,
    Report,
    Severity,
    Share,
    Threshold,
    Unknown,
    Unseen,
    UsageError,
    measure,
)
from opsdoc.render import FORMATS, json_v1, render
from opsdoc.render.nagios import inert
from opsdoc.render.words import visible
from opsdoc.signals.box import Box
from opsdoc.signals.hot import Process, Thread
from opsdoc.signals.peers import ServerPart, UpstreamGroup

# A whole report is a large example: shrinking one takes minutes and shows no more than the name of the field.
UNHURRIED = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "[red]x[/closed]",
    "\x1b[31m\x1b]0;t\x07",
    "a\r\nb\tc",
    "\u202eevil\u2066",
    "lone \udc80\ud800",
    "```\n# h",
    "| a | b |",
    "nul\x00",
    "<!--",
    "]]>",
    "&lt;&amp;",
    "\\x1b \\| \\",
    "`",
    "``",
    "_a_",
    "*b*",
    "批量 导入",
    "e\u0301\u0301",
    "\u2028\u2029",
    "{{ 7*7 }}{% raw %}",
    "'\"><svg/onload=alert(1)>",
    "$(reboot)",
    "javascript:alert(1)",
    "[a](javascript:b)",
    "![i](http://x)",
    "- x",
    "1. x",
    "> q",
    "# h",
    "~~~",
    "\x9b31m",
    "\ufeff",
    ":smile:",
    "\U000e0041",
    "---",
    "===",
    "+ x",
    "x" * 300,
    "A\u00adB",
    "\u00a0nb\u3000wide",
]

texts = st.builds(
    "k{}{}".format,  # a text of the sample is not empty and does not begin with a blank
    st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30), st.tuples(*[st.sampled_from(HOSTILE)] * 2).map("".join)),
    st.just("k"),
)
numbers = st.one_of(st.floats(), st.floats(0, 4), st.integers(-5, 10**12))
maybe = st.one_of(numbers, st.builds(Unknown, texts))
frames = st.lists(
    st.builds(
        Frame, texts, st.none() | texts, st.none() | st.integers(1, 999), st.sampled_from(["app", "library", "runtime"])
    ),
    max_size=4,
).map(tuple)
points = st.lists(st.builds(Point, numbers.map(float), st.none() | numbers, st.none() | texts), max_size=4).map(tuple)
shares = st.one_of(st.none(), st.builds(Share, st.integers(0, 9), st.integers(0, 9)), st.builds(Unknown, texts))

boxes = st.builds(
    Box, subject=texts, id=texts, busy=maybe, cpus=st.integers(0, 99), user=maybe, runnable=maybe, pressure=maybe
)
processes = st.builds(
    Process,
    subject=texts,
    id=texts,
    cpu=maybe,
    pid=st.integers(1),
    command=texts,
    user=texts,
    runtime=texts,
    container=texts,
)
threads = st.builds(
    Thread,
    subject=texts,
    id=texts,
    cpu=maybe,
    tid=maybe,
    name=texts,
    state=texts,
    agreement=shares,
    source=texts,
    samples=points,
    frames=frames | st.builds(Unknown, texts),
)


class Part(NamedTuple):
    """A record of a kind that nothing else knows: whatever a record may hold."""

    name: str
    size: float | Unknown | None
    failed: float | Unknown | None
    others: tuple[str, ...]
    causes: Mapping[str, float | Unknown]
    whole: bool


class Pool(Observation):
    kind: ClassVar[str] = "pool"
    size: float | Unknown = measure("size", "count", "main")
    parts: tuple[Part, ...] = measure("parts", default=(), columns={"size": "bytes"})
    largest: Part | None = measure("largest part")
    causes: Mapping[str, int] = measure("causes", default={})


server_parts = st.builds(
    ServerPart,
    server=texts,
    attempts=maybe,
    failed=maybe,
    share=st.none() | maybe,
    p95=st.none() | maybe,
    state=texts,
    now=st.none() | texts | st.builds(Unknown, texts),
)
groups = st.builds(
    UpstreamGroup,
    subject=texts,
    id=texts,
    error_share=maybe,
    requests=maybe,
    servers=st.lists(server_parts, max_size=4).map(tuple),
)
parts = st.builds(
    Part,
    name=texts,
    size=st.none() | maybe,
    failed=st.none() | maybe,
    others=st.lists(texts, max_size=2).map(tuple),
    causes=st.dictionaries(texts, maybe, max_size=2),
    whole=st.booleans(),
)
pools = st.builds(
    Pool,
    subject=texts,
    id=texts,
    size=maybe,
    parts=st.lists(parts, max_size=4).map(tuple),
    largest=st.none() | parts,
    causes=st.dictionaries(texts, st.integers(0, 99), max_size=2),
)
thresholds = st.builds(
    Threshold,
    name=texts,
    value=numbers,
    warn=numbers,
    crit=st.none() | numbers,
    unit=st.sampled_from(["cores", "ratio"]),
    source=texts,
)
unseens = st.builds(
    Unseen, subject=texts, reason=st.sampled_from(["denied", "timeout"]), detail=texts, hint=st.just("") | texts
)


@st.composite
def findings(draw, ids: list[str]) -> Finding:
    rules = st.sampled_from(["cpu.gc", "cpu.app-code"]) | texts
    return Finding(
        rule=draw(rules),
        key=draw(texts),
        severity=draw(st.sampled_from(Severity)),
        subject=draw(texts),
        summary=draw(texts),
        evidence=tuple(draw(st.lists(st.sampled_from([*ids, "missing"]), max_size=3))),
        threshold=draw(st.none() | thresholds),
        confidence=draw(st.none() | texts),
        ruled_out=tuple(draw(st.lists(rules, max_size=2))),
        next_step=draw(st.just("") | texts),
        by_hand=tuple(draw(st.lists(texts, max_size=2))),
    )


@st.composite
def results(draw) -> ProbeResult:
    observations = draw(st.lists(st.one_of(boxes, processes, threads, groups, pools), max_size=4))
    return ProbeResult(
        probe=draw(texts),
        step=draw(st.none() | texts),
        targets=tuple(draw(st.lists(texts, max_size=2))),
        status=draw(st.sampled_from(["ok", "partial", "skipped", "timeout", "denied", "error"])),
        started=draw(st.just(sample_report.STARTED) | texts),
        elapsed=draw(numbers),
        window=draw(st.none() | numbers),
        observations=tuple(observations),
        totals=draw(st.dictionaries(st.sampled_from(["process", "thread"]), st.integers(0, 999))),
        unseen=tuple(draw(st.lists(unseens, max_size=2))),
        findings=tuple(draw(st.lists(findings([o.id for o in observations]), max_size=3))),
    )


reports = st.builds(
    Report,
    title=texts,
    version=texts,
    host=st.builds(
        HostFacts,
        hostname=texts,
        kernel=st.none() | texts,
        cpus=st.none() | st.integers(0),
        memory_bytes=st.none() | st.integers(0),
        boot_time=st.none() | texts,
        virtualization=st.none() | texts,
    ),
    started=st.just(sample_report.STARTED) | texts,
    elapsed=numbers,
    results=st.lists(results(), max_size=2).map(tuple),
    cost=st.builds(
        Cost,
        wall_seconds=numbers,
        cpu_seconds=numbers,
        max_rss_bytes=st.integers(0),
        pauses=st.lists(st.builds(Pause, pid=st.integers(1), seconds=numbers, how=texts), max_size=2).map(tuple),
        target_files=st.lists(texts, max_size=2).map(tuple),
    ),
    redactions=st.dictionaries(texts, st.integers(1, 99), max_size=2),
    exit_code=st.integers(0, 255),
    interrupted=st.booleans(),
)

# ── every text of a report ───────────────────────────────────────────────────────────────────────


# What a format leaves to the others, by the name of the field: the terminal and the ticket are for reading.
FRAME = {"id", "evidence", "started", "version", "kernel", "boot_time", "virtualization"}
RECORDS = {"servers", "parts", "largest", "causes"}
LEFT_OUT = {
    "json": set(),
    "html": {"id", "evidence", "started"},
    "text": {*FRAME, "key", "how", "targets", "probe", "step"},
    "md": {*FRAME, "command", "name", "source", "label", "reason", "ruled_out", *RECORDS},
}


def said_by(report: Report, form: str) -> list[tuple[str, str]]:
    """The texts that a format must show, as it shows them, with the names of their fields."""
    if form != "nagios":
        return [(name, visible(text)) for name, text in texts_of(report, left_out=LEFT_OUT[form])]
    found = [(name, getattr(f, name)) for r in report.results for f in r.findings for name in ("summary", "rule")]
    unseen = [
        (name, getattr(u, name)) for r in report.results for u in r.unseen for name in ("subject", "detail", "hint")
    ]
    said = [(name, inert(visible(text))) for name, text in [*found, *unseen]]
    # Nagios takes 8 KB: what is longer is shortened, as tests/unit/test_render_nagios.py shows.
    return said if sum(len(text.encode()) for _, text in said) < 3_000 else []


def texts_of(value: Any, name: str = "", left_out: frozenset[str] | set[str] = frozenset()) -> list[tuple[str, str]]:
    """All texts within a report with the names of their fields, but those in fields that are left out."""
    if name in left_out:
        return []
    if isinstance(value, str):
        return [(name, value)] if value.startswith("k") else []
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in [*texts_of(key, name), *texts_of(item, name)]]
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return [found for item in value for found in texts_of(item, name, left_out)]
    names = ["subject", *value.fields()] if isinstance(value, Observation) else getattr(value, "_fields", [])
    if isinstance(value, Unknown):
        names = ["reason"]
    return [found for each in names for found in texts_of(getattr(value, each), each, left_out)]


class Texts(HTMLParser):
    """All text a reader meets, and the tags there are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: set[str] = set()
        self._hidden = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._hidden = tag in ("script", "style")
        assert not [key for key, _ in attrs if key.startswith("on")]

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self.text += data


def shown_by(report: Report, form: str) -> str:
    out = io.StringIO()
    render(report, form, out, width=100_000, verbose=True)
    page = out.getvalue()
    page.encode("utf-8")
    assert not set(page) & set("\x00\x07\x1b\x9b\x7f\u202e\u2066\u2028\u2029\ufeff\U000e0041")
    if form == "html":
        texts = Texts(page)
        assert not texts.tags & {"img", "iframe", "link", "object", "base", "form", "input"}
        return texts.text
    if form == "md":
        markdown_it = pytest.importorskip("markdown_it")
        parsed = Texts(markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(page))
        assert not parsed.tags & {"img", "a", "script", "em", "svg", "blockquote"}
        return parsed.text
    if form == "json":
        return "\n".join(visible(text) for text in _strings(json.loads(page)))
    if form == "nagios":
        assert page.count("\n") == page.count("|") == 1
        assert len(page.encode()) <= 8_192
        assert re.fullmatch(r"(?:'[^'=|]+'=[-0-9.sBU;]+ ?)+\n", page.partition(" | ")[2])
    return page


def _strings(data: Any) -> list[str]:
    if isinstance(data, str):
        return [data]
    if isinstance(data, dict):
        return [text for key, item in data.items() for text in [key, *_strings(item)]]
    return [text for item in data for text in _strings(item)] if isinstance(data, list) else []


@pytest.mark.parametrize("form", FORMATS)
@settings(UNHURRIED, max_examples=40)
@given(report=reports)
def test_every_text_comes_out_as_the_same_visible_text(form, report):
    shown = _even(shown_by(report, form))
    for name, text in said_by(report, form):
        assert _even(text) in shown, name


def _even(text: str) -> str:
    """Blanks are not compared: formats break lines."""
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("width", [1, 40, 80])
@settings(UNHURRIED, max_examples=15)
@given(report=reports, color=st.booleans(), verbose=st.booleans())
def test_no_width_and_no_encoding_fails(width, report, color, verbose):
    for encoding in ("utf-8", "ascii", "gb18030"):
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
        render(report, "text", out, width=width, color=color, verbose=verbose)
        out.flush()
        for form in ("json", "md", "html", "nagios"):
            out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
            render(report, form, out)
            out.flush()


def test_the_hostile_texts_survive_in_one_report():
    for text in HOSTILE:
        hostile = sample_report.HOT._replace(summary=f"k{text}k", subject=f"k{text}k", by_hand=(f"k{text}k",))
        report = sample_report.report(sample_report.result(*sample_report.processes(), findings=(hostile,)))
        for form in FORMATS:
            said = inert(visible(f"k{text}k")) if form == "nagios" else visible(f"k{text}k")
            assert _even(html.unescape(said)) in _even(html.unescape(shown_by(report, form)))


# ── read back ────────────────────────────────────────────────────────────────────────────────────


@settings(UNHURRIED, max_examples=60)
@given(report=reports, written=st.sampled_from(["json", "html"]))
def test_a_report_that_is_read_back_is_written_as_it_was(report, written):
    out = io.StringIO()
    render(report, written, out)
    back = reread.read(out.getvalue().encode())
    assert json_v1.as_dict(back) == json_v1.as_dict(report)
    for form in FORMATS:
        render(back, form, io.StringIO(), verbose=True)


@settings(UNHURRIED, max_examples=300)
@given(data=st.data())
def test_whatever_is_read_is_a_report_or_a_usage_error(data):
    """Any bytes, and a report with any part of it replaced, removed or repeated."""
    report = json.loads(json_v1.dumps(json_v1.as_dict(data.draw(st.sampled_from(SAMPLES))())))
    places = [place for place in _containers(report) if place]
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from(places))
        key = data.draw(st.sampled_from(sorted(place, key=str) if isinstance(place, dict) else range(len(place))))
        place[key] = data.draw(ANYTHING)
        if not place:
            places.remove(place)
    text = data.draw(st.sampled_from([json.dumps(report).encode(), b"<" + json.dumps(report).encode()]) | st.binary())
    try:
        back = reread.read(text)
    except UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    for form in FORMATS:
        render(back, form, io.StringIO(), verbose=True)


SAMPLES = [sample_report.steps, sample_report.parts]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([*HOSTILE, "ok", "critical", "box", "lock"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["seen", "of", "at", "value", "label", "id", "failed"]), inner)
    ),
    max_leaves=6,
)


def _containers(value: Any) -> list[Any]:
    items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    inner = [found for item in items for found in _containers(item)]
    return [value, *inner] if isinstance(value, dict | list) else inner
