"""The functions of the language: what each takes and gives, and the ones that need nothing but their values.

Kinds of arguments: `number text list`, `list or text`, `numbers` (or one list of them), `list of numbers`, `list of
values` (numbers, texts, true or false), `any` (a known value), `maybe` (null and unknown too), and what is read with
the expression: `predicate` and `pattern`, which are texts, and `decimals`.

Kinds of results are those of `values.kind`, or `item` (of the list), `same` (as the list), `each` (a list of what the
predicate gives), `either` (of the arguments).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from opsdoc.model import Unknown
from opsdoc.playbook.language import values
from opsdoc.playbook.language.values import Refused, incomplete, kind, word

MAX_TEXT = 8 * 1024  # characters of what `join` makes


class Function(NamedTuple):
    """How a function is written. `run` computes it from known values; None where the evaluation itself does."""

    usage: str
    takes: tuple[str, ...]
    gives: str
    run: Callable[..., Any] | None = None
    required: int | None = None  # of the arguments; None: all
    repeats: bool = False  # the last kind of argument may come again

    def accepts(self, count: int) -> bool:
        """Whether it can be called with so many arguments."""
        least = len(self.takes) if self.required is None else self.required
        return least <= count and (self.repeats or count <= len(self.takes))


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


def _not_numbers(items: list[Any]) -> Unknown | None:
    """Why a list cannot be computed with, or None. Raises Refused for what is no number."""
    if (missing := incomplete(items)) is not None:
        return missing
    if values.PLAIN_NUMBERS.issuperset(map(type, items)):
        return None
    for one in items:
        if isinstance(one, Unknown):
            return one
        if one is None:
            return Unknown("an item is null")
        if kind(one) != "number":
            raise Refused(f"the list holds {word(kind(one))} where numbers are needed")
    return None


def _sum(items: list[Any]) -> Any:
    if (unknown := _not_numbers(items)) is not None:
        return unknown
    try:
        return values.settled(sum(items))
    except OverflowError:
        return Unknown("the number is too large")


def _extreme(best: Callable[[list[float]], float]) -> Callable[..., Any]:
    def extreme(*given: Any) -> Any:
        items = given[0] if len(given) == 1 and isinstance(given[0], list) else list(given)
        if (unknown := _not_numbers(items)) is not None:
            return unknown
        if not items:
            return Unknown("the list is empty")
        if not all(map(operator.eq, items, items)):
            return Unknown("not a finite number")
        return values.settled(best(items))

    return extreme


def _round(number: float, decimals: int = 0) -> Any:
    return values.settled(round(number, decimals) if decimals else round(number))


def _abs(number: float) -> Any:
    return abs(number)


# ── lists ────────────────────────────────────────────────────────────────────────────────────────


def _len(counted: list[Any] | str) -> Any:
    missing = incomplete(counted) if isinstance(counted, list) else None
    return len(counted) if missing is None else missing


def _first(items: list[Any]) -> Any:
    return values.item(items, 0, "the list")


def _last(items: list[Any]) -> Any:
    return values.item(items, -1, "the list")


def _join(items: list[Any], between: str) -> Any:
    if (missing := incomplete(items)) is not None:
        return missing
    parts: list[str] = []
    length = 0
    for one in items:
        text = written(one, "an item")
        if isinstance(text, Unknown):
            return text
        parts.append(text)
        length += len(parts[-1]) + len(between)
        if length > MAX_TEXT:
            return Unknown("the joined text is too long: take a part of the list, such as [:5]")
    return between.join(parts)


# ── texts ────────────────────────────────────────────────────────────────────────────────────────


def written(value: Any, said: str) -> str | Unknown:
    """A number, a text, true or false as a text that loses nothing. Raises Refused for a list or a record."""
    if isinstance(value, Unknown):
        return value
    if value is None:
        return Unknown(f"{said} is null")
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float):
        raise Refused(f"{word(kind(value))} cannot be part of a text: take a field of it")
    number = values.settled(value)
    if isinstance(number, Unknown):
        return number
    return str(int(number)) if number == number // 1 and abs(number) < 1e15 else str(number)


def _contains(where: list[Any] | str, what: Any) -> Any:
    return values.contains(where, what, ("the list", "what is looked for"))


def _human_duration(seconds: float) -> str:
    from opsdoc.render import words

    return words.duration(seconds)


def _human_size(octets: float) -> str:
    from opsdoc.render import words

    return words.size(octets)


def _percent(ratio: float) -> str:
    from opsdoc.render import words

    return words.percent(ratio)


# ── all of them ──────────────────────────────────────────────────────────────────────────────────

FUNCTIONS: dict[str, Function] = {
    "any": Function('any(list, "predicate")', ("list", "predicate"), "bool"),
    "all": Function('all(list, "predicate")', ("list", "predicate"), "bool"),
    "count": Function('count(list, "predicate")', ("list", "predicate"), "number"),
    "where": Function('where(list, "predicate")', ("list", "predicate"), "same"),
    "each": Function('each(list, "expression")', ("list", "predicate"), "each"),
    "has": Function("has(value)", ("maybe",), "bool"),
    "default": Function("default(value, otherwise)", ("maybe", "maybe"), "either"),
    "matches": Function('matches(text, "pattern")', ("text", "pattern"), "bool"),
    "len": Function("len(list or text)", ("list or text",), "number", _len),
    "first": Function("first(list)", ("list",), "item", _first),
    "last": Function("last(list)", ("list",), "item", _last),
    "sum": Function("sum(list of numbers)", ("list of numbers",), "number", _sum),
    "min": Function("min(a, b) or min(list of numbers)", ("numbers",), "number", _extreme(min), repeats=True),
    "max": Function("max(a, b) or max(list of numbers)", ("numbers",), "number", _extreme(max), repeats=True),
    "abs": Function("abs(number)", ("number",), "number", _abs),
    "round": Function("round(number, 0 to 15 decimals)", ("number", "decimals"), "number", _round, required=1),
    "contains": Function("contains(list or text, part)", ("list or text", "any"), "bool", _contains),
    "startswith": Function("startswith(text, start)", ("text", "text"), "bool", str.startswith),
    "endswith": Function("endswith(text, end)", ("text", "text"), "bool", str.endswith),
    "lower": Function("lower(text)", ("text",), "text", str.lower),
    "upper": Function("upper(text)", ("text",), "text", str.upper),
    "join": Function("join(list, between)", ("list of values", "text"), "text", _join),
    "human_duration": Function("human_duration(seconds)", ("number",), "text", _human_duration),
    "human_size": Function("human_size(bytes)", ("number",), "text", _human_size),
    "percent": Function("percent(share from 0 to 1)", ("number",), "text", _percent),
}


_FITS = {
    "numbers": ("number", "list"),
    "decimals": ("number",),
    "list or text": ("list", "text"),
    "list of numbers": ("list",),
    "list of values": ("list",),
}


def misfit(takes: str, given: str, alone: bool = True) -> str | None:
    """What should have been given in place of a value of this kind, or None where it fits."""
    if given == "any" or takes in ("any", "maybe"):
        return None
    fits = _FITS.get(takes, (takes,)) if alone or takes != "numbers" else ("number",)
    return None if given in fits else " or ".join(word(one) for one in fits)
