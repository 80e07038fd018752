"""What is known of a value before anything ran: kinds, words to choose from, lists and records.

Every value may also be null or unknown when it is there: these types say only what else it can be. Of `any` nothing
is known, and everything is allowed; `mixed` is known to be of one kind or of another, such as `x if x > 0 else "none"`,
and can be shown but not computed with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Union

Kind = Literal["number", "text", "bool", "null", "any", "mixed"]


class OneOf(NamedTuple):
    """A text that is one of a few words."""

    words: tuple[str, ...]


class ListOf(NamedTuple):
    """A list of items of one type."""

    item: Any  # Type


class Record(NamedTuple):
    """A record with exactly these fields."""

    fields: Mapping[str, Any]  # of Type


Type = Union[Kind, OneOf, ListOf, Record]  # noqa: UP007 - names that are defined above one another


def kind_of(known: Type) -> str:
    """The kind of a type, as of a value."""
    if isinstance(known, str):
        return known
    return {OneOf: "text", ListOf: "list", Record: "record"}[type(known)]


def either(one: Type, other: Type) -> Type:
    """What a value is that is of one type or of the other."""
    if other in (one, "null"):
        return one
    if one == "null":
        return other
    if isinstance(one, OneOf) and isinstance(other, OneOf):
        return OneOf(tuple(dict.fromkeys(one.words + other.words)))
    if isinstance(one, ListOf) and isinstance(other, ListOf):
        return ListOf(either(one.item, other.item))
    if kind_of(one) == kind_of(other) == "text":
        return "text"
    return "any" if "any" in (one, other) else "mixed"
