"""The report as Markdown to paste into a ticket: at most 32 KB, and outside text can neither break out nor act."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from opsdoc.model import Finding, Observation, Report, Severity
from opsdoc.render import words
from opsdoc.render.rows import in_words
from opsdoc.render.stack import Line, marked
from opsdoc.render.story import Looked, Story, Told, clock, limit_words
from opsdoc.render.tables import frames_of, table_of
from opsdoc.render.timeline import timeline
from opsdoc.render.trees import lines_of, trees_of
from opsdoc.render.ways import ways_of

_CAP = 32_000  # bytes
# What Markdown obeys: anywhere in a text, and at its beginning.
_ACTING = re.compile(r"[\\`*\[\]<>|~#!]|(?<![^\W_])_|_(?![^\W_])")
_BEGINNING = re.compile(r"^(?:([-+=])|(\d+)([.)])| )")


@dataclass(frozen=True, slots=True)
class Measure:
    """How much of a report a page holds."""

    rows: int
    frames: int
    text: int
    proven: int


# Each is tried in turn until the page is under the cap.
_MEASURES = (
    Measure(rows=20, frames=40, text=4000, proven=50),
    Measure(rows=8, frames=12, text=300, proven=8),
    Measure(rows=3, frames=6, text=120, proven=2),
)


def render(report: Report, out: TextIO, **_: Any) -> None:
    """Write the page; what had to be left out is said at its end."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    page = ""
    for number, measure in enumerate(_MEASURES):
        page = _Markdown(report, measure).text()
        if number:
            page += "\nShortened to fit 32 KB; the full report is in the JSON.\n"
        if len(page.encode("utf-8")) <= _CAP:
            break
    else:
        page = _cut(page)
    out.write(page.encode(encoding, "xmlcharrefreplace").decode(encoding))


def _cut(page: str) -> str:
    """The page up to its last whole line under the cap, never inside a fence."""
    said = "\nCut at 32 KB; the full report is in the JSON.\n"
    kept = page.encode("utf-8")[: _CAP - len(said) - 80].decode("utf-8", "ignore")
    lines = kept.split("\n")[:-1]
    fence = None
    for line in lines:
        run = re.match(r"`{3,}", line)
        if run and fence is None:
            fence = run[0]
        elif fence is not None and line == fence:
            fence = None
    return "\n".join([*lines, *([fence] if fence else [])]) + "\n" + said


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


