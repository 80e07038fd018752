"""Findings in order, and the limits they are judged by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opsdoc.model import Finding, Limit, Severity


def ranked(findings: Iterable[Finding], precedence: tuple[str, ...]) -> list[Finding]:
    """Most severe first, then by the probe's table; each that is not OK is told what was ruled out.

    What is in order needs no headline, and stays in the order in which the judges looked.
    """

    def rank(finding: Finding) -> tuple[int, int]:
        if finding.severity is Severity.OK or finding.rule not in precedence:
            return -finding.severity, len(precedence)
        return -finding.severity, precedence.index(finding.rule)

    in_order = sorted(findings, key=rank)
    ruled_out = tuple(f.rule for f in in_order if f.severity is Severity.OK)
    return [f if f.severity is Severity.OK else f._replace(ruled_out=ruled_out) for f in in_order]


def limits(signal_name: str, defaults: Any, overrides: Mapping[str, tuple[float, float]]) -> Any:
    """A judge's limits with the user's in place of the defaults."""
    changed: dict[str, Limit] = {}
    for name in defaults._fields:
        if (pair := overrides.get(f"{signal_name}.{name}")) is not None:
            limit: Limit = getattr(defaults, name)
            changed[name] = limit._replace(warn=pair[0], crit=pair[1], source="set by --limit or the configuration")
    return defaults._replace(**changed)
