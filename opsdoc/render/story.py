"""What a report says before any format: the verdict, its proof, what was ruled out, and the rest in order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from opsdoc.model import PLAYBOOK, Finding, Observation, ProbeResult, Report, Severity, Threshold
from opsdoc.render import words

_STAMP = re.compile(r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:?\d\d)?$")

_ENDS = {"skipped": "was not run", "timeout": "ran out of time", "denied": "was not permitted", "error": "failed"}


class Told(NamedTuple):
    """A finding with the result it was found in, so that its evidence can be looked up."""

    result: ProbeResult
    finding: Finding
    by_id: Mapping[str, Observation]  # the observations of the result

    @property
    def evidence(self) -> list[Observation]:
        """The observations that the finding cites, in its order."""
        return [self.by_id[key] for key in self.finding.evidence if key in self.by_id]


class BlindSpot(NamedTuple):
    """Things that could not be seen for one and the same reason."""

    subjects: list[str]
    reason: str
    detail: str
    hint: str


class Looked(NamedTuple):
    """The observations of one kind in one result, hottest first, and how many there were in all."""

    kind: str
    rows: list[Observation]
    total: int

    @property
    def extent(self) -> str:
        """`5 of 143 processes`."""
        count = words.plural(self.total, words.kind_name(self.kind))
        return count if len(self.rows) >= self.total else f"{len(self.rows):,} of {count}"


class Story:
    """A report in the order in which a doubting colleague would ask."""

    def __init__(self, report: Report) -> None:
        self.report = report

    @cached_property
    def told(self) -> list[Told]:
        """All findings, most severe first; among equals those of a playbook, then in the order asked."""
        told = []
        for result in self.report.results:
            by_id = {o.id: o for o in result.observations}
            told += [Told(result, finding, by_id) for finding in result.findings]
        return sorted(told, key=lambda t: (-t.finding.severity, t.result.probe != PLAYBOOK))

    @property
    def head(self) -> Told | None:
        """The finding that the verdict rests on; none where all is well or nothing was found out."""
        first = self.told[0] if self.told else None
        return first if first and first.finding.severity is not Severity.OK else None

    @property
    def sentence(self) -> str:
        """The one sentence. It never says that nothing is wrong where a part was not judged."""
        report = self.report
        if report.severity is Severity.UNKNOWN and self.head is None and self.told:
            silent = ", ".join(r.step or r.probe for r in report.results if not r.findings)
            return f"not everything could be judged: {silent} came to no verdict; {report.summary}"
        return report.summary

    @property
    def context(self) -> list[str]:
        """Host, time, window: what stands beside the title."""
        windows = [r.window for r in self.report.results if r.window]
        return [
            self.report.host.hostname,
            clock(self.report.started),
            *([f"{words.duration(max(windows))} window"] if windows else []),
            *(["interrupted"] if self.report.interrupted else []),
        ]

    def ruled_out(self, told: Told) -> list[Finding]:
        """The findings behind `ruled_out`, of the same result before any other."""
        found = []
        for rule in dict.fromkeys(told.finding.ruled_out):
            everywhere = [t for t in self.told if t.finding.rule == rule and t.finding.severity is Severity.OK]
            here = [t.finding for t in everywhere if t.result is told.result]
            found.extend(here or [t.finding for t in everywhere])
        return found

    def ruled_out_unsaid(self, told: Told) -> list[str]:
        """The rules that were ruled out without a finding that says so."""
        said = {finding.rule for finding in self.ruled_out(told)}
        return [rule for rule in dict.fromkeys(told.finding.ruled_out) if rule not in said]

    @cached_property
    def blind_spots(self) -> list[BlindSpot]:
        """What could not be seen, alike joined, and the steps that left nothing behind."""
        groups: dict[tuple[str, str, str], list[str]] = {}
        for result in self.report.results:
            for unseen in result.unseen:
                groups.setdefault((unseen.reason, unseen.detail, unseen.hint), []).append(unseen.subject)
            if result.status not in ("ok", "partial") and not (result.findings or result.unseen):
                name = f"step {result.step} ({result.probe})" if result.step else result.probe
                groups.setdefault((result.status, _ENDS.get(result.status, result.status), ""), []).append(name)
        return [BlindSpot(list(dict.fromkeys(subjects)), *key) for key, subjects in groups.items()]

    @cached_property
    def looked(self) -> list[tuple[ProbeResult, list[Looked]]]:
        """What each result saw. What a playbook cites stands with the step that saw it, and only there."""
        of_steps = {id(o) for r in self.report.results if r.probe != PLAYBOOK for o in r.observations}
        looked = []
        for result in self.report.results:
            if result.probe != PLAYBOOK:
                looked.append((result, looked_at(result)))
                continue
            own = tuple(o for o in result.observations if id(o) not in of_steps)
            if own:
                looked.append((result, looked_at(result._replace(observations=own))))
        return looked

    @property
    def pauses(self) -> list[str]:
        """`paused pid 2609 once for 18 ms`, one per process."""
        times: dict[int, list[float]] = {}
        for pause in self.report.cost.pauses:
            times.setdefault(pause.pid, []).append(pause.seconds)
        return [f"paused pid {pid} {_times(len(each))} for {words.duration(sum(each))}" for pid, each in times.items()]


def looked_at(result: ProbeResult) -> list[Looked]:
    """The observations of a result by kind, as emitted."""
    kinds: dict[str, list[Observation]] = {}
    for observation in result.observations:
        kinds.setdefault(observation.kind, []).append(observation)
    return [Looked(kind, rows, max(len(rows), result.totals.get(kind, 0))) for kind, rows in kinds.items()]


def is_table(looked: Sequence[Looked]) -> bool:
    """A result with several observations of one kind only is a table that was asked for, as `top` gives."""
    return sum(1 for each in looked if len(each.rows) > 1) <= 1


def limit_words(threshold: Threshold | None) -> list[str]:
    """The limit a finding was judged by, and how to move it."""
    if threshold is None:
        return []

    def said(value: Any) -> str:
        return words.quantity(value, threshold.unit)

    return [
        f"{threshold.name} {said(threshold.value)}",
        f"warning from {said(threshold.warn)}",
        f"critical from {said(threshold.crit)}" if threshold.crit is not None else "never critical by itself",
        *([threshold.source] if threshold.source else []),
        f"--limit {threshold.name}=WARN:CRIT moves it",
    ]


def clock(stamp: str, *, date: bool = False) -> str:
    """A time of RFC 3339 as `14:02:11 +08:00`; as it stands where it is none."""
    match = _STAMP.match(stamp)
    if not match:
        return stamp
    day, time, offset = match.groups()
    said = {None: "", "Z": " +00:00"}.get(offset, f" {offset}")
    return f"{day} {time}{said}" if date else f"{time}{said}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")
