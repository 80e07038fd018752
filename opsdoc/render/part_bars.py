"""Records on a page: a bar each for their size, the bad part of it and the rest in words, and their table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsdoc.model import Observation
from opsdoc.render import words
from opsdoc.render.parts import Parts, is_number, parts_of
from opsdoc.render.pictures import COMPARABLE
from opsdoc.render.tables import Column
from opsdoc.render.trees import Tree, tree_of
from opsdoc.render.ways import Way, way_of

_MOST_BARS = 12
_LABEL_CELLS = 28
_END_CELLS = 34  # after the longest bar
_BENEATH_CELLS = 92
_BAD = "failed"  # the field that says how much of a record is bad


@dataclass(frozen=True, slots=True)
class PartBar:
    """One record: its name, its length and the bad part of that from 0 to 1, and the rest of it in words."""

    label: str
    length: float
    bad: float
    end: str
    beneath: str


@dataclass(frozen=True, slots=True)
class PartBars:
    """The records of one field by their first number."""

    title: str
    description: str
    bars: list[PartBar]
    more: int
    legend: str

    @property
    def is_tall(self) -> bool:
        """Whether there are words beneath the bars."""
        return any(bar.beneath for bar in self.bars)


@dataclass(frozen=True, slots=True)
class PicturedParts:
    """The records of one field as rows of a table, with their tree, their way, or bars where they can be compared."""

    parts: Parts
    bars: PartBars | None
    tree: Tree | None
    way: Way | None
    rows: list[list[str]]
    cut: str  # what to say where the page shows less than the JSON has


def pictured_parts(observation: Observation, most: int) -> list[PicturedParts]:
    """The fields of an observation that hold records, with the first rows of each."""
    found = []
    for parts in parts_of(observation):
        rows = [parts.cells(record) for record in parts.records[:most]]
        listed = len(parts.records)
        cut = f"showing {len(rows):,} of {listed:,} (full list in the JSON)" if len(rows) < listed else ""
        tree = tree_of(parts, most)
        way = way_of(parts)
        bars = _part_bars(observation, parts) if tree is None and way is None else None
        found.append(PicturedParts(parts, bars, tree, way, rows, cut))
    return found


def _part_bars(observation: Observation, parts: Parts) -> PartBars | None:
    """Bars where an observation has several records with a number that can be compared; the worst if not all fit."""
    sizes = [c for c in parts.columns[1:] if c.meta.unit in COMPARABLE and any(_number(r, c) for r in parts.records)]
    if not sizes or len(parts.records) == 1:
        return None
    failed = [column for column in parts.columns[1:] if column.name == _BAD and column != sizes[0]]
    return _Drawing(parts, sizes[0], failed[0] if failed else None).picture(observation)


class _Drawing:
    def __init__(self, parts: Parts, size: Column, failed: Column | None) -> None:
        self._parts = parts
        self._name = parts.columns[0]
        self._size = size
        self._failed = failed
        longest = max(self._length(record) for record in parts.records)
        self._whole = max(1.0, longest) if size.meta.unit in ("cores", "ratio") else longest

    def picture(self, observation: Observation) -> PartBars:
        records = self._worst()
        ends = [" · ".join(_said(record, self._parts.columns[1:])) for record in records]
        is_tall = max(map(words.cells, ends)) > _END_CELLS
        return PartBars(
            title=f"{self._size.title} by {self._name.title}, "
            f"{words.kind_name(observation.kind)} {observation.subject}",
            description=self._description(len(records)),
            bars=[self._bar(record, is_tall=is_tall) for record in records],
            more=len(self._parts.records) - len(records),
            legend=f"in ink: {self._failed.title}" if self._failed else "",
        )

    def _description(self, shown: int) -> str:
        longest = max(self._parts.records, key=self._length)
        said = [words.plural(shown, "bar"), f"the longest is {self._label(longest)}"]
        said += _said(longest, [self._size])
        worst = max(self._parts.records, key=self._bad)
        if self._failed and self._bad(worst):
            said += [f"most of all in {self._label(worst)}", *_said(worst, [self._failed])]
        return ", ".join(said)

    def _bar(self, record: Mapping[str, Any], *, is_tall: bool) -> PartBar:
        main = [column for column in (self._size, self._failed) if column]
        rest = [column for column in self._parts.columns[1:] if column not in main]
        return PartBar(
            label=self._label(record),
            length=self._length(record) / self._whole,
            bad=min(self._bad(record), self._length(record)) / self._whole,
            end=_as_many(_said(record, main if is_tall else [*main, *rest]), _END_CELLS),
            beneath=_as_many(_said(record, rest), _BENEATH_CELLS) if is_tall else "",
        )

    def _worst(self) -> list[Mapping[str, Any]]:
        """As many as are drawn, in their order: those with the most failures, then the longest."""
        records = self._parts.records
        ranked = sorted(range(len(records)), key=lambda i: (-self._bad(records[i]), -self._length(records[i])))
        return [records[index] for index in sorted(ranked[:_MOST_BARS])]

    def _label(self, record: Mapping[str, Any]) -> str:
        return words.shorten(words.stated(self._name.meta, record.get(self._name.name)), _LABEL_CELLS)

    def _length(self, record: Mapping[str, Any]) -> float:
        return _number(record, self._size)

    def _bad(self, record: Mapping[str, Any]) -> float:
        """How much of the length is bad; a ratio is one of the length."""
        if self._failed is None:
            return 0.0
        value = _number(record, self._failed)
        is_share = self._failed.meta.unit == "ratio" and self._size.meta.unit != "ratio"
        return value * self._length(record) if is_share else value


def _number(record: Mapping[str, Any], column: Column) -> float:
    """The value as a length: 0 where there is none to draw."""
    value = record.get(column.name)
    return max(0.0, float(value)) if is_number(value) and math.isfinite(value) else 0.0


def _said(record: Mapping[str, Any], columns: Sequence[Column]) -> list[str]:
    return [said for column in columns if (said := words.measured(column.meta, record.get(column.name)))]


def _as_many(items: Iterable[str], most: int) -> str:
    """As many items as fit into a number of columns; all of them stand in the table."""
    line = ""
    for item in items:
        longer = f"{line} · {item}" if line else words.shorten(item, most)
        if words.cells(longer) > most:
            return f"{line} …"
        line = longer
    return line
