"""The nouns of a playbook document: what it asks for, its steps, and its findings with their outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from opsdoc.config import Mark
from opsdoc.model import Severity
from opsdoc.playbook.expressions import Expression
from opsdoc.playbook.language.patterns import LinearPattern
from opsdoc.playbook.templates import Template

ParamType = Literal[
    "string", "int", "float", "bool", "duration", "size", "percent", "enum", "pid", "host", "path", "secret"
]


class ParamSpec(NamedTuple):
    """What a playbook asks for. `default`, `min` and `max` are in base units: seconds, bytes, shares from 0 to 1.

    A secret has no default: it is read from the environment variable `from_env` or the file `from_file`.
    """

    name: str
    type: ParamType
    mark: Mark
    default: Any = None
    required: bool = False
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] = ()
    pattern: LinearPattern | None = None
    description: str = ""
    from_env: str | None = None
    from_file: str | None = None


class Step(NamedTuple):
    """One probe with its options; those that are not in `given` have their defaults.

    An option that can be given more than once has a tuple of templates, or one whose value is a list.
    """

    id: str
    probe: str
    given: Mapping[str, Template | tuple[Template, ...]]
    when: Expression | None
    timeout: float | None
    optional: bool
    mark: Mark


class Parallel(NamedTuple):
    """Steps that run at the same time."""

    steps: tuple[Step, ...]
    mark: Mark


class Outcome(NamedTuple):
    """What a finding says where `when` is true; without `when` it is the default."""

    severity: Severity
    when: Expression | None
    message: Template


class Judgement(NamedTuple):
    """A finding across steps: the first of its outcomes that is true. The last one is the default.

    An advice that begins with `$ ` is a command to copy.
    """

    id: str
    title: Template
    outcomes: tuple[Outcome, ...]
    evidence: tuple[Expression, ...]
    advice: tuple[Template, ...]
    mark: Mark


class Playbook(NamedTuple):
    """A whole document, checked. `limits` are WARN and CRIT by `signal.field`, in base units."""

    name: str
    title: str
    description: str
    params: tuple[ParamSpec, ...]
    limits: Mapping[str, tuple[float, float]]
    steps: tuple[Step | Parallel, ...]
    findings: tuple[Judgement, ...]
    file: str
