"""`opsdoc schema`: the JSON Schemas that outputs are validated against."""

from __future__ import annotations

import importlib
import json
import pkgutil
from typing import Any, Literal

import typer

from opsdoc import signals
from opsdoc.commands.cli import Given, Spec, command_from
from opsdoc.model import Observation
from opsdoc.options import Opt, Param

_WHAT = Param("what", Literal["report"], Opt("whose schema", positional=True), None, required=True)


def command() -> Any:
    """The command as typer runs it."""
    return command_from(
        Spec(
            name="schema",
            sentence="Print the JSON Schema that every report of --json and -o FILE.json follows.",
            example="opsdoc schema report > opsdoc.report.schema.json",
            params=(_WHAT,),
            run=_run,
        )
    )


def _run(given: Given) -> int:
    from opsdoc.commands.values import Sources, resolve
    from opsdoc.render.json_v1 import schema

    resolve((_WHAT,), Sources(given=given, command="opsdoc schema"))
    typer.echo(json.dumps(schema(_kinds()), indent=2))
    return 0


def _kinds() -> list[type[Observation]]:
    """Every observation type that a signal declares."""
    found: dict[str, type[Observation]] = {}
    for module in pkgutil.iter_modules(signals.__path__):
        for value in vars(importlib.import_module(f"{signals.__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Observation) and value.kind:
                found[value.kind] = value
    return [found[kind] for kind in sorted(found)]
