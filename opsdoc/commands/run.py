"""`opsdoc run PLAYBOOK`: a scripted playbook from its first step to one report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from opsdoc import config
from opsdoc.commands.cli import EVIDENCE, LOOK_AT, Given, Spec, command_from
from opsdoc.commands.running import check, perform, prepare, shared
from opsdoc.commands.values import resolve
from opsdoc.model import UsageError
from opsdoc.options import Opt, Param, did_you_mean

TIMEOUT = 60.0  # seconds: several probes with their windows

_OWN = (
    Param("playbook", str, Opt("the playbook: a name, a file, or - for standard input", "PLAYBOOK", positional=True),
          None, required=True),
    Param("param", list[str], Opt("a parameter of the playbook", "NAME=VALUE", short="-p", group=LOOK_AT), None,
          required=False),
    Param("only", list[str], Opt("run these steps only", "STEP", group=EVIDENCE), None, required=False),
    Param("dry_run", bool, Opt("tell what would be done and touched, and do nothing", group=EVIDENCE), False,
          required=False),
    Param("skip", list[str], Opt("leave these steps out", "STEP", group=EVIDENCE), None, required=False),
)  # fmt: skip


def command() -> Any:
    """The command as typer runs it."""
    others = shared(TIMEOUT)
    return command_from(
        Spec(
            name="run",
            sentence="Run a playbook: its probes step by step, then its findings across all of them, in one report.",
            example="opsdoc run cpu-hot -o incident.html --record case.tar.gz",
            params=(*_OWN, *others),
            run=lambda given: _run(others, given),
            details="'opsdoc playbook list' names the playbooks that come with opsdoc. What a playbook advises is text "
            "and is never run.",
        )
    )


def _run(others: Sequence[Param], given: Given) -> int:
    prepared = prepare("run", others, given)
    own = resolve(_OWN, prepared.sources)
    check(prepared.options)
    from opsdoc.playbook import document, parameters, runner
    from opsdoc.playbook.case import Case

    playbook = document.load(own["playbook"], lambda: sys.stdin.buffer.read(config.SIZE_CAP + 1))
    replay: Path | None = prepared.options["replay"]
    case = None if replay is None else Case(replay)
    values = parameters.values(playbook, _given(own["param"], case, [param.name for param in playbook.params]))
    steps = [step.id for step in document.steps_of(playbook)]
    choice = runner.Choice(_known(own["only"], steps, "--only"), _known(own["skip"], steps, "--skip"))
    limits = document.limit_names(playbook)
    if own["dry_run"]:
        from opsdoc.playbook.plan import plan

        typer.echo("\n".join(plan(playbook, values, choice)))
        return 0
    return perform(
        prepared,
        limits,
        lambda settings: runner.run(
            playbook,
            values,
            settings._replace(limits={**playbook.limits, **settings.limits}),
            prepared.stop,
            choice,
            case,
        ),
    )


def _given(typed: Sequence[str], case: Any, known: Sequence[str]) -> list[str]:
    """The parameters as typed; in a replay those that the case was made with come first, so that typed ones win."""
    recorded = [] if case is None else [f"{name}={text}" for name, text in case.params.items() if name in known]
    return [*recorded, *typed]


def _known(named: Sequence[str], steps: Sequence[str], flag: str) -> tuple[str, ...]:
    for name in named:
        if name not in steps:
            near = did_you_mean(name, steps) or f": it is one of {', '.join(steps)}"
            raise UsageError(f"bad {flag} '{name}': the playbook has no such step{near}")
    return tuple(named)
