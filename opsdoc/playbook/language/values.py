"""What an expression computes with: JSON values, lists that know whether something is missing, and unknown.

Everything here is a pure function of values. Unknown in means unknown out, with the first reason; null, which means
"does not apply", has no order and no sum, so it makes unknown too. What can never make sense raises Refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opsdoc.model import Unknown

_WORDS = {
    "number": "a number",
    "text": "a text",
    "bool": "true or false",
    "null": "null",
    "list": "a list",
    "record": "a record",
    "any": "anything",
    "mixed": "a value of one kind or another",
}
_LARGE = 2**63  # whole numbers beyond it go on as floats, so that no product grows without end
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": operator.mod,
}  # fmt: skip
PLAIN_NUMBERS = frozenset((int, float))  # and not bool


class Refused(Exception):
    """An operation that makes no sense for these values, such as a text above a number; `operand` is to blame."""

    def __init__(self, message: str, operand: int = 0) -> None:
        super().__init__(message)
        self.operand = operand


class Items(list[Any]):
    """A list that may lack something: `why` says what of it was not seen.

    The first `sure` items stand where they stand whatever is missing; the default is all of them, because lists are
    ordered and cut at their end.
    """

    __slots__ = ("complete", "sure", "why")

    def __init__(self, items: Iterable[Any] = (), why: str | None = None, sure: int | None = None) -> None:
        super().__init__(items)
        self.complete = why is None
        self.why = why or ""
        self.sure = len(self) if sure is None else sure


def incomplete(items: list[Any]) -> Unknown | None:
    """Unknown with the reason, where something of the list was not seen."""
    return None if not isinstance(items, Items) or items.complete else Unknown(items.why)


# ── kinds ────────────────────────────────────────────────────────────────────────────────────────


def kind(value: Any) -> str:
    """`number`, `text`, `bool`, `null`, `list`, `record`; `any` is what no JSON holds."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    if value is None:
        return "null"
    if isinstance(value, list):
        return "list"
    return "record" if isinstance(value, Mapping) else "any"


def word(kind_name: str) -> str:
    """A kind with its article: `a number`."""
    return _WORDS[kind_name]


def never_equal(left: str, right: str) -> str | None:
    """Why `==` makes no sense between two kinds, or None where it does."""
    kinds = {left, right}
    if "null" in kinds or "any" in kinds:
        return None
    if "mixed" in kinds:
        return f"{word('mixed')} cannot be compared"
    if kinds & {"list", "record"}:
        return f"{word(left if left in ('list', 'record') else right)} cannot be compared, only what is in it"
    return None if len(kinds) == 1 else f"{word(left)} is never equal to {word(right)}"


def without_order(left: str, right: str) -> str | None:
    """Why `<` makes no sense between two kinds, or None where it does."""
    for one in (left, right):
        if one in ("bool", "list", "record", "mixed"):
            return f"{word(one)} has no order"
    if {left, right} == {"number", "text"}:
        return "a number and a text cannot be put in order"
    return None


# ── operators ────────────────────────────────────────────────────────────────────────────────────


def ordered(sign: str, left: Any, right: Any, said: tuple[str, str]) -> bool | Unknown:
    """`left < right` and the like; `said` is what was written for the two."""
    for value, name in zip((left, right), said, strict=True):
        if isinstance(value, Unknown):
            return value
        if value is None:
            return Unknown(f"{name} is null")
    if (why := without_order(kind(left), kind(right))) is not None:
        raise Refused(why)
    if kind(left) == "any" or kind(right) == "any":
        raise Refused("only numbers and texts have an order")
    if left != left or right != right:  # noqa: PLR0124 - not a number
        return Unknown("not a finite number")
    return _ORDER[sign](left, right)


def equal(left: Any, right: Any) -> bool | Unknown:
    """Whether two values are the same. Different kinds are refused, save that everything can be compared with null."""
    if isinstance(left, Unknown):
        return left
    if isinstance(right, Unknown):
        return right
    kinds = kind(left), kind(right)
    if "null" in kinds:
        return kinds[0] == kinds[1]
    if (why := never_equal(*kinds)) is not None or "any" in kinds:
        raise Refused(why or "only numbers, texts, true, false and null can be compared")
    if left != left or right != right:  # noqa: PLR0124 - not a number
        return Unknown("not a finite number")
    return bool(left == right)


