"""The JSON Schema (2020-12) of a report: its frozen frame, and the fields of the observation types a caller knows."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from opsdoc.model import Frame, Observation, Origin, Point, Reason, Severity, Share, Status, Unit, Unknown

_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_NUMBER = {"type": "number"}
_MAYBE_NUMBER = {"type": ["number", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_MAYBE_COUNT = {"type": ["integer", "null"], "minimum": 0}
_TIME = {"type": "string", "format": "date-time"}
_TEXTS = {"type": "array", "items": _TEXT}
_COUNTS = {"type": "object", "additionalProperties": _COUNT}
_SEVERITY = {"enum": [severity.word for severity in Severity]}

_UNITS = {
    "cores": "in cores: 1.0 is one core busy",
    "ratio": "a ratio, 0 to 1",
    "seconds": "in seconds",
    "bytes": "in bytes",
    "per_second": "per second",
    "count": "a count",
    "id": "an identifier",
    "hex": "hexadecimal",
    "step": "a step of a way, in the order of its records",
    "command": "a command line",
    "time": "a time, RFC 3339",
}


def report_schema(name: str, kinds: Iterable[type[Observation]] = ()) -> dict[str, Any]:
    """The schema of a whole report. Unknown fields are allowed everywhere: additions keep the number."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "description": "Times are seconds, sizes bytes, shares ratios 0-1, CPU in cores. "
        "A field that could not be measured is null with its reason under unknown; null alone does not apply.",
        **_object(
            schema={"const": name},
            tool=_object(name={"const": "opsdoc"}, version=_TEXT),
            title=_TEXT,
            host=_object(
                hostname=_TEXT,
                kernel=_MAYBE_TEXT,
                cpus=_MAYBE_COUNT,
                memory_bytes=_MAYBE_COUNT,
                boot_time=_MAYBE_TEXT,
                virtualization=_MAYBE_TEXT,
            ),
            started=_TIME,
            elapsed_seconds=_NUMBER,
            interrupted={"type": "boolean"},
            severity=_SEVERITY,
            exit_code={"type": "integer", "minimum": 0, "maximum": 255},
            summary=_TEXT,
            cost=_cost(),
            redactions=_COUNTS,
            results={"type": "array", "items": {"$ref": "#/$defs/result"}},
        ),
        "$defs": {
            "result": _result(),
            "finding": _finding(),
            "unseen": _object(subject=_TEXT, reason={"enum": list(get_args(Reason))}, detail=_TEXT, hint=_TEXT),
            "observation": _observation(kinds),
        },
    }


def _cost() -> dict[str, Any]:
    pause = _object(pid=_COUNT, seconds=_NUMBER, how=_TEXT)
    return _object(
        wall_seconds=_NUMBER,
        cpu_seconds=_NUMBER,
        max_rss_bytes=_COUNT,
        pauses={"type": "array", "items": pause},
        target_files=_TEXTS,
    )


def _result() -> dict[str, Any]:
    return _object(
        probe=_TEXT,
        step=_MAYBE_TEXT,
        targets=_TEXTS,
        status={"enum": list(get_args(Status))},
        severity=_SEVERITY,
        started=_TIME,
        elapsed_seconds=_NUMBER,
        window_seconds=_MAYBE_NUMBER,
        total={**_COUNTS, "description": "how many there were of each kind of observation"},
        shown={**_COUNTS, "description": "how many of them are listed"},
        observations={"type": "array", "items": {"$ref": "#/$defs/observation"}},
        unseen={"type": "array", "items": {"$ref": "#/$defs/unseen"}},
        findings={"type": "array", "items": {"$ref": "#/$defs/finding"}},
    )


def _finding() -> dict[str, Any]:
    threshold = _object(
        name=_TEXT,
        value=_MAYBE_NUMBER,
        warn=_MAYBE_NUMBER,
        crit=_MAYBE_NUMBER,
        unit={"enum": list(get_args(Unit))},
        source=_TEXT,
    )
    return _object(
        rule=_TEXT,
        key=_TEXT,
        severity=_SEVERITY,
        subject=_TEXT,
        summary=_TEXT,
        evidence=_TEXTS,
        threshold={"anyOf": [threshold, {"type": "null"}]},
        confidence=_MAYBE_TEXT,
        ruled_out=_TEXTS,
        next_step=_TEXT,
        by_hand=_TEXTS,
    )


# ── observations ─────────────────────────────────────────────────────────────────────────────────


def _observation(kinds: Iterable[type[Observation]]) -> dict[str, Any]:
    frame = _object(id=_TEXT, kind=_TEXT, subject=_TEXT, unknown={"type": "object", "additionalProperties": _TEXT})
    known = [_of_kind(kind) for kind in kinds]
    return {**frame, **({"allOf": known} if known else {})}


def _of_kind(observation: type[Observation]) -> dict[str, Any]:
    hints = get_type_hints(observation)
    fields = {}
    for name, meta in observation.fields().items():
        about = _UNITS.get(meta.unit)
        of_type = _of_type(hints[name], meta.columns)
        fields[name] = {"title": meta.title, **({"description": about} if about else {}), **of_type}
    return {"if": {"properties": {"kind": {"const": observation.kind}}}, "then": _object(**fields)}


def _of_type(hint: Any, units: Mapping[str, Unit]) -> dict[str, Any]:
    """The schema of a field's values; whatever is not known here may be anything. `units` are those within records."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        choices = {str(choice): choice for choice in (_of_type(argument, units) for argument in arguments)}
        return next(iter(choices.values())) if len(choices) == 1 else {"anyOf": list(choices.values())}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (tuple, list):
        return {"type": "array", "items": _of_type(arguments[0], units)}
    if origin is Mapping or origin is dict:
        return {"type": "object", "additionalProperties": _of_type(arguments[1], units)}
    if hint not in _PLAIN and isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        return _of_record(hint, units)
    return _PLAIN.get(hint, {})


def _of_record(record: Any, units: Mapping[str, Unit]) -> dict[str, Any]:
    hints = get_type_hints(record)
    fields = {}
    for name in record._fields:
        about = _UNITS.get(units.get(name, ""))
        fields[name] = {**({"description": about} if about else {}), **_of_type(hints[name], {})}
    return _object(**fields)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


# A measured float may turn out not to be finite, and is null then, with its reason.
_PLAIN: dict[Any, dict[str, Any]] = {
    str: _TEXT,
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: _MAYBE_NUMBER,
    type(None): {"type": "null"},
    Unknown: {"type": "null"},
    Frame: _object(
        function=_TEXT, file=_MAYBE_TEXT, line={"type": ["integer", "null"]}, origin={"enum": list(get_args(Origin))}
    ),
    Share: _object(seen=_COUNT, of=_COUNT),
    Point: _object(at=_MAYBE_NUMBER, value=_MAYBE_NUMBER, label=_MAYBE_TEXT),
}
