"""Parameters of a playbook: how they are declared, and their values from what was typed, in base units."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from opsdoc import config, options
from opsdoc.config import Mark, Node
from opsdoc.model import UsageError
from opsdoc.options import did_you_mean
from opsdoc.playbook.expressions import ExpressionError, Source
from opsdoc.playbook.language.patterns import LinearPattern
from opsdoc.playbook.language.run import Exhausted
from opsdoc.playbook.nouns import ParamSpec, ParamType, Playbook
from opsdoc.playbook.problems import Problems, text_of, wrong
from opsdoc.redact import Redactor

MASK = "********"
KEYS = ("type", "default", "required", "min", "max", "choices", "pattern", "description", "from_env", "from_file")
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
PATTERN_STEPS = 20_000  # of one value
LONGEST = 4096  # characters of a value
_NUMBERS = ("int", "float", "duration", "size", "percent")
_PATTERNED = ("string", "host", "path")


def _whole(text: str) -> int:
    if re.fullmatch(r"-?\d{1,18}", text, re.ASCII) is None:
        raise ValueError("write a whole number")
    return int(text)


def _pid(text: str) -> int:
    if re.fullmatch(r"[1-9]\d{0,9}", text, re.ASCII) is None:
        raise ValueError("write a process id such as 2609")
    return int(text)


def _host(text: str) -> str:
    if re.fullmatch(r"[\w.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?|[0-9A-Fa-f:.]{2,45}", text, re.ASCII):
        return text
    raise ValueError("write a host such as db1.example, 10.0.0.7:6379 or [::1]:6379")


def _text(text: str) -> str:
    if "\x00" in text or len(text) > LONGEST:
        raise ValueError(f"write a text of at most {LONGEST} characters")
    return text


# What one text means, in base units.
_READ: Mapping[str, Callable[[str], Any]] = {
    "string": _text, "secret": _text, "path": _text, "enum": _text, "host": _host, "pid": _pid,
    "int": _whole, "float": lambda text: options.convert(text, float), "bool": lambda text: options.convert(text, bool),
    "duration": lambda text: float(options.duration(text)),
    "size": lambda text: int(options.size(text)),
    "percent": lambda text: float(options.ratio(text)),
}  # fmt: skip


# ── how they are declared ────────────────────────────────────────────────────────────────────────


def read_params(node: Node, problems: Problems) -> tuple[list[ParamSpec], list[str]]:
    """The parameters that a document declares, and the names of those with something wrong."""
    specs: list[ParamSpec] = []
    broken: list[str] = []
    for name, about in node.mapping("params").items():
        broken.append(name)
        with problems:
            if NAME.fullmatch(name) is None:
                raise UsageError(f"{name.mark}: write a parameter's name in small letters, digits and _, not '{name}'")
            specs.append(_spec(name, name.mark, about))
            broken.pop()
    return specs, broken


def _spec(name: str, mark: Mark, about: Node) -> ParamSpec:
    what = f"parameter '{name}'"
    keys = about.record(what, KEYS, needed=("type",))
    kind: Any = keys["type"].text
    if kind not in get_args(ParamType):
        near = did_you_mean(kind, get_args(ParamType)) or f": it is one of {', '.join(get_args(ParamType))}"
        raise UsageError(f"{keys['type'].mark}: no type '{kind}'{near}")
    _check_keys(keys, kind, what, mark)
    spec = ParamSpec(
        name=str(name),
        type=kind,
        mark=mark,
        required=is_true(keys["required"]) if "required" in keys else False,
        choices=_choices(keys["choices"]) if "choices" in keys else (),
        pattern=_pattern(keys["pattern"]) if "pattern" in keys else None,
        description=text_of(keys["description"], "description") if "description" in keys else "",
        from_env=text_of(keys["from_env"], "from_env") if "from_env" in keys else None,
        from_file=text_of(keys["from_file"], "from_file") if "from_file" in keys else None,
    )
    for bound in ("min", "max"):
        if bound in keys:
            spec = spec._replace(**{bound: _declared(spec, keys[bound], bound)})
    if "default" in keys and keys["default"].value is not None:
        spec = spec._replace(default=_declared(spec, keys["default"], "default"))
    if spec.required and spec.default is not None:
        raise UsageError(f"{keys['required'].mark}: {what} has a default, so it is not required")
    return spec


def _check_keys(keys: Mapping[str, Node], kind: str, what: str, mark: Mark) -> None:
    """Which keys a type has: a secret none that could hold it, an enum its choices."""
    belong = {
        "min": kind in _NUMBERS,
        "max": kind in _NUMBERS,
        "choices": kind == "enum",
        "pattern": kind in _PATTERNED,
        "default": kind != "secret",
        "from_env": kind == "secret",
        "from_file": kind == "secret",
    }
    for key, node in keys.items():
        if not belong.get(key, True):
            why = ": write from_env or from_file" if kind == "secret" and key == "default" else ""
            raise UsageError(f"{node.mark}: {what} of type {kind} has no '{key}'{why}")
    if kind == "enum" and "choices" not in keys:
        raise UsageError(f"{mark}: {what} of type enum needs choices")
    if kind == "secret" and ("from_env" in keys) == ("from_file" in keys):
        raise UsageError(f"{mark}: {what} of type secret needs from_env or from_file, one of them")


def is_true(node: Node) -> bool:
    """A scalar that must be true or false. Raises UsageError."""
    if not isinstance(node.value, bool):
        raise UsageError(f"{node.mark}: write true or false")
    return node.value


def _choices(node: Node) -> tuple[str, ...]:
    if not isinstance(node.value, list) or not node.value:
        raise UsageError(f"{node.mark}: choices must be a list of texts")
    return tuple(text_of(one, "a choice") for one in node.value)


def _pattern(node: Node) -> LinearPattern:
    try:
        return LinearPattern(Source.of(text_of(node, "pattern")))
    except ExpressionError as error:
        raise wrong(node, error) from None


def _declared(spec: ParamSpec, node: Node, what: str) -> Any:
    try:
        return _value(spec, text_of(node, what))
    except ValueError as error:
        raise UsageError(f"{node.mark}: bad {what} '{node.text}': {error}") from None


# ── their values ─────────────────────────────────────────────────────────────────────────────────


def values(playbook: Playbook, given: Sequence[str]) -> dict[str, Any]:
    """Every parameter's value in base units, or None; `given` are `name=value`, of which the last wins.

    Secrets are read where the playbook says. Raises UsageError for what cannot be a value.
    """
    typed = dict(_pair(one, playbook) for one in given)
    found: dict[str, Any] = {}
    for spec in playbook.params:
        if spec.type == "secret":
            found[spec.name] = _secret(spec)
        elif spec.name in typed:
            found[spec.name] = _typed(spec, typed[spec.name])
        else:
            found[spec.name] = spec.default
        if spec.required and found[spec.name] is None:
            raise UsageError(_missing(spec))
    return found


def shown(playbook: Playbook, found: Mapping[str, Any]) -> dict[str, str]:
    """The values as they may be shown and given again with `-p`; what has no value is left out.

    Secrets are masked, and so is a password within another text, such as a URL.
    """
    mask = Redactor().text
    return {
        spec.name: MASK if spec.type == "secret" else mask(spelled(spec, found[spec.name]))
        for spec in playbook.params
        if found.get(spec.name) is not None
    }


def spelled(spec: ParamSpec, value: Any) -> str:
    """A value as it is typed: `3s`, `85%`."""
    of = {"duration": options.Duration, "percent": options.Ratio}.get(spec.type)
    return options.spelled(value if of is None else of(value))


def _pair(text: str, playbook: Playbook) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    specs = {spec.name: spec for spec in playbook.params}
    if name not in specs:
        known = ", ".join(specs) or "none"
        raise UsageError(
            f"bad -p '{name}': no such parameter{did_you_mean(name, specs) or f'; {playbook.name} has {known}'}"
        )
    if specs[name].type == "secret":  # the value is not repeated
        raise UsageError(f"bad -p '{name}': a secret does not stand on a command line; {_source(specs[name])}")
    if not equals:
        raise UsageError(f"bad -p '{text}': write {name}=VALUE")
    return name, value


def _typed(spec: ParamSpec, text: str) -> Any:
    try:
        return _value(spec, text)
    except ValueError as error:
        raise UsageError(f"bad -p {spec.name}='{text}': {error}") from None


def _value(spec: ParamSpec, text: str) -> Any:
    """One value. Raises ValueError with what to write instead."""
    value = _READ[spec.type](text)
    if spec.choices and value not in spec.choices:
        raise ValueError(f"choose one of {', '.join(spec.choices)}{did_you_mean(text, spec.choices)}")
    if spec.min is not None and value < spec.min:
        raise ValueError(f"it is at least {spelled(spec, spec.min)}")
    if spec.max is not None and value > spec.max:
        raise ValueError(f"it is at most {spelled(spec, spec.max)}")
    if spec.pattern is not None and not _fits(spec.pattern, value):
        raise ValueError("it does not match the parameter's pattern")
    return value


def _fits(pattern: LinearPattern, text: str) -> bool:
    try:
        return pattern.find(text, PATTERN_STEPS)
    except Exhausted:
        return False


def _missing(spec: ParamSpec) -> str:
    about = f" ({spec.description})" if spec.description else ""
    if spec.type == "secret":
        return f"missing parameter '{spec.name}'{about}: {_source(spec)}"
    return f"missing parameter '{spec.name}'{about}: -p {spec.name}=VALUE"


def _source(spec: ParamSpec) -> str:
    if spec.from_env is not None:
        return f"it is read from the environment variable {spec.from_env}"
    return f"it is read from the file {spec.from_file}"


def _secret(spec: ParamSpec) -> str | None:
    """A secret, or None where its variable is not set; a file that cannot be read is an error."""
    if spec.from_env is not None:
        return os.environ.get(spec.from_env) or None
    data, why = config.contents(Path(spec.from_file or ""))
    if data is None:
        raise UsageError(f"cannot read the secret '{spec.name}' from {spec.from_file}: {why or 'no such file'}")
    if len(data) > LONGEST:
        raise UsageError(f"the secret '{spec.name}' in {spec.from_file} is longer than {LONGEST} bytes")
    return data.decode("utf-8", "surrogateescape").rstrip("\r\n") or None
