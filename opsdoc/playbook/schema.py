"""The JSON Schema (2020-12) of playbooks, for editors: keys, probes with their options, limits, and what they mean.

What only opsdoc can check (expressions, references between steps) is left to `opsdoc playbook validate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from opsdoc import probes
from opsdoc.model import Severity
from opsdoc.options import Duration, Param, Ratio, Size, ThreadId, spelled
from opsdoc.playbook import findings, parameters, reading
from opsdoc.playbook.nouns import ParamType

_SCALAR = {"type": ["string", "number", "boolean"]}
_TEMPLATE = {"type": "string", "pattern": r"\$\{\{", "description": "a text with ${{ expression }} in it"}
_DURATION = {"type": ["string", "number"], "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d)|0)$", "maximum": 0}
_PLAIN: dict[Any, dict[str, Any]] = {
    str: _SCALAR,
    Path: {"type": "string"},
    int: {"type": "integer", "minimum": 0},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Duration: _DURATION,
    Size: {"type": ["string", "integer"]},
    Ratio: {"type": ["string", "number"]},
    ThreadId: {"type": ["string", "integer"]},
}


def schema() -> dict[str, Any]:
    """The schema of a whole playbook, with the probes that this opsdoc has."""
    known = [probes.load(name) for name in probes.names()]
    properties = {
        "apiVersion": {"const": reading.API},
        "name": _text("as it is called: cpu-hot", pattern=_whole(reading.NAME.pattern)),
        "title": _text("one sentence: what it finds out"),
        "description": _text("what it does, and when to use it"),
        "params": {
            "type": "object",
            "propertyNames": {"pattern": _whole(parameters.NAME.pattern)},
            "additionalProperties": _param(),
            "description": "what is given with -p NAME=VALUE; expressions see params.NAME in base units",
        },
        "limits": _limits(known),
        "steps": {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [{"$ref": "#/$defs/step"}, _object({"parallel": _steps()}, "parallel")]},
        },
        "findings": {"type": "array", "maxItems": findings.MOST_FINDINGS, "items": {"$ref": "#/$defs/finding"}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": reading.API,
        "description": "A playbook of opsdoc. opsdoc playbook validate FILE checks what a schema cannot.",
        **_object(properties, "apiVersion", "name", "title", "steps"),
        "$defs": {"step": _step(known), "finding": _finding()},
    }


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _text(about: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "description": about, **more}


def _whole(pattern: str) -> str:
    return f"^{pattern}$"


def _steps() -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}}


def _param() -> dict[str, Any]:
    properties = {
        "type": {"enum": list(get_args(ParamType))},
        "default": _SCALAR | {"type": [*_SCALAR["type"], "null"]},
        "required": {"type": "boolean"},
        "min": _SCALAR,
        "max": _SCALAR,
        "choices": {"type": "array", "minItems": 1, "items": _SCALAR},
        "pattern": _text("what a string, host or path must match"),
        "description": _text("what it is for"),
        "from_env": _text("the environment variable that holds the secret"),
        "from_file": _text("the file that holds the secret"),
    }
    return _object(properties, "type")


def _limits(known: Iterable[probes.Probe]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for probe in known:
        for name, limit in probes.limit_names(probe).items():
            found[name] = {
                "type": "string",
                "pattern": ".:.",
                "description": f"WARN:CRIT, in {limit.unit or 'a number'}: {limit.source}",
            }
    return _object(found)


def _step(known: Iterable[probes.Probe]) -> dict[str, Any]:
    known = list(known)
    properties = {
        "id": _text("how expressions name it: steps.ID", pattern=_whole(reading.STEP_ID.pattern)),
        "probe": {"oneOf": [{"const": probe.name, "description": probe.help} for probe in known]},
        "with": {"type": "object", "description": "the options of the probe"},
        "when": {"type": ["string", "boolean"], "description": "it is run where this expression is true"},
        "timeout": _DURATION,
        "optional": {"type": "boolean", "description": "if it fails, that is listed and does not change the verdict"},
    }
    each = [
        {
            "if": {"properties": {"probe": {"const": probe.name}}},
            "then": {"properties": {"with": _with(probe)}, "required": [*(["with"] if _required(probe) else [])]},
        }
        for probe in known
    ]
    return {**_object(properties, "id", "probe"), "allOf": each}


def _with(probe: probes.Probe) -> dict[str, Any]:
    return _object({param.name: _option(param) for param in probe.params}, *_required(probe))


def _required(probe: probes.Probe) -> list[str]:
    return [param.name for param in probe.params if param.required]


def _option(param: Param) -> dict[str, Any]:
    kind = get_args(param.type)[0] if param.many else param.type
    plain = {"enum": list(get_args(kind))} if get_origin(kind) is Literal else _PLAIN.get(kind, _SCALAR)
    one = {"anyOf": [plain, _TEMPLATE]}
    about = param.opt.help + (f" (default: {spelled(param.default)})" if param.default is not None else "")
    if param.many:
        return {"anyOf": [*one["anyOf"], {"type": "array", "items": one}], "description": about}
    return {**one, "description": about}


def _finding() -> dict[str, Any]:
    severity = {"enum": [severity.word for severity in Severity]}
    when = {"type": ["string", "boolean"], "description": "an expression that is true or false"}
    message = _text("one sentence, with ${{ expression }} in it where needed")
    outcome = _object({"severity": severity, "when": when, "message": message}, "severity", "message")
    several = {"anyOf": [_text("one"), {"type": "array", "items": _text("one")}]}
    properties = {
        "id": _text("its rule is NAME.ID", pattern=_whole(findings.ID.pattern)),
        "title": _text("what is asked"),
        "severity": severity,
        "when": when,
        "message": message,
        "outcomes": {
            "type": "array",
            "minItems": 1,
            "items": outcome,
            "description": "the first that is true; the last has no 'when'",
        },
        "evidence": {**several, "description": "observations, such as steps.ID.process[:3]"},
        "advice": {**several, "description": "what to do next; '$ …' is a command to copy; nothing of it is run"},
    }
    either = [{"required": ["severity"]}, {"required": ["outcomes"]}]
    return {**_object(properties, "id", "title"), "oneOf": either}
