"""Observations as rows of a terminal: kind, subject, the one number, what stands beside it, and the stack beneath."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from opsdoc.model import Frame, Observation, Unknown
from opsdoc.render import stack, words
from opsdoc.render.layout import Page, first_and_rest, flow, left, right
from opsdoc.render.part_lines import write_parts
from opsdoc.render.parts import parts_of
from opsdoc.render.trees import tree_of, write_trees
from opsdoc.render.ways import write_ways

INDENT = 2
_LEAST_SUBJECT = 24
_BESIDE_GAP = 3

# ── an observation in words ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Row:
    """One observation: what it is of, its main measure, what stands beside it."""

    observation: Observation
    kind: str
    subject: str
    main: str
    beside: list[str]

    @property
    def in_a_line(self) -> list[str]:
        """Everything as one flow of items, for what is too wide to stand in columns."""
        return [item for item in (self.subject, self.main, *self.beside) if item]


def row_of(observation: Observation, page: Page) -> Row:
    """The row of an observation, from its field metadata alone."""
    main, beside = in_words(observation)
    return Row(
        observation=observation,
        kind=page.say(words.kind_name(observation.kind)),
        subject=page.say(observation.subject),
        main=page.say(main),
        beside=[page.say(item) for item in beside],
    )


def in_words(observation: Observation, *, reasons: bool = False) -> tuple[str, list[str]]:
    """The main measure, and what stands beside it; with `reasons`, why each unknown one is unknown."""
    main, beside = "", []
    for name, meta in observation.fields().items():
        value = getattr(observation, name)
        if meta.show == "full" or (meta.show == "main" and main):
            continue
        said = words.measured(meta, value, main=meta.show == "main")
        if reasons and isinstance(value, Unknown):
            said = f"{said} ({words.visible(value.reason)})"
        if meta.show == "main":
            main = said
        elif said:
            beside.append(said)
    return main, beside


# ── rows that share their columns ────────────────────────────────────────────────────────────────


class Rows:
    """Observations of any kinds beneath each other, each with a label for its kind."""

    def __init__(
        self,
        page: Page,
        observations: Sequence[Observation],
        label: int,
        *,
        verbose: bool = False,
        in_full: bool = False,
    ) -> None:
        self._page = page
        self._label = label
        self._verbose = verbose
        self._in_full = in_full
        self._room = page.width - INDENT - label
        self._rows = [row_of(o, page) for o in observations]
        in_columns = [row for row in self._rows if not self._is_wide(row)]
        self._main = max((words.cells(row.main) for row in in_columns), default=0)
        self._subject = self._subject_width(in_columns)

    def write(self) -> None:
        """All rows, each with its stack."""
        margin = INDENT + self._label + 2
        for row in self._rows:
            if self._is_wide(row):
                self._flowing(row)
            else:
                self._in_columns(row)
            write_stack(self._page, frames_of(row.observation), margin, verbose=self._verbose)
            write_ways(self._page, row.observation, margin)
            write_trees(self._page, row.observation, margin, verbose=self._verbose)
            if self._in_full:
                write_everything(self._page, row.observation, margin)

    def _is_wide(self, row: Row) -> bool:
        """Many items beside a short subject read better in a flow than in a narrow last column."""
        beside = words.cells(self._page.between.join(row.beside))
        return beside > self._room // 2 and words.cells(row.subject) < self._room // 3

    def _subject_width(self, rows: Sequence[Row]) -> int:
        longest = max((words.cells(row.subject) for row in rows), default=0)
        beside = max((words.cells(self._page.between.join(row.beside)) for row in rows), default=0)
        room = self._room - self._main - 2 - _BESIDE_GAP
        fair = max(_LEAST_SUBJECT, room * 42 // 100)
        return min(longest, max(fair, room - beside))

    def _flowing(self, row: Row) -> None:
        for first, line in first_and_rest(flow(row.in_a_line, self._room, self._page.between)):
            self._page.line((self._margin(row.kind if first else ""), "dim"), (line, ""))

    def _in_columns(self, row: Row) -> None:
        subject = left(words.shorten(row.subject, self._subject, self._page.ellipsis), self._subject + 2)
        measure = right(row.main, self._main)
        room = self._room - self._subject - 2 - self._main - _BESIDE_GAP
        beside = flow(row.beside, max(12, room), self._page.between) or [""]
        self._page.line(
            (self._margin(row.kind), "dim"), (subject, ""), (measure, "strong"), (" " * _BESIDE_GAP + beside[0], "")
        )
        indent = " " * (self._subject + 2 + self._main + _BESIDE_GAP)
        for line in beside[1:]:
            self._page.line((self._margin(""), ""), (indent + line, ""))

    def _margin(self, label: str) -> str:
        return " " * INDENT + left(label, self._label)


# ── what stands beneath a row ────────────────────────────────────────────────────────────────────


def frames_of(observation: Observation) -> Sequence[Frame]:
    """The stack of an observation that has one."""
    for name in observation.fields():
        value = getattr(observation, name)
        if isinstance(value, tuple | list) and value and all(isinstance(item, Frame) for item in value):
            return value
    return ()


def write_stack(page: Page, frames: Sequence[Frame], margin: int, *, verbose: bool) -> None:
    """A stack in two columns, the frame to look at marked, the runtime's dimmed and folded."""
    lines = [stack.Line(frame) for frame in frames] if verbose else stack.folded(frames)
    lines = stack.marked(lines)
    room = page.width - margin
    functions = [page.say(line.frame.function) for line in lines]
    places = [words.shorten(page.say(line.where), room // 2, page.ellipsis) for line in lines]
    tails = [page.say(_tail(line)) for line in lines]
    place_width = max(map(words.cells, places), default=0)
    most = room - place_width - 2 - max(map(words.cells, tails), default=0)
    width = min(max(map(words.cells, functions), default=0), most)
    for line, function, place, tail in zip(lines, functions, places, tails, strict=True):
        shown = left(words.shorten(function, width, page.ellipsis), width + 2)
        style = "strong" if line.marked else "" if line.is_app else "dim"
        page.line((" " * margin + shown, style), (left(place, place_width), style), (tail, style or "dim"))


def _tail(line: stack.Line) -> str:
    return ("  ◀" if line.marked else "") + (f"  + {line.folded:,} more" if line.folded else "")


def write_everything(page: Page, observation: Observation, margin: int) -> None:
    """Every field that stands in tables only, and the reason of each that is unknown."""
    for title, value in _full_fields(observation):
        lines = flow([page.say(f"{title}: {value}")], page.width - margin, " ")
        for first, line in first_and_rest(lines):
            page.line((" " * (margin if first else margin + 2) + line, "dim"))
    for parts in parts_of(observation):
        if tree_of(parts) is None:  # which stands there already
            write_parts(page, parts, margin, least=INDENT + 2)


def _full_fields(observation: Observation) -> Iterator[tuple[str, str]]:
    for name, meta in observation.fields().items():
        value = getattr(observation, name)
        if isinstance(value, Unknown):
            yield meta.title, f"unknown ({value.reason})"
        elif meta.show == "full" and value not in (None, "", (), {}) and not _stands_beneath(value, observation):
            yield meta.title, words.quantity(value, meta.unit)


def _stands_beneath(value: Any, observation: Observation) -> bool:
    return value == frames_of(observation) or bool(words.records_of(value))
