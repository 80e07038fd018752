"""The values of a command's options: what was typed, then the recording, the environment, the files, the default."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

from opsdoc.commands.cli import Given
from opsdoc.config import Config
from opsdoc.model import UsageError
from opsdoc.options import Param, limits_from

NO_CONFIG = Config({}, {}, ())


class Sources(NamedTuple):
    """Where values come from, in this order. `recorded` are the options that a recording was made with."""

    given: Given
    command: str = "opsdoc"
    recorded: Mapping[str, Any] = MappingProxyType({})
    environment: Mapping[str, str] = MappingProxyType({})
    config: Config = NO_CONFIG


def variable(param: Param) -> str:
    """The environment variable of an option: `OPSDOC_PAUSE_BUDGET`."""
    return "OPSDOC_" + param.name.upper()


def resolve(params: Sequence[Param], sources: Sources) -> dict[str, Any]:
    """Every option's value, converted. Raises UsageError that says where the bad one stands."""
    return {param.name: _value(param, sources) for param in params}


_ABSENT: Any = object()


def _value(param: Param, sources: Sources) -> Any:
    for look in (_typed, _recorded, _from_environment, _from_file):
        if (found := look(param, sources)) is not _ABSENT:
            return found
    if param.required:
        raise UsageError(f"missing {_where(param)}; see '{sources.command} --help'")
    return list(param.default or ()) if param.many else param.default


def _typed(param: Param, sources: Sources) -> Any:
    match sources.given.get(param.name):
        case True:
            return param.default is not True
        case str() as text:
            return _read(param, text, _where(param))
        case None | False | [] | ():
            return _ABSENT
        case texts:
            return [_read(param, text, _where(param)) for text in texts]


def _recorded(param: Param, sources: Sources) -> Any:
    """An option as a recording keeps it: a JSON number, true or false, text, or a list of these."""
    value = sources.recorded.get(param.name, _ABSENT)
    if value is None or value is _ABSENT:
        return value
    if not param.many:
        return _from_json(param, value, param.type)
    if not isinstance(value, list):
        raise UsageError(f"bad recorded {param.name} '{value}'")
    return [_from_json(param, item, get_args(param.type)[0]) for item in value]


def _from_json(param: Param, value: Any, kind: Any) -> Any:
    if isinstance(value, str):
        return _read(param, value, f"recorded {param.name}")
    if isinstance(value, bool | int | float) and isinstance(value, bool) == (kind is bool) and isinstance(kind, type):
        return kind(value)
    raise UsageError(f"bad recorded {param.name} '{value}'")


def _from_environment(param: Param, sources: Sources) -> Any:
    name = variable(param)
    text = "" if param.opt.positional else sources.environment.get(name, "")
    if not text:
        return _ABSENT
    if not param.many:
        return _read(param, text, name)
    return [_read(param, word, name) for word in _words(text, name)]


def _from_file(param: Param, sources: Sources) -> Any:
    node = None if param.opt.positional else sources.config.values.get(param.name)
    return _ABSENT if node is None else _read(param, node.text, param.name, f"{node.mark}: ")


def _where(param: Param) -> str:
    return param.metavar if param.opt.positional else param.flag


def _read(param: Param, text: str, where: str, place: str = "") -> Any:
    try:
        return param.read(text)
    except ValueError as error:
        raise UsageError(f"{place}bad {where} '{text}': {error}") from None


def _words(text: str, name: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"bad {name} '{text}': {error}") from None


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


def limits(here: Sequence[str], sources: Sources) -> dict[str, tuple[float, float]]:
    """The limits that apply to a probe which knows the names `here`; `--limit` wins over environment and files."""
    found: dict[str, tuple[float, float]] = {}
    for name, node in sources.config.limits.items():
        if name in here or not _elsewhere(name):
            try:
                found.update(limits_from([f"{name}={node.text}"], here))
            except UsageError as error:
                raise UsageError(f"{node.mark}: {error}") from None
    found.update(limits_from(_words(sources.environment.get("OPSDOC_LIMIT", ""), "OPSDOC_LIMIT"), here))
    found.update(limits_from(sources.given.get("limit") or (), here))
    return found


def _elsewhere(name: str) -> bool:
    """Whether a limit is one of a signal that this probe does not judge by: a file serves all commands."""
    import importlib
    import pkgutil

    from opsdoc import signals

    signal, _, limit = name.partition(".")
    if signal not in {module.name for module in pkgutil.iter_modules(signals.__path__)}:
        return False
    found = getattr(importlib.import_module(f"{signals.__name__}.{signal}"), "Limits", None)
    return limit in getattr(found, "_fields", ())
