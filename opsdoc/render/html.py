"""The report as one page of HTML that needs no script, no network and no style to be complete."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from opsdoc.model import Finding, Observation, ProbeResult, Report, Severity
from opsdoc.render import words
from opsdoc.render.embedded import Data
from opsdoc.render.part_bars import PicturedParts, pictured_parts
from opsdoc.render.pictures import Bars, Strip, bars_of, strip_of
from opsdoc.render.rows import in_words
from opsdoc.render.stack import Line, marked
from opsdoc.render.story import Looked, Story, Told, clock, limit_words, looked_at
from opsdoc.render.tables import Table, frames_of, table_of
from opsdoc.render.timeline import Span, timeline

_CAP = 5_000_000


@dataclass(frozen=True, slots=True)
class Measure:
    """How much of a report a page holds; what is left out is stated, and stands in the JSON."""

    rows: int
    frames: int
    text: int
    detailed: int
    listed: int
    json: int


_NO_ANCHOR = re.compile(r"[^\w.-]+")

# Each is tried in turn until the page is under the cap.
_MEASURES = (
    Measure(rows=50, frames=200, text=4000, detailed=50, listed=10_000, json=4_000_000),
    Measure(rows=20, frames=40, text=400, detailed=20, listed=2_000, json=1_000_000),
    Measure(rows=5, frames=12, text=120, detailed=5, listed=500, json=0),
)


def render(report: Report, out: TextIO, **_: Any) -> None:
    """Write the page; characters that the output cannot carry become character references."""
    page = ""
    data = Data(report)
    for measure in _MEASURES:
        page = _page(report, measure, data)
        if len(page.encode("utf-8")) <= _CAP:
            break
    encoding = getattr(out, "encoding", None) or "utf-8"
    out.write(page.encode(encoding, "xmlcharrefreplace").decode(encoding))


def _page(report: Report, measure: Measure, data: Data) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: _finalized(value, measure.text),
    )
    environment.filters["size"] = words.size
    environment.filters["duration"] = words.duration
    environment.filters["clock"] = lambda stamp: clock(stamp, date=True)
    return environment.get_template("report.html.j2").render(page=Page(report, measure, data)) + "\n"


def _finalized(value: Any, most: int) -> Any:
    """Everything that is put into the page: outside text made visible, what is too long cut and said so."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = words.visible(value)
    if len(text) <= most:
        return text
    return f"{words.shorten(text, most)} (cut from {len(text):,} characters; all of them in the JSON)"


# ── what the template is given ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Fact:
    """One observation that a finding rests on."""

    kind: str
    subject: str
    main: str
    beside: list[str]
    anchor: str | None
    stack: list[Line]
    more_frames: int
    strip: Strip | None
    parts: list[PicturedParts]

    @property
    def has_more(self) -> bool:
        """Whether there is more of it than its row holds."""
        return bool(self.stack or self.strip or self.parts)

    @property
    def title(self) -> str:
        """What there is more of."""
        course = ["stack"] if self.stack else ["course"] if self.strip else []
        shown = ", ".join([*course, *(each.parts.title for each in self.parts)])
        return f"{shown[:1].upper()}{shown[1:]} of {self.kind} {self.subject}"


@dataclass(frozen=True, slots=True)
class Card:
    """A finding with its evidence and its pictures."""

    anchor: str
    finding: Finding
    facts: list[Fact]
    bars: list[tuple[Bars, Table]]
    ruled_out: list[tuple[str, str]]
    limit: list[str]

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return self.finding.severity


@dataclass(frozen=True, slots=True)
class Pictured:
    """A table of the whole picture, with its bars where no finding has shown them."""

    table: Table
    bars: Bars | None
    anchors: list[str]
    facts: list[Fact]


@dataclass(frozen=True, slots=True)
class Section:
    """What one probe saw."""

    name: str
    targets: str
    status: str
    severity: Severity
    tables: list[Pictured]


