"""Records whose name is a `step`: a way from left to right, with what still waits before each step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from opsdoc.model import Observation
from opsdoc.render import words
from opsdoc.render.layout import Page, first_and_rest, flow
from opsdoc.render.parts import Parts, is_number, parts_of
from opsdoc.render.pictures import COMPARABLE
from opsdoc.render.tables import Column

_STEP = "step"
_MOST = 6
_LABEL_CELLS = 12


class Step(NamedTuple):
    """One record: its name, its numbers in words as far as they are known, and the first of them from 0 to 1."""

    label: str
    numbers: list[str]
    share: float


class Way(NamedTuple):
    """The records of one field in their order."""

    title: str
    description: str
    steps: list[Step]

    @property
    def line(self) -> str:
        """`send 0 B → write 12 KiB → replay 3.0 GiB, 44 s`."""
        return " → ".join(
            ", ".join([f"{step.label} {' '.join(step.numbers[:1])}".strip(), *step.numbers[1:]]) for step in self.steps
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits before any step."""
        return not any(step.share for step in self.steps)


def ways_of(observation: Observation) -> Iterator[Way]:
    """The fields of an observation whose records are steps, where something waits."""
    return (way for parts in parts_of(observation) if (way := way_of(parts)) is not None and not way.is_empty)


def way_of(parts: Parts) -> Way | None:
    """The records of a field as a way; None where they are no steps, or too many to be drawn."""
    if parts.columns[0].meta.unit != _STEP or not 1 < len(parts.records) <= _MOST:
        return None
    numbers = [column for column in parts.columns[1:] if column.meta.unit in COMPARABLE]
    sizes = [_size(record, numbers) for record in parts.records]
    whole = max(sizes, default=0.0) or 1.0
    steps = [_step(parts, record, numbers, size / whole) for record, size in zip(parts.records, sizes, strict=True)]
    said = "; ".join(f"before {step.label}: {', '.join(step.numbers) or 'not known'}" for step in steps)
    return Way(parts.title, said, steps)


def _step(parts: Parts, record: Mapping[str, Any], numbers: list[Column], share: float) -> Step:
    name = parts.columns[0]
    label = words.shorten(words.stated(name.meta, record.get(name.name)), _LABEL_CELLS)
    told = [words.stated(column.meta, record.get(column.name)) for column in numbers if _is_told(record, column)]
    return Step(label, told, share)


def _is_told(record: Mapping[str, Any], column: Column) -> bool:
    return record.get(column.name) is not None


def _size(record: Mapping[str, Any], numbers: list[Column]) -> float:
    """The first number, 0 where it is not known."""
    value = record.get(numbers[0].name) if numbers else None
    return max(0.0, float(value)) if is_number(value) and math.isfinite(value) else 0.0


def write_ways(page: Page, observation: Observation, margin: int) -> None:
    """The ways of an observation beneath its row."""
    for way in ways_of(observation):
        said = page.say(f"{way.title}: {way.line}")
        for first, line in first_and_rest(flow(said.split(" "), page.width - margin - 2, " ")):
            page.line((" " * (margin if first else margin + 2) + line, ""))
