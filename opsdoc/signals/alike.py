"""Findings that are alike: the worst are told one by one, the rest are summed up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from opsdoc.model import Finding, Severity
from opsdoc.signals.amounts import listed

MOST = 10  # findings of one rule and severity that are told one by one


def is_bad(finding: Finding) -> bool:
    """Whether it says more than what was ruled out."""
    return finding.severity is not Severity.OK


def summed_up(findings: Iterable[Finding]) -> Iterator[Finding]:
    """No more than MOST of a rule and severity, in the order given; the rest in one that cites some of them."""
    kinds: dict[tuple[str, Severity], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.rule, finding.severity), []).append(finding)
    for (rule, severity), found in kinds.items():
        yield from found[:MOST]
        rest = found[MOST:]
        if len(rest) == 1:
            yield rest[0]
        elif rest:
            yield rest[0]._replace(
                key=f"{rule}:rest:{severity.word}",
                subject=f"{len(rest):,} more",
                summary=f"{len(rest):,} more of the same ({rule}): {listed([one.subject for one in rest], 5)}",
                evidence=tuple(dict.fromkeys(cited for one in rest[:MOST] for cited in one.evidence)),
                threshold=None,
                confidence=None,
            )
