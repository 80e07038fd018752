"""Observations of one kind as a table for a page: columns from field metadata, other fields beside the row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from opsdoc.model import Frame, Meta, Observation, Point, Unknown
from opsdoc.render import words
from opsdoc.render.story import Looked

_TEXTUAL = ("", "command", "time", "hex", "step")


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a kind, as the column of a table."""

    name: str
    meta: Meta

    @property
    def title(self) -> str:
        """What the field is called."""
        return self.meta.title

    @property
    def is_number(self) -> bool:
        """Whether the cells stand to the right."""
        return self.meta.unit not in _TEXTUAL


@dataclass(frozen=True, slots=True)
class Record:
    """One observation in words: its cells, and all that found no column."""

    observation: Observation
    subject: str
    cells: list[str]
    more: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """The records of one kind that are shown, and how many there were."""

    kind: str
    columns: list[Column]
    records: list[Record]
    extent: str
    cut: str = ""  # what to say where the page shows less than the JSON has


def table_of(looked: Looked, most: int) -> Table:
    """The first rows of a kind as a table."""
    shown = looked.rows[:most]
    columns = columns_of(shown)
    records = [Record(o, o.subject, [cell(o, column) for column in columns], everything(o, columns)) for o in shown]
    extent = Looked(looked.kind, shown, looked.total).extent
    return Table(words.kind_name(looked.kind), columns, records, extent, _cut(looked, len(shown)))


def _cut(looked: Looked, shown: int) -> str:
    listed = len(looked.rows)
    if shown == listed:
        return ""
    if listed < looked.total:
        return f"showing {shown:,} of the {listed:,} in the JSON, of {looked.total:,} in all"
    return f"showing {shown:,} of {listed:,} (full list in the JSON)"


def columns_of(observations: Sequence[Observation]) -> list[Column]:
    """The main measure, then what stands beside it; a column that applies to no row takes no room."""
    metas = observations[0].fields()
    wanted = [Column(name, metas[name]) for show in ("main", "line") for name in metas if metas[name].show == show]
    return [column for column in wanted if any(getattr(o, column.name) is not None for o in observations)]


def cell(observation: Observation, column: Column) -> str:
    """A value in words; an unknown one says so, its reason stands with the fields in full."""
    return words.stated(column.meta, getattr(observation, column.name))


def everything(observation: Observation, but: Iterable[Column] = ()) -> list[tuple[str, str]]:
    """Every field that applies and has neither column, picture nor table, and the reasons of what is unknown."""
    left_out = {column.name for column in but}
    said = []
    for name, meta in observation.fields().items():
        value = getattr(observation, name)
        if isinstance(value, Unknown):
            said.append((meta.title, f"unknown: {words.visible(value.reason)}"))
        elif name not in left_out and value not in (None, "", (), {}) and not _is_pictured(value):
            said.append((meta.title, words.stated(meta, value)))
    return said


def main_value(observation: Observation) -> tuple[float | None, Meta | None]:
    """The one number of an observation and how it is measured, as far as it is known."""
    for name, meta in observation.fields().items():
        if meta.show == "main":
            value = getattr(observation, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return (value if is_number else None), meta
    return None, None


def frames_of(observation: Observation) -> Sequence[Frame]:
    """The stack of an observation that has one."""
    return _sequence_of(observation, Frame)[1]


def points_of(observation: Observation) -> tuple[Meta | None, Sequence[Point]]:
    """The course of a value over the window, and how it is measured, where an observation has one."""
    meta, points = _sequence_of(observation, Point)
    return (meta, points) if _is_timed(points) else (None, ())


def _is_pictured(value: Any) -> bool:
    is_timed = _is_sequence_of(value, Point) and _is_timed(value)
    return is_timed or _is_sequence_of(value, Frame) or bool(words.records_of(value))


def _is_timed(points: Sequence[Point]) -> bool:
    return all(math.isfinite(point.at) for point in points)


def _is_sequence_of(value: Any, kind: type[Any]) -> bool:
    return isinstance(value, tuple | list) and bool(value) and all(isinstance(item, kind) for item in value)


def _sequence_of(observation: Observation, kind: type[Any]) -> tuple[Meta | None, Sequence[Any]]:
    for name, meta in observation.fields().items():
        value = getattr(observation, name)
        if _is_sequence_of(value, kind):
            return meta, value
    return None, ()
