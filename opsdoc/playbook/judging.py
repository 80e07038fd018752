"""The findings of a playbook: ordered outcomes over what all its steps saw, and never a green light by blindness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opsdoc.model import PLAYBOOK, Finding, Observation, ProbeResult, Severity, Unknown
from opsdoc.playbook.expressions import Expression, ExpressionError
from opsdoc.playbook.nouns import Judgement, Outcome, Playbook
from opsdoc.playbook.templates import Template

COMMAND = "$ "  # how an advice begins that can be pasted into a shell


def result_of(
    playbook: Playbook, names: Mapping[str, Any], results: Sequence[ProbeResult], started: str, elapsed: float
) -> ProbeResult:
    """The result that stands behind those of the steps: one finding for each that the playbook has, worst first."""
    findings = [_finding(playbook, judgement, names) for judgement in playbook.findings]
    wanted = {identity for finding in findings for identity in finding.evidence}
    shown = [one for result in results for one in result.observations if one.id in wanted]
    return ProbeResult(
        probe=PLAYBOOK,
        step=None,
        targets=("localhost",),
        status="partial" if any(finding.severity is Severity.UNKNOWN for finding in findings) else "ok",
        started=started,
        elapsed=elapsed,
        observations=tuple(_distinct(shown)),
        findings=tuple(sorted(findings, key=lambda finding: -finding.severity)),
    )


def _distinct(observations: Sequence[Observation]) -> list[Observation]:
    return list({one.id: one for one in observations}.values())


def _finding(playbook: Playbook, judgement: Judgement, names: Mapping[str, Any]) -> Finding:
    severity, summary = _outcome(judgement, names)
    advice = [_advice(one, names) for one in judgement.advice] if severity is not Severity.OK else []
    return Finding(
        rule=f"{playbook.name}.{judgement.id}",
        key=f"{playbook.name}.{judgement.id}:{playbook.name}",
        severity=severity,
        subject=_text(judgement.title, names),
        summary=summary,
        evidence=tuple(dict.fromkeys(_evidence(judgement.evidence, names))),
        next_step=_joined([text for text in advice if not text.startswith(COMMAND)]),
        by_hand=tuple(text.removeprefix(COMMAND) for text in advice if text.startswith(COMMAND)),
    )


def _outcome(judgement: Judgement, names: Mapping[str, Any]) -> tuple[Severity, str]:
    """The first outcome that is true; what stands before it and is unknown makes the result unknown at least."""
    doubt: Unknown | None = None
    for outcome in judgement.outcomes:
        holds = _holds(outcome, names)
        if isinstance(holds, Unknown):
            doubt = doubt or holds
        elif holds:
            return _with_doubt(outcome, _text(outcome.message, names), doubt)
    reason = doubt.reason if doubt else "no outcome applies"
    return Severity.UNKNOWN, f"cannot be told: {reason}"


def _with_doubt(outcome: Outcome, message: str, doubt: Unknown | None) -> tuple[Severity, str]:
    if doubt is None:
        return outcome.severity, message
    if outcome.severity < Severity.UNKNOWN:
        return Severity.UNKNOWN, f"cannot be told: {doubt.reason}"
    return outcome.severity, f"{message} (and something worse may be hidden: {doubt.reason})"


def _holds(outcome: Outcome, names: Mapping[str, Any]) -> bool | Unknown:
    if outcome.when is None:
        return True
    try:
        return outcome.when.decide(names)
    except ExpressionError as error:
        return Unknown(str(error))


def _text(template: Template, names: Mapping[str, Any]) -> str:
    try:
        return template.render(names)
    except ExpressionError as error:
        return f"({error})"


def _joined(advice: Sequence[str]) -> str:
    """Several advices as one text, whether or not they are written as sentences."""
    ended = [text if text.endswith((".", "!", "?", ";")) else f"{text};" for text in advice[:-1]]
    return " ".join([*ended, *advice[-1:]])


def _advice(template: Template, names: Mapping[str, Any]) -> str:
    """An advice; a command into which a name of the target would smuggle another one is left out, and that is said."""
    if not template.text.startswith(COMMAND):
        return _text(template, names).removeprefix(COMMAND)
    try:
        command = template.command(names)
    except ExpressionError as error:
        return f"({error})"
    return command or "(A command was left out: a value in it is unknown or holds what a shell would obey.)"


def _evidence(expressions: Sequence[Expression], names: Mapping[str, Any]) -> Iterator[str]:
    """The ids of the observations that the evidence names; what is unknown is none."""
    for expression in expressions:
        try:
            value = expression.evaluate(names)
        except ExpressionError:
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping) and isinstance(one.get("id"), str):
                yield one["id"]