def contains(where: Any, what: Any, said: tuple[str, str]) -> bool | Unknown:
    """`what in where`: an item of a list, or a part of a text; `said` is what was written for `where` and `what`."""
    if isinstance(what, Unknown):
        return what
    if isinstance(where, Unknown):
        return where
    if where is None:
        return Unknown(f"{said[0]} is null")
    if isinstance(where, list):
        return _among(where, what)
    if not isinstance(where, str):
        raise Refused(f"'in' looks into a list or a text, not into {word(kind(where))}")
    if what is None:
        return Unknown(f"{said[1]} is null")
    if not isinstance(what, str):
        raise Refused(f"{word(kind(what))} is never in a text")
    return what in where


def _among(items: list[Any], what: Any) -> bool | Unknown:
    unknown = incomplete(items)
    for one in items:
        if type(one) is str and type(what) is str:
            same: bool | Unknown = one == what
        else:
            same = equal(one, what) if isinstance(one, Unknown) or kind(one) == kind(what) else False
        if same is True:
            return True
        if isinstance(same, Unknown):
            unknown = unknown or same
    return False if unknown is None else unknown


def computed(sign: str, left: Any, right: Any, said: tuple[str, str]) -> float | Unknown:
    """`left + right` and the other four; dividing by zero is unknown."""
    if not (type(left) in PLAIN_NUMBERS and type(right) in PLAIN_NUMBERS):
        for operand, value in enumerate((left, right)):
            if isinstance(value, Unknown):
                return value
            if value is None:
                return Unknown(f"{said[operand]} is null")
            if kind(value) != "number":
                raise Refused(f"{sign!r} is for numbers, not for {word(kind(value))}", operand)
    try:
        return settled(ARITHMETIC[sign](left, right))
    except ZeroDivisionError:
        return Unknown("division by zero")
    except OverflowError:
        return Unknown("the number is too large")


def settled(number: float) -> float | Unknown:
    """A finite number of bounded size, or unknown."""
    if -_LARGE < number < _LARGE:
        return number
    try:
        number = float(number)
    except OverflowError:
        return Unknown("the number is too large")
    return number if number - number == 0 else Unknown("not a finite number")


# ── parts ────────────────────────────────────────────────────────────────────────────────────────


def field(record: Any, key: str, said: str) -> Any:
    """A field of a record; a record without it makes unknown."""
    if isinstance(record, Mapping):
        return record[key] if key in record else Unknown(f"no field '{key[:60]}'")
    if isinstance(record, Unknown):
        return record
    if record is None:
        return Unknown(f"{said} is null")
    if isinstance(record, list):
        raise Refused("a list has no fields: take one of its items, such as [0], or ask any()")
    raise Refused(f"{word(kind(record))} has no fields")


def item(items: Any, at: int, said: str) -> Any:
    """One item of a list. Out of range is unknown, and so is a place that what is missing could change."""
    checked = _list(items, said)
    if isinstance(checked, Unknown):
        return checked
    missing = incomplete(checked)
    if missing is not None and not 0 <= at < _sure(checked):
        return missing
    if -len(checked) <= at < len(checked):
        return checked[at]
    return Unknown(f"{said} has no item [{at}]: it has {len(checked)}")


def part(items: Any, start: int | None, stop: int | None, said: str) -> Any:
    """`items[start:stop]`; it is complete where all of it stands among the items that are sure."""
    checked = _list(items, said)
    if isinstance(checked, Unknown):
        return checked
    values = checked[start:stop]
    missing = incomplete(checked)
    if missing is None:
        return values
    first = start or 0
    if first < 0:
        return Items(values, missing.reason, 0)
    if stop is not None and 0 <= stop <= _sure(checked):
        return values
    return Items(values, missing.reason, min(len(values), max(0, _sure(checked) - first)))


def _sure(items: list[Any]) -> int:
    return min(items.sure, len(items)) if isinstance(items, Items) else len(items)


def _list(value: Any, said: str) -> list[Any] | Unknown:
    if isinstance(value, list | Unknown):
        return value
    if value is None:
        return Unknown(f"{said} is null")
    raise Refused(f"{word(kind(value))} has no items")