class Page:
    """A report in the order of the page."""

    def __init__(self, report: Report, measure: Measure, data: Data) -> None:
        self.report = report
        text, self.is_whole = data.under(measure.json)
        self.json = None if text is None else Markup(text)  # noqa: S704 - it has no `<`
        self.story = Story(report)
        self.measure = measure
        self.findings = [t.finding for t in self.story.told]
        self._anchors = dict(zip(map(id, self.findings), _anchors(f.rule for f in self.findings), strict=True))
        self._proven = [o for t in self._told_bad for o in t.evidence]
        self._looked = [looked_at(result) for result in report.results]
        self._places = _places(self._looked)
        self._pictured: set[tuple[int, str]] = set()
        self._told: set[int] = set()

    @property
    def _told_bad(self) -> list[Told]:
        return [t for t in self.story.told if t.finding.severity is not Severity.OK]

    @cached_property
    def cards(self) -> list[Card]:
        """The findings to act on, as many as the page holds in detail."""
        return [self._card(told) for told in self._told_bad[: self.measure.detailed]]

    @cached_property
    def further(self) -> list[tuple[str, Finding]]:
        """The rest of them in one line each."""
        return [(self.anchor(t.finding), t.finding) for t in self._told_bad[self.measure.detailed :]]

    @cached_property
    def cleared(self) -> list[Card]:
        """What was found to be in order, without pictures."""
        return [self._bare_card(told) for told in self.story.told if told.finding.severity is Severity.OK]

    @cached_property
    def sections(self) -> list[Section]:
        """The whole picture, probe by probe."""
        return [
            Section(
                name=f"{result.step} ({result.probe})" if result.step else result.probe,
                targets=", ".join(result.targets),
                status=result.status,
                severity=result.severity,
                tables=[self._pictured_table(number, each) for each in looked],
            )
            for number, (result, looked) in self._numbered()
        ]

    @property
    def timeline(self) -> list[Span]:
        """When each step ran."""
        return timeline(self.report)

    def anchor(self, finding: Finding) -> str:
        """The stable name of a finding within the page, from its rule."""
        return self._anchors[id(finding)]

    def _card(self, told: Told) -> Card:
        number = next(i for i, result in enumerate(self.report.results) if result is told.result)
        kinds = list(dict.fromkeys(o.kind for o in told.evidence))
        return replace(
            self._bare_card(told),
            facts=[self._fact(o) for o in told.evidence],
            bars=[pair for kind in kinds for pair in self._bars(number, kind, told.evidence)],
        )

    def _bare_card(self, told: Told) -> Card:
        finding = told.finding
        cleared = [(f.summary, self.anchor(f)) for f in self.story.ruled_out(told)]
        return Card(
            anchor=self.anchor(finding),
            finding=finding,
            facts=[],
            bars=[],
            ruled_out=[*cleared, *((rule, "") for rule in self.story.ruled_out_unsaid(told))],
            limit=limit_words(finding.threshold),
        )

    def _fact(self, observation: Observation) -> Fact:
        main, beside = in_words(observation, reasons=True)
        again = id(observation) in self._told  # its stack and its course are shown once
        self._told.add(id(observation))
        frames = () if again else frames_of(observation)
        return Fact(
            kind=words.kind_name(observation.kind),
            subject=observation.subject,
            main=main,
            beside=beside,
            anchor=self._row_anchor(observation),
            stack=marked([Line(frame) for frame in frames[: self.measure.frames]]),
            more_frames=max(0, len(frames) - self.measure.frames),
            strip=None if again else strip_of(observation),
            parts=[] if again else pictured_parts(observation, self.measure.rows),
        )

    def _numbered(self) -> Iterator[tuple[int, tuple[ProbeResult, list[Looked]]]]:
        """What each result saw, with the number of the result."""
        numbers = {id(result): number for number, result in enumerate(self.report.results)}
        return ((numbers[id(result)], (result, looked)) for result, looked in self.story.looked)

    def _row_anchor(self, observation: Observation) -> str | None:
        number, index = self._places[id(observation)]
        return f"{_prefix(number, observation.kind)}-{index}" if index < self.measure.rows else None

    def _bars(self, number: int, kind: str, evidence: Sequence[Observation]) -> Iterator[tuple[Bars, Table]]:
        if (number, kind) in self._pictured:
            return
        looked = next(each for each in self._looked[number] if each.kind == kind)
        if bars := bars_of(looked.rows, evidence):
            self._pictured.add((number, kind))
            yield bars, table_of(looked, len(bars.bars))

    def _pictured_table(self, number: int, looked: Looked) -> Pictured:
        self.cards  # noqa: B018 - what the findings have pictured is not pictured again
        table = table_of(looked, self.measure.rows)
        seen = (number, looked.kind) in self._pictured
        anchors = [f"{_prefix(number, looked.kind)}-{index}" for index in range(len(table.records))]
        facts = [self._fact(record.observation) for record in table.records]
        pictured = [fact for fact in facts if fact.has_more]
        return Pictured(table, None if seen else bars_of(looked.rows, self._proven), anchors, pictured)


def _prefix(number: int, kind: str) -> str:
    """What the anchors of the rows of a kind begin with."""
    return f"r{number}-{_NO_ANCHOR.sub('-', kind)}"


def _places(results: Sequence[Sequence[Looked]]) -> dict[int, tuple[int, int]]:
    """By the identity of each observation: the first result that has it, and its place among those of its kind."""
    places: dict[int, tuple[int, int]] = {}
    for number, looked in enumerate(results):
        for each in looked:
            for index, observation in enumerate(each.rows):
                places.setdefault(id(observation), (number, index))
    return places


def _anchors(rules: Iterator[str]) -> Iterator[str]:
    """`cpu.app-code`, and `cpu.app-code-2` where the rule speaks twice."""
    used: set[str] = set()
    for rule in rules:
        name = _NO_ANCHOR.sub("-", rule) or "finding"
        anchor, count = name, 1
        while anchor in used:
            count += 1
            anchor = f"{name}-{count}"
        used.add(anchor)
        yield anchor
