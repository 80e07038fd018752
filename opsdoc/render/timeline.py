"""When each step ran, as a share of the whole run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from opsdoc.model import PLAYBOOK, Report
from opsdoc.render import words

_LABEL_CELLS = 26


@dataclass(frozen=True, slots=True)
class Span:
    """One step: its name, its begin and length in words and as shares of the run, where they are known."""

    name: str
    probe: str
    targets: str
    status: str
    severity: str
    begin: str
    length: str
    x: float | None
    width: float

    @property
    def label(self) -> str:
        """The name as it fits beside the bars."""
        return words.shorten(words.visible(self.name), _LABEL_CELLS)

    @property
    def said(self) -> str:
        """The step in a few words: `db timeout 5.0 s`."""
        return f"{self.name} {self.status}" if self.status == "skipped" else f"{self.name} {self.status} {self.length}"


def timeline(report: Report) -> list[Span]:
    """The steps in the order asked; what a playbook concludes from them is none."""
    began = _moment(report.started)
    results = [result for result in report.results if result.probe != PLAYBOOK]
    offsets = [
        None if result.status == "skipped" else _offset(began, _moment(result.started)) for result in results
    ]  # a step that was not run has no place in time
    ends = [offset + result.elapsed for offset, result in zip(offsets, results, strict=True) if offset is not None]
    whole = max([report.elapsed, *ends, 0.001])
    return [
        Span(
            name=result.step or result.probe,
            probe=result.probe,
            targets=", ".join(result.targets),
            status=result.status,
            severity=result.severity.word,
            begin="—" if offset is None else words.duration(offset),
            length="—" if result.status == "skipped" else words.duration(result.elapsed),
            x=None if offset is None else min(1.0, max(0.0, offset / whole)),
            width=min(1.0, max(0.0, result.elapsed / whole)),
        )
        for offset, result in zip(offsets, results, strict=True)
    ]


def _offset(began: datetime | None, moment: datetime | None) -> float | None:
    if began is None or moment is None or (began.tzinfo is None) != (moment.tzinfo is None):
        return None
    return (moment - began).total_seconds()


def _moment(stamp: str) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    except ValueError:
        return None