class _Markdown:
    def __init__(self, report: Report, measure: Measure) -> None:
        self._report = report
        self._story = Story(report)
        self._measure = measure
        self._told: set[int] = set()

    def text(self) -> str:
        """All blocks, an empty line between them."""
        return "\n\n".join(block for block in self._blocks() if block) + "\n"

    def _blocks(self) -> Iterator[str]:
        report = self._report
        yield f"# {report.severity.name}: {self._say(self._story.sentence)}"
        context = [f"opsdoc {report.title}", report.host.hostname, clock(report.started, date=True)]
        yield self._items([*context, *self._story.context[2:]])
        yield from self._unseen()
        bad = [told for told in self._story.told if told.finding.severity is not Severity.OK]
        for number, told in enumerate(bad):
            yield from self._finding(told, proven=number < self._measure.proven)
        cleared = [t.finding for t in self._story.told if t.finding.severity is Severity.OK]
        if cleared:
            yield "## Ruled out, or in order"
            yield "\n".join(self._in_order(finding) for finding in cleared)
        yield from self._looked()
        yield from self._cost()

    def _unseen(self) -> Iterator[str]:
        spots = self._story.blind_spots
        if not spots:
            return
        yield "## What could not be seen"
        shown = spots[: self._measure.rows]
        lines = []
        for spot in shown:
            named = ", ".join(spot.subjects[: self._measure.rows])
            more = len(spot.subjects) - self._measure.rows
            subjects = self._say(named + (f" + {more:,} more" if more > 0 else ""))
            hint = f"; to see it: {self._code(spot.hint)}" if spot.hint else ""
            lines.append(f"- {subjects}: {self._say(spot.detail or spot.reason)} ({spot.reason}){hint}")
        yield "\n".join(lines)
        if len(shown) < len(spots):
            yield f"showing {len(shown)} of {len(spots):,} (full list in the JSON)"

    def _finding(self, told: Told, *, proven: bool) -> Iterator[str]:
        finding = told.finding
        yield f"## {finding.severity.name}: {self._say(finding.summary)}"
        about = self._items([finding.subject, *([finding.confidence] if finding.confidence else [])])
        yield f"{self._code(finding.rule)} {about} ({self._code(finding.key)})"
        if finding.next_step:
            yield f"**Next:** {self._say(finding.next_step)}"
        if finding.by_hand:
            yield self._fenced(finding.by_hand, "sh")
        if not proven:
            return
        if told.evidence:
            rows = [self._evidence(o) for o in told.evidence[: self._measure.rows]]
            yield _table(["kind", "of", "measured", "with"], [False, False, True, False], rows)
        yield from self._stacks(told.evidence[: self._measure.rows])
        yield from self._trees(told.evidence[: self._measure.rows])
        ruled_out = [f.summary for f in self._story.ruled_out(told)] + self._story.ruled_out_unsaid(told)
        yield f"**Not it:** {self._items(ruled_out)}" if ruled_out else ""
        limit = limit_words(finding.threshold)
        yield f"**Limit:** {self._items(limit[:-1])}" if limit else ""

    def _in_order(self, finding: Finding) -> str:
        more = [finding.confidence or "", finding.next_step, *finding.by_hand, *limit_words(finding.threshold)]
        name = finding.key if finding.key.startswith(finding.rule) else f"{finding.rule} {finding.key}"
        return f"- {self._code(name)} {self._items([finding.summary, finding.subject, *more])}"

    def _evidence(self, observation: Observation) -> list[str]:
        main, beside = in_words(observation, reasons=True)
        kind = words.kind_name(observation.kind)
        return [self._say(kind), self._cell_code(observation.subject), self._say(main), self._items(beside)]

    def _stacks(self, observations: Iterable[Observation]) -> Iterator[str]:
        """The stacks that were not shown yet."""
        for observation in observations:
            frames = frames_of(observation)
            if not frames or id(observation) in self._told:
                continue
            self._told.add(id(observation))
            lines = marked([Line(frame) for frame in frames[: self._measure.frames]])
            said = [f"{line.frame}{'   <- here' if line.marked else ''}" for line in lines]
            if len(lines) < len(frames):
                said.append(f"+ {len(frames) - len(lines):,} more")
            kind = words.kind_name(observation.kind)
            yield f"Stack of {kind} {self._code(observation.subject)}, innermost call first:"
            yield self._fenced(said, "text")

    def _trees(self, observations: Iterable[Observation]) -> Iterator[str]:
        """The trees and the ways that were not shown yet."""
        for observation in observations:
            trees, ways = list(trees_of(observation, self._measure.rows)), list(ways_of(observation))
            if not (trees or ways) or id(observation) in self._told:
                continue
            self._told.add(id(observation))
            for way in ways:
                yield f"{self._say(way.title.capitalize())}, {self._code(observation.subject)}: {self._say(way.line)}"
            for tree in trees:
                yield f"{self._say(tree.title.capitalize())}, {self._code(observation.subject)}:"
                yield self._fenced(lines_of(tree), "text")

    def _looked(self) -> Iterator[str]:
        for result, looked in self._story.looked:
            name = f"{result.step} ({result.probe})" if result.step else result.probe
            targets = f" on {', '.join(result.targets)}" if result.targets else ""
            status = "" if result.status == "ok" else f" ({result.status})"
            yield f"## {self._say(f'{name}{targets}{status}')}"
            for each in looked:
                yield from self._table(each)
            if not looked:
                yield "Nothing was measured."

    def _table(self, looked: Looked) -> Iterator[str]:
        table = table_of(looked, self._measure.rows)
        titles = [self._say(table.kind), *(self._say(column.title) for column in table.columns)]
        numbers = [False, *(column.is_number for column in table.columns)]
        rows = [[self._cell_code(r.subject), *(self._say(cell) for cell in r.cells)] for r in table.records]
        yield _table(titles, numbers, rows)
        if table.cut:
            yield table.cut
        elif len(table.records) < looked.total:
            yield self._say(table.extent)
        yield from self._stacks(record.observation for record in table.records)
        yield from self._trees(record.observation for record in table.records)

    def _cost(self) -> Iterator[str]:
        cost = self._report.cost
        yield "## What the look has cost"
        pauses = [f"{said} ({how})" for said, how in zip(self._story.pauses, self._hows(), strict=True)]
        spent = [words.duration(cost.wall_seconds), f"{cost.cpu_seconds:.2f} CPU-s", words.size(cost.max_rss_bytes)]
        yield self._items([*spent, *(pauses or ["no process was paused"])])
        steps = timeline(self._report)
        if len(steps) > 1:
            yield f"Steps: {self._items(step.said for step in steps)}"
        if cost.target_files:
            yield f"Files: {self._items(cost.target_files)}"
        masked = [f"{rule} {count:,}" for rule, count in self._report.redactions.items() if count]
        if masked:
            yield f"Masked: {self._items(masked)}"

    def _hows(self) -> list[str]:
        hows: dict[int, list[str]] = {}
        for pause in self._report.cost.pauses:
            hows.setdefault(pause.pid, []).append(pause.how)
        return [", ".join(dict.fromkeys(each)) for each in hows.values()]

    # ── outside text ─────────────────────────────────────────────────────────────────────────────

    def _say(self, text: str) -> str:
        return escape(words.shorten(words.visible(text), self._measure.text))

    def _items(self, items: Iterable[str]) -> str:
        return " · ".join(self._say(item) for item in items if item)

    def _code(self, text: str) -> str:
        return code(words.shorten(words.visible(text), self._measure.text))

    def _cell_code(self, text: str) -> str:
        return self._code(text).replace("|", "\\|")

    def _fenced(self, lines: Sequence[str], language: str) -> str:
        said = [words.shorten(words.visible(line), self._measure.text) for line in lines]
        fence = "`" * max(3, 1 + _longest_run(" ".join(said)))
        return "\n".join([f"{fence}{language}", *said, fence])


def escape(text: str) -> str:
    """Outside text as Markdown shows it: no emphasis, link, tag, table cell, heading or list of its own."""
    return _BEGINNING.sub(_tamed, _ACTING.sub(r"\\\g<0>", text.replace("&", "&amp;")))


def _tamed(match: re.Match[str]) -> str:
    sign, number, mark = match.groups()
    if sign:
        return f"\\{sign}"
    return f"{number}\\{mark}" if number else "&#32;"


def code(text: str) -> str:
    """Outside text as a code span, within more backticks than it has itself."""
    if not text.strip():
        return ""
    ticks = "`" * (1 + _longest_run(text)) if "`" in text else "`"
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


def _table(titles: Sequence[str], numbers: Sequence[bool], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---:" if number else "---" for number in numbers]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [titles, rule, *rows])
