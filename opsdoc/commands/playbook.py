"""`opsdoc playbook list|show|validate`: what comes with opsdoc, as it is written, and whether a file is right."""

from __future__ import annotations

import sys
from typing import Any, Literal

import typer

from opsdoc import config
from opsdoc.commands.cli import Given, Spec, command_from
from opsdoc.model import UsageError
from opsdoc.options import Opt, Param

_WHAT = Param("what", Literal["list", "show", "validate"], Opt("what to do", positional=True), None, required=True)
_WHICH = Param(
    "playbook", str, Opt("a name, a file, or - for standard input", "PLAYBOOK", positional=True), None, required=False
)


def command() -> Any:
    """The command as typer runs it."""
    return command_from(
        Spec(
            name="playbook",
            sentence="List the playbooks that come with opsdoc, show one, or check one without running anything.",
            example="opsdoc playbook validate my-incident.yml",
            params=(_WHAT, _WHICH),
            run=_run,
            details="A bad playbook is refused with FILE:LINE:COLUMN and exit code 64, before any probe is run.",
        )
    )


def _run(given: Given) -> int:
    from opsdoc.commands.values import Sources, resolve
    from opsdoc.playbook import document

    values = resolve((_WHAT, _WHICH), Sources(given=given, command="opsdoc playbook"))
    what, which = values["what"], values["playbook"]
    if what == "list":
        if which is not None:
            raise UsageError(f"no place for '{which}': opsdoc playbook list")
        for name in document.shipped():
            typer.echo(f"{name:<24}{document.parse(document.read_shipped(name), name).title}")
        return 0
    if which is None:
        raise UsageError(f"missing PLAYBOOK: opsdoc playbook {what} PLAYBOOK")
    data, file = document.read(which, lambda: sys.stdin.buffer.read(config.SIZE_CAP + 1))
    if what == "show":
        typer.echo(data.decode("utf-8", "backslashreplace"), nl=False)
        return 0
    playbook = document.parse(data, file)
    steps, findings = len(document.steps_of(playbook)), len(playbook.findings)
    typer.echo(f"{file}: {playbook.name} is right: {steps} steps, {findings} findings")
    return 0
