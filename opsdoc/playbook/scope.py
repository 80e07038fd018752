"""What expressions see: parameters in base units, and for each step its status, findings and what it observed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsdoc.model import Observation, ProbeResult, Unknown
from opsdoc.playbook.expressions import Items
from opsdoc.probes import Probe


def seen(result: ProbeResult, probe: Probe) -> dict[str, Any]:
    """A step that was run: one list for each kind that its probe observes.

    A list is incomplete, for the reason told, when anything of the step was unseen: nobody can say to which list it
    would have belonged.
    """
    why = _why_incomplete(result)
    record: dict[str, Any] = {
        "status": result.status,
        "severity": result.severity.word,
        "findings": [_finding(one) for one in result.findings],
    }
    for kind in probe.observes:
        of_kind = [plain(one) for one in result.observations if type(one) is kind]
        record[kind.kind] = Items(of_kind, why)
    return record


def not_run(reason: str, probe: Probe) -> dict[str, Any]:
    """A step that was not run: everything of it is unknown but that it was skipped."""
    unknown = Unknown(reason)
    kinds = {kind.kind: unknown for kind in probe.observes}
    return {"status": "skipped", "severity": unknown, "findings": unknown, **kinds}


def plain(value: Any) -> Any:
    """A value as expressions have it: records as mappings, lists as lists, Unknown as it is."""
    match value:
        case Observation():
            fields = {name: plain(getattr(value, name)) for name in value.fields()}
            return {"id": value.id, "subject": value.subject, **fields}
        case tuple() if hasattr(value, "_asdict"):
            return {name: plain(item) for name, item in value._asdict().items()}
        case tuple() | list():
            return [plain(item) for item in value]
        case _:
            return value


def _finding(finding: Any) -> Mapping[str, Any]:
    names = ("rule", "key", "subject", "summary", "confidence", "next_step")
    return {**{name: getattr(finding, name) for name in names}, "severity": finding.severity.word}


def _why_incomplete(result: ProbeResult) -> str | None:
    if result.unseen:
        first = result.unseen[0]
        return f"{first.subject}: {first.detail}"
    return None if result.status == "ok" else f"the step ended as '{result.status}'"
