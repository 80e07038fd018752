"""What is known of the names in expressions before anything ran: from the parameters and from what probes observe."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from opsdoc.model import Severity, Status, Unknown
from opsdoc.playbook.expressions import ListOf, OneOf, Record, Type
from opsdoc.playbook.language.kinds import either
from opsdoc.playbook.nouns import ParamSpec
from opsdoc.probes import Probe, load

_SEVERITY = OneOf(tuple(severity.word for severity in Severity))
_FINDING = Record(
    {"severity": _SEVERITY, **dict.fromkeys(("rule", "key", "subject", "summary", "confidence", "next_step"), "text")}
)
_PARAMS: Mapping[str, Type] = {
    **dict.fromkeys(("int", "float", "duration", "size", "percent", "pid"), "number"),
    **dict.fromkeys(("string", "host", "path", "secret"), "text"),
    "bool": "bool",
}
_PLAIN: Mapping[Any, Type] = {int: "number", float: "number", str: "text", bool: "bool"}


def environment(
    params: Iterable[ParamSpec],
    steps: Mapping[str, Type],
    *,
    with_secrets: bool = False,
    unknown: Iterable[str] = (),
) -> Mapping[str, Type]:
    """The names of an expression with the types of their values: `params`, and the steps that have run by then.

    Secrets are there only for the options of steps: nothing that is shown can name them. Of `unknown` parameters
    everything is allowed.
    """
    fields: dict[str, Type] = dict.fromkeys(unknown, "any")
    fields |= {spec.name: of_param(spec) for spec in params if with_secrets or spec.type != "secret"}
    return {"params": Record(fields), "steps": Record(dict(steps))}


def of_param(spec: ParamSpec) -> Type:
    """The type of a parameter's value."""
    return OneOf(spec.choices) if spec.type == "enum" else _PARAMS[spec.type]


def of_step(probe_name: str) -> Record:
    """What is known of a step that ran a probe: how it ended, what it found, one list per kind of observation."""
    return _of_probe(load(probe_name))


@cache
def _of_probe(probe: Probe) -> Record:
    observes: tuple[Any, ...] = probe.observes
    kinds = {kind.kind: ListOf(of_observation(kind)) for kind in observes}
    return Record(
        {"status": OneOf(get_args(Status)), "severity": _SEVERITY, "findings": ListOf(_FINDING), **kinds},
    )


@cache
def of_observation(kind: Any) -> Record:
    """The fields of a type of observation, with `id` and `subject`."""
    hints = typing.get_type_hints(kind)
    return Record({"id": "text", "subject": "text", **{name: of_hint(hints[name]) for name in kind.fields()}})


def of_hint(hint: Any) -> Type:
    """The type of a field's values; of what is not known here everything is allowed."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        found = [of_hint(one) for one in arguments if one not in (Unknown, type(None))]
        first: Type = found[0] if found else "null"
        for one in found[1:]:
            first = either(first, one)
        return first
    if origin is Literal:
        return OneOf(arguments) if all(isinstance(one, str) for one in arguments) else "any"
    if origin in (tuple, list):
        return ListOf(of_hint(arguments[0]))
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        fields = typing.get_type_hints(hint)
        return Record({name: of_hint(fields[name]) for name in hint._fields})
    return _PLAIN.get(hint, "any")


def is_evidence(known: Type) -> bool:
    """Whether it is an observation, or a list of them."""
    one = known.item if isinstance(known, ListOf) else known
    return one == "any" or (isinstance(one, Record) and {"id", "subject"} <= set(one.fields))
