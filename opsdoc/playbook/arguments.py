"""Options of a step: whether what was written can be their value, and the value once the names are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from opsdoc.model import Unknown
from opsdoc.options import Param, did_you_mean, spelled
from opsdoc.playbook.expressions import ExpressionError, ListOf, OneOf, Type
from opsdoc.playbook.language.kinds import kind_of
from opsdoc.playbook.language.values import word
from opsdoc.playbook.templates import Template

Given = Template | tuple[Template, ...]


def misfit(known: Type, param: Param) -> str | None:
    """Why a value of this type can never be the option's, or None."""
    if param.many and isinstance(known, ListOf):
        known = known.item
    kind = _kind(param)
    wanted = "bool" if kind is bool else "number" if _is_number(kind) else "text"
    if get_origin(kind) is Literal and isinstance(known, OneOf):
        strange = next((one for one in known.words if one not in get_args(kind)), None)
        if strange is not None:
            near = did_you_mean(strange, get_args(kind)) or f": it is one of {', '.join(get_args(kind))}"
            return f"option '{param.name}' can never be '{strange}'{near}"
    fits = {wanted, "any", "null"} | ({"number"} if wanted == "text" else set())
    return None if kind_of(known) in fits else f"option '{param.name}' takes {word(wanted)}, not {word(kind_of(known))}"


def value(given: Given, param: Param, names: Mapping[str, Any]) -> Any:
    """An option's value: null is its default, and what is unknown or can be no value of it is Unknown."""
    if isinstance(given, tuple):
        found = [value(one, param._replace(type=_kind(param), default=None), names) for one in given]
        return next((one for one in found if isinstance(one, Unknown)), found)
    if given.is_plain:
        return _read(given.text, param)
    try:
        computed = given.value(names)
    except ExpressionError as error:
        return Unknown(error.message)
    if computed is None:
        return Unknown("it is null") if param.required else param.default
    if isinstance(computed, list) and param.many:
        items = [_read(one, param) for one in computed]
        return next((one for one in items if isinstance(one, Unknown)), items)
    one = _read(computed, param)
    return [one] if param.many and not isinstance(one, Unknown) else one


def _read(computed: Any, param: Param) -> Any:
    """One value, by the converter that a typed text goes through."""
    kind = _kind(param)
    if isinstance(computed, Unknown):
        return computed
    if isinstance(computed, Mapping | list) or computed is None:
        return Unknown("it is not one value")
    if isinstance(computed, int | float) and not isinstance(computed, bool) and _is_number(kind):
        computed = _spelled(computed, kind)
    try:
        return param.read(spelled(computed))
    except ValueError as error:
        return Unknown(f"'{spelled(computed)}' is no value of {param.name}: {error}")


def _spelled(number: float, kind: type) -> str:
    """A number in base units as its converter reads it: `3s`, `0.85`, `12`."""
    fraction = str(number) if kind is float else f"{number:.6f}"
    text = str(int(number)) if number == int(number) else fraction
    return f"{text}s" if kind.__name__ == "Duration" else text


def _kind(param: Param) -> Any:
    return get_args(param.type)[0] if param.many else param.type


def _is_number(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, int | float) and kind is not bool
