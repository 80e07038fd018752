"""The findings of a document: ordered outcomes of which the last is the default, evidence and advice."""

from __future__ import annotations

import re
from collections.abc import Mapping

from opsdoc.config import Node
from opsdoc.model import Severity, UsageError
from opsdoc.options import did_you_mean
from opsdoc.playbook import types
from opsdoc.playbook.expressions import Expression
from opsdoc.playbook.nouns import Judgement, Outcome
from opsdoc.playbook.problems import Names, Problems, text_of
from opsdoc.playbook.templates import parse_template

KEYS = ("id", "title", "severity", "when", "message", "outcomes", "evidence", "advice")
OUTCOME_KEYS = ("severity", "when", "message")
ID = re.compile(r"[a-z][a-z0-9_-]{0,63}")
MOST_FINDINGS = 100
SEVERITIES = tuple(severity.word for severity in Severity)


def read_findings(node: Node, names: Names, problems: Problems) -> tuple[Judgement, ...]:
    """Every finding of the list; what is wrong with one is told and it is left out."""
    found: list[Judgement] = []
    taken: set[str] = set()
    with problems:
        if not isinstance(node.value, list):
            raise UsageError(f"{node.mark}: findings must be a list")
        if len(node.value) > MOST_FINDINGS:
            raise UsageError(f"{node.value[MOST_FINDINGS].mark}: a playbook has at most {MOST_FINDINGS} findings")
        for one in node.value:
            with problems:
                found.append(_finding(one, names, problems, taken))
    return tuple(found)


def _finding(node: Node, names: Names, problems: Problems, taken: set[str]) -> Judgement:
    keys = node.record("the finding", KEYS, needed=("id", "title"))
    name = text_of(keys["id"], "id")
    if ID.fullmatch(name) is None:
        raise UsageError(f"{keys['id'].mark}: write an id in small letters, digits, - and _, not '{name}'")
    if name in taken:
        raise UsageError(f"{keys['id'].mark}: there are two findings '{name}'")
    taken.add(name)
    title = names.text(keys["title"], "title")
    evidence: list[Expression] = []
    for one in _several(keys.get("evidence")):
        with problems:
            evidence.append(_evidence(one, names))
    advice = []
    for one in _several(keys.get("advice")):
        with problems:
            advice.append(names.text(one, "an advice"))
    outcomes = _outcomes(keys, names, problems) if "outcomes" in keys else _plain(node, keys, names)
    return Judgement(name, title, outcomes, tuple(evidence), tuple(advice), node.mark)


def _several(node: Node | None) -> list[Node]:
    """A list, or one value that stands for a list of one."""
    if node is None:
        return []
    return node.value if isinstance(node.value, list) else [node]


def _evidence(node: Node, names: Names) -> Expression:
    expression, known = names.value(node, "evidence")
    if not types.is_evidence(known):
        raise UsageError(f"{node.mark}: evidence is an observation or a list of them, such as steps.ID.process[:3]")
    return expression


def _severity(node: Node) -> Severity:
    word = text_of(node, "severity")
    if word not in SEVERITIES:
        near = did_you_mean(word, SEVERITIES) or f": it is one of {', '.join(SEVERITIES)}"
        raise UsageError(f"{node.mark}: no severity '{word}'{near}")
    return Severity[word.upper()]


def _plain(node: Node, written: Mapping[str, Node], names: Names) -> tuple[Outcome, ...]:
    """The form without a list: where its `when` is false, it is an OK finding that says what was ruled out."""
    if "severity" not in written:
        raise UsageError(f"{node.mark}: the finding has neither 'severity' nor 'outcomes'")
    severity = _severity(written["severity"])
    message = names.text(written.get("message", written["title"]), "message")
    if "when" not in written:
        return (Outcome(severity, None, message),)
    when = names.condition(written["when"], "when")
    ruled_out = parse_template(f"ruled out: {written['title'].text}")
    return Outcome(severity, when, message), Outcome(Severity.OK, None, ruled_out)


def _outcomes(keys: Mapping[str, Node], names: Names, problems: Problems) -> tuple[Outcome, ...]:
    for key in OUTCOME_KEYS:
        if key in keys:
            raise UsageError(f"{keys[key].mark}: with outcomes, '{key}' stands in each of them")
    listed = keys["outcomes"]
    if not isinstance(listed.value, list) or not listed.value:
        raise UsageError(f"{listed.mark}: outcomes must be a list with something in it")
    found: list[Outcome] = []
    for at, one in enumerate(listed.value):
        with problems:
            last = at == len(listed.value) - 1
            found.append(_outcome(one, names, last=last))
    return tuple(found)


def _outcome(node: Node, names: Names, *, last: bool) -> Outcome:
    written = node.record("the outcome", OUTCOME_KEYS, needed=("severity", "message"))
    if last and "when" in written:
        raise UsageError(f"{written['when'].mark}: the last outcome is the default and has no 'when'")
    if not last and "when" not in written:
        raise UsageError(f"{node.mark}: an outcome without 'when' stands last: those below it are never reached")
    when = names.condition(written["when"], "when") if "when" in written else None
    return Outcome(_severity(written["severity"]), when, names.text(written["message"], "message"))
