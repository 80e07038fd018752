"""Records within an observation as a table: a column for each of their fields that applies to any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from opsdoc.model import Meta, Observation, Unit, Unknown
from opsdoc.render import words
from opsdoc.render.layout import first_and_rest
from opsdoc.render.tables import Column

_MOST_COLUMNS = 16  # what was edited or written by another may have any number


class Parts(NamedTuple):
    """The records of one field: `title` is the field's; the first column names a record."""

    title: str
    columns: Sequence[Column]
    records: Sequence[Mapping[str, Any]]
    left_out: int = 0  # columns

    def cells(self, record: Mapping[str, Any]) -> list[str]:
        """The fields of one record in words."""
        return [words.stated(column.meta, record.get(column.name)) for column in self.columns]

    def items(self, record: Mapping[str, Any]) -> list[str]:
        """The name of a record, then each field that applies with its own: `attempts 812`."""
        name, *rest = self.cells(record)
        titled = zip(self.columns[1:], rest, strict=True)
        return [name, *(f"{c.title} {cell}" for c, cell in titled if record.get(c.name) is not None)]

    @property
    def notes(self) -> list[str]:
        """Why what is unknown is, each reason once, and what found no column."""
        reasons = dict.fromkeys(
            f"{column.title} unknown: {words.visible(value.reason)}"
            for column in self.columns
            for record in self.records
            if isinstance(value := record.get(column.name), Unknown)
        )
        return [*reasons, *([f"{words.plural(self.left_out, 'field')} more in the JSON"] if self.left_out else [])]


def parts_of(observation: Observation) -> Iterator[Parts]:
    """The fields of an observation that hold records, as tables."""
    for name, meta in observation.fields().items():
        records = words.records_of(getattr(observation, name))
        columns = list(_columns(records, meta.columns))
        if columns:
            yield Parts(meta.title, columns[:_MOST_COLUMNS], records, max(0, len(columns) - _MOST_COLUMNS))


def _columns(records: Sequence[Mapping[str, Any]], units: Mapping[str, Unit]) -> Iterator[Column]:
    """A number without a unit is a count, but an identifier where it names the record."""
    names = dict.fromkeys(name for record in records for name in record)
    for first, name in first_and_rest(list(names)):
        values = [value for record in records if (value := record.get(name)) is not None]
        if values:
            seen = [value for value in values if not isinstance(value, Unknown)]
            numeric = bool(seen) and all(map(is_number, seen))
            plain: Unit = ("id" if first else "count") if numeric else ""
            yield Column(name, Meta(words.kind_name(name), units.get(name, plain)))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number and no truth."""
    return isinstance(value, int | float) and not isinstance(value, bool)
