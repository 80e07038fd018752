"""One line for a monitoring system: the status, every finding, and what was measured as performance data.

The form is that of the Monitoring Plugins guidelines, `SERVICE STATUS - text | perfdata`; the further lines that they
allow are not used, because many checks, event handlers and mails show or keep the first line only.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

from opsdoc.model import Finding, Observation, ProbeResult, Report, Severity, Threshold, Unit
from opsdoc.render import words
from opsdoc.render.story import Story, Told
from opsdoc.render.tables import main_value

# Nagios reads 8 KB of a plugin's output, and what it cuts off is the end of the performance data.
_CAP = 8_000
_MOST_PERFDATA = 3_000
_UOM: dict[Unit, str] = {"seconds": "s", "bytes": "B"}  # what has no unit there is written as it is measured
# The bar begins the performance data, and a web interface may take a `<` that could open a tag for one.
_ACTING = re.compile(r"\||<(?=[A-Za-z/!?])")
_NOT_IN_A_LABEL = re.compile(r"[='|]")


class Measure(NamedTuple):
    """How long each text of the line may be, and how many findings and blind spots it tells of."""

    text: int
    parts: int


# Each is tried in turn until the line is under the cap.
_MEASURES = (Measure(100_000, 100_000), Measure(200, 100_000), Measure(60, 100_000), Measure(60, 60), Measure(40, 20))


def render(report: Report, out: TextIO, **_: Any) -> None:
    """Write the line, in characters that the output can carry."""
    perfdata = _perfdata(report)
    room = _CAP - len(perfdata.encode("utf-8", "replace"))
    text = ""
    for measure in _MEASURES:
        text = _Line(report, measure).text()
        if len(text.encode("utf-8", "replace")) <= room:
            break
    else:
        text = text.encode("utf-8", "replace")[: room - 20].decode("utf-8", "ignore") + " (cut)"
    encoding = getattr(out, "encoding", None) or "utf-8"
    out.write(f"{text} | {perfdata}\n".encode(encoding, "backslashreplace").decode(encoding))


# ── the text ─────────────────────────────────────────────────────────────────────────────────────


class _Line:
    """What stands before the bar: the sentence, the other findings by severity, what was in order and what not seen."""

    def __init__(self, report: Report, measure: Measure) -> None:
        self._report = report
        self._story = Story(report)
        self._measure = measure

    def text(self) -> str:
        """All parts, divided by semicolons."""
        return "; ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        head = self._story.head
        begin = f"OPSDOC {self._report.severity.name} - {self._say(self._story.sentence)}"
        yield f"{begin} ({self._say(head.finding.rule)})" if head else begin
        rest = [told.finding for told in self._story.told if told is not head]
        told = rest[: self._measure.parts]
        yield from (
            f"{finding.severity.name}: {self._found(finding)}"
            for finding in told
            if finding.severity is not Severity.OK
        )
        in_order = [self._found(finding) for finding in told if finding.severity is Severity.OK]
        if in_order:
            yield f"OK: {', '.join(in_order)}"
        if len(told) < len(rest):
            yield f"+ {words.plural(len(rest) - len(told), 'finding')} more, all of them in the JSON"
        yield from self._unseen()

    def _found(self, finding: Finding) -> str:
        """A finding with its rule; where the sentence has said all that is in order, the rule alone."""
        said = self._story.head is None and finding.summary in self._story.sentence
        rule = self._say(finding.rule)
        return rule if said else f"{self._say(finding.summary)} ({rule})"

    def _unseen(self) -> Iterator[str]:
        spots = self._story.blind_spots
        for spot in spots[: self._measure.parts]:
            subjects = self._say(", ".join(spot.subjects))
            hint = f"; to see it: {self._say(spot.hint)}" if spot.hint else ""
            yield f"unseen: {subjects} ({self._say(spot.detail or spot.reason)}{hint})"
        if len(spots) > self._measure.parts:
            yield f"+ {words.plural(len(spots) - self._measure.parts, 'blind spot')} more, all of them in the JSON"

    def _say(self, text: str) -> str:
        return inert(words.shorten(words.visible(text), self._measure.text))


def inert(text: str) -> str:
    r"""Outside text, already visible, in which nothing begins performance data or a tag: `\x7c` for a bar."""
    return _ACTING.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


# ── performance data ─────────────────────────────────────────────────────────────────────────────


class _Series(NamedTuple):
    """A value as it is plotted. None is no value: a limit that does not apply, or a measure that is unknown."""

    label: str
    value: float | None
    unit: Unit
    warn: float | None = None
    crit: float | None = None


def _perfdata(report: Report) -> str:
    """`'label'=value[UOM];warn;crit;min;max` for what was judged, then for the main measures, then for the run."""
    series: dict[str, _Series] = {}
    for each in _series(report):
        series.setdefault(_quoted(each.label), each)
    kept: list[str] = []
    for label, each in series.items():
        kept.append(f"{label}={_plotted(each, report.host.cpus)}")
        if len(" ".join(kept).encode("utf-8", "replace")) > _MOST_PERFDATA:
            return " ".join(kept[:-1])
    return " ".join(kept)


def _series(report: Report) -> Iterator[_Series]:
    """The run's own time first, so that it is never cut; then the most severe."""
    yield _Series("elapsed", report.elapsed, "seconds")
    for told in Story(report).told:
        if told.finding.threshold is not None:
            yield _judged(told, told.finding.threshold)
    for result in report.results:
        yield from _measured(result)


def _judged(told: Told, threshold: Threshold) -> _Series:
    """A finding's threshold, named by the part of its key that stays the same from run to run."""
    who = told.finding.key.removeprefix(told.finding.rule).lstrip(":")
    label = " ".join(part for part in (told.result.step, threshold.name, who) if part)
    return _Series(label, threshold.value, threshold.unit, threshold.warn, threshold.crit)


def _measured(result: ProbeResult) -> Iterator[_Series]:
    """The main measures of what is still there in the next run: a process or thread would be a new series each time."""
    lasting = [o for o in result.observations if not _passes(o)]
    kinds = Counter(o.kind for o in lasting)
    for observation in lasting:
        value, meta = main_value(observation)
        if meta is None or not (meta.unit or value is not None):
            continue
        who = "" if kinds[observation.kind] == 1 else observation.subject
        name = words.kind_name(observation.kind)
        label = " ".join(part for part in (result.step, name, who, meta.title) if part)
        yield _Series(label, value, meta.unit)


def _passes(observation: Observation) -> bool:
    return any(name in ("pid", "tid") for name in observation.fields())


def _quoted(label: str) -> str:
    return "'" + _NOT_IN_A_LABEL.sub("_", inert(words.shorten(words.visible(label), 120))) + "'"


def _plotted(series: _Series, cpus: int | None) -> str:
    most = 1.0 if series.unit == "ratio" else float(cpus) if series.unit == "cores" and cpus else None
    value = _digits(series.value)
    limits = [_digits(each) for each in (series.warn, series.crit, 0.0, most)]
    return ";".join([f"{value}{_UOM.get(series.unit, '')}" if value else "U", *limits]).rstrip(";")


def _digits(value: float | None) -> str:
    """A number in digits, sign and point, which are all that the guidelines allow; nothing where there is none."""
    if value is None or not math.isfinite(value):
        return ""
    digits = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if digits == "-0" else digits
