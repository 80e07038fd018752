"""The report for a terminal or a pipe: the first line is the answer, everything else is proof."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

from opsdoc.model import Finding, Report, Severity
from opsdoc.render import words
from opsdoc.render.grid import Grid
from opsdoc.render.layout import Page, first_and_rest, flow, wrap
from opsdoc.render.rows import INDENT, Rows
from opsdoc.render.story import BlindSpot, Looked, Story, Told, is_table, limit_words
from opsdoc.render.timeline import timeline

_SEVERITY = 10  # columns of the severity word
_FEW_ROWS = 3
_MOST_ROWS = 50
_MOST_BLIND_SPOTS = 6
_MOST_SUBJECTS = 3


def render(report: Report, out: TextIO, *, width: int = 100, color: bool = False, verbose: bool = False) -> None:
    """Write the report as text; colour, and rich with it, only where it is wanted."""
    _Text(report, Page(out, width, color=color), verbose=verbose).write()


class _Text:
    def __init__(self, report: Report, page: Page, *, verbose: bool) -> None:
        self._story = Story(report)
        self._page = page
        self._verbose = verbose
        self._apart = Story(report).head is None
        kinds = [o.kind for result in report.results for o in result.observations]
        self._label = max([8, *(min(16, words.cells(words.kind_name(kind))) for kind in kinds)]) + 2

    def write(self) -> None:
        self._title()
        self._verdict()
        head = self._story.head
        if head:
            self._proof(head)
        self._further(head)
        self._tables(head)
        self._closing()

    # ── the answer ───────────────────────────────────────────────────────────────────────────────

    def _title(self) -> None:
        title = self._page.say(f"opsdoc {self._story.report.title}")
        context = [self._page.say(item) for item in self._story.context]
        for first, line in first_and_rest(flow([title, *context], self._page.width, self._page.between)):
            if first and line.startswith(title):
                self._page.line((title, "strong"), (line.removeprefix(title), "dim"))
            else:
                self._page.line((line, "dim"))
        self._page.line()

    def _verdict(self) -> None:
        self._sentence(self._story.report.severity, self._story.sentence, "strong")

    def _sentence(self, severity: Severity, sentence: str, style: str = "") -> None:
        for first, line in first_and_rest(wrap(self._page.say(sentence), self._page.width - _SEVERITY)):
            word = severity.name if first else ""
            self._page.line((word.ljust(_SEVERITY), severity.word), (line, style))

    # ── the proof of the first finding ───────────────────────────────────────────────────────────

    def _proof(self, told: Told) -> None:
        self._page.line()
        Rows(self._page, told.evidence, self._label, verbose=self._verbose).write()
        self._not_it(told)
        self._advice(told.finding)

    def _advice(self, finding: Finding) -> None:
        self._prose("next", finding.next_step)
        self._commands("by hand", finding.by_hand)
        if self._verbose:
            self._items(
                "judged", [finding.rule, finding.subject, *([finding.confidence] if finding.confidence else [])]
            )
            self._items("limit", limit_words(finding.threshold))

    # ── further findings ─────────────────────────────────────────────────────────────────────────

    def _further(self, head: Told | None) -> None:
        if head is None and self._story.report.severity is Severity.OK and not self._verbose:
            return  # the one sentence has said it all
        said = {id(f) for f in self._story.ruled_out(head)} if head else set()
        rest = [t for t in self._story.told if t is not head]
        for told in (t for t in rest if t.finding.severity is not Severity.OK):
            self._gap()
            self._sentence(told.finding.severity, told.finding.summary)
            if self._verbose:
                Rows(self._page, told.evidence, self._label, verbose=True).write()
                self._not_it(told)
            self._advice(told.finding)
        in_order = [t for t in rest if t.finding.severity is Severity.OK]
        if self._verbose:
            self._in_order_each(in_order)
        else:
            self._in_order([t.finding.summary for t in in_order if id(t.finding) not in said])

    def _in_order(self, summaries: Sequence[str]) -> None:
        """What is well and was not said yet, in one paragraph."""
        if not summaries:
            return
        self._gap()
        said = [self._page.say(summary) for summary in summaries]
        for first, line in first_and_rest(flow(said, self._page.width - _SEVERITY, self._page.between)):
            self._page.line(("OK".ljust(_SEVERITY) if first else " " * _SEVERITY, "ok"), (line, ""))

    def _in_order_each(self, told: Iterable[Told]) -> None:
        for each in told:
            self._gap()
            self._sentence(each.finding.severity, each.finding.summary)
            self._not_it(each)
            self._advice(each.finding)

    def _not_it(self, told: Told) -> None:
        self._items("not it", [f.summary for f in self._story.ruled_out(told)] + self._story.ruled_out_unsaid(told))

    # ── what was looked at ───────────────────────────────────────────────────────────────────────

    def _tables(self, head: Told | None) -> None:
        told = {id(o) for o in head.evidence} if head else set()
        for _, seen in self._story.looked:
            looked, asked = seen, is_table(seen)
            if head and not self._verbose:
                looked = [each for each in looked if asked and len(looked) <= 2 and len(each.rows) > 1]
            for each in looked:
                self._table(each, _MOST_ROWS if asked or self._verbose else _FEW_ROWS, told)

    def _table(self, looked: Looked, most: int, told: set[int]) -> None:
        rows = looked.rows[:most]
        self._gap()
        if len(rows) == 1:
            Rows(self._page, rows, self._label, verbose=self._verbose, in_full=self._verbose).write()
        else:
            Grid(self._page, rows, told=told, verbose=self._verbose).write()
        shown = Looked(looked.kind, rows, looked.total)
        if len(rows) < looked.total:
            self._page.line((" " * INDENT + self._page.say(shown.extent), "dim"))

    # ── what could not be seen, what it took ─────────────────────────────────────────────────────

    def _closing(self) -> None:
        if self._apart:
            self._page.line()
        spots = self._story.blind_spots
        shown = spots if self._verbose else spots[:_MOST_BLIND_SPOTS]
        for index, spot in enumerate(shown):
            self._labelled("" if index else "unseen", self._blind(spot))
        if len(spots) > len(shown):
            self._prose("", f"+ {len(spots) - len(shown):,} more, all of them in the JSON")
        steps = timeline(self._story.report)
        self._items("steps", [step.said for step in steps] if len(steps) > 1 else [])
        cost = self._story.report.cost
        self._items("cost", [words.duration(cost.wall_seconds), f"{cost.cpu_seconds:.2f} CPU-s", *self._story.pauses])
        self._items("files", cost.target_files)
        if self._verbose:
            self._items("memory", [words.size(cost.max_rss_bytes)])
            self._items(
                "masked", [f"{rule} {count:,}" for rule, count in self._story.report.redactions.items() if count]
            )

    def _gap(self) -> None:
        self._page.line()
        self._apart = True

    def _blind(self, spot: BlindSpot) -> list[str]:
        """Who, why, and the command that would show it, which is never broken."""
        named = spot.subjects if self._verbose else spot.subjects[:_MOST_SUBJECTS]
        more = f" + {len(spot.subjects) - len(named):,} more" if len(named) < len(spot.subjects) else ""
        reason = f" ({spot.reason})" if self._verbose and spot.detail else ""
        said = self._page.say(f"{', '.join(named)}{more}: {spot.detail or spot.reason}{reason}")
        if not spot.hint:
            return wrap(said, self._room)
        hint = self._page.say(f"to see it: {spot.hint}")
        together = f"{said}; {hint}"
        return [together] if words.cells(together) <= self._room else [*wrap(f"{said};", self._room), hint]

    # ── labelled lines ───────────────────────────────────────────────────────────────────────────

    def _prose(self, label: str, text: str) -> None:
        if text:
            self._labelled(label, wrap(self._page.say(text), self._room))

    def _items(self, label: str, items: Iterable[str]) -> None:
        self._labelled(label, flow([self._page.say(item) for item in items if item], self._room, self._page.between))

    def _commands(self, label: str, commands: Sequence[str]) -> None:
        """Commands in one line where they fit, else one a line and never broken, so that they can be copied."""
        said = [self._page.say(command) for command in commands]
        together = " ; ".join(said)
        self._labelled(label, [together] if words.cells(together) <= self._room and said else said)

    def _labelled(self, label: str, lines: Sequence[str]) -> None:
        for first, line in first_and_rest(lines):
            name = label if first else ""
            self._page.line((" " * INDENT + name.ljust(self._label), "dim"), (line, ""))

    @property
    def _room(self) -> int:
        return self._page.width - INDENT - self._label
