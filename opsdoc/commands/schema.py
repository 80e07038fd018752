"""`opsdoc schema`: the JSON Schemas that outputs are validated against."""

from __future__ import annotations

import json
from typing import Any, Literal

import typer

from opsdoc.commands.cli import Given, Spec, command_from
from opsdoc.options import Opt, Param

_WHAT = Param("what", Literal["report", "playbook"], Opt("whose schema", positional=True), None, required=True)


def command() -> Any:
    """The command as typer runs it."""
    return command_from(
        Spec(
            name="schema",
            sentence="Print the JSON Schema that every report (--json, -o FILE.json) or every playbook follows.",
            example="opsdoc schema report > opsdoc.report.schema.json",
            params=(_WHAT,),
            run=_run,
        )
    )


def _run(given: Given) -> int:
    from opsdoc.commands.values import Sources, resolve

    what = resolve((_WHAT,), Sources(given=given, command="opsdoc schema"))["what"]
    typer.echo(json.dumps(_report() if what == "report" else _playbook(), indent=2))
    return 0


def _report() -> Any:
    from opsdoc.render.json_v1 import schema
    from opsdoc.reread import kinds

    return schema(list(kinds().values()))


def _playbook() -> Any:
    from opsdoc.playbook.schema import schema

    return schema()
