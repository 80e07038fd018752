"""The geometry of the pictures, chosen by the shape of the data: bars for shares, a strip for the window."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from opsdoc.model import Observation, Unit
from opsdoc.render import words
from opsdoc.render.tables import main_value, points_of

_MOST_BARS = 12
_LABEL_CELLS = 34
_NO_LABEL = "—"
COMPARABLE: tuple[Unit, ...] = ("cores", "ratio", "seconds", "bytes", "per_second", "count")


@dataclass(frozen=True, slots=True)
class Bar:
    """One share: its name, its value in words, its length from 0 to 1, and whether a finding rests on it."""

    label: str
    value: str
    length: float
    marked: bool


@dataclass(frozen=True, slots=True)
class Bars:
    """Observations of one kind by their main measure."""

    title: str
    description: str
    bars: list[Bar]
    more: int
    rule_at: float | None = None
    rule_label: str = ""


@dataclass(frozen=True, slots=True)
class Dot:
    """One sample: its place from 0 to 1 in both directions (no height where no value), and whether it agrees."""

    x: float
    y: float | None
    agrees: bool
    at: str
    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Strip:
    """A value over the window, with what was seen at each sample."""

    title: str
    description: str
    dots: list[Dot]
    top: str
    begin: str
    end: str
    seen: str
    legend: str

    @property
    def is_labelled(self) -> bool:
        """Whether anything was seen beside the value."""
        return any(dot.label != _NO_LABEL for dot in self.dots)

    @property
    def lines(self) -> list[list[Dot]]:
        """Runs of samples with a value: a gap in the data is a gap in the line."""
        runs: list[list[Dot]] = [[]]
        for dot in self.dots:
            if dot.y is None:
                runs.append([])
            else:
                runs[-1].append(dot)
        return [run for run in runs if len(run) > 1]


def bars_of(observations: Sequence[Observation], marked: Collection[Observation] = ()) -> Bars | None:
    """Bars where several observations of one kind have a main measure that can be compared."""
    measured = [(o, *main_value(o)) for o in observations]
    known = [(o, value, meta) for o, value, meta in measured if value is not None and math.isfinite(value) and meta]
    if len(known) < 2 or known[0][2].unit not in COMPARABLE or not any(value > 0 for _, value, _ in known):
        return None
    meta = known[0][2]
    whole = max(1.0, *(value for _, value, _ in known)) if meta.unit in ("cores", "ratio") else 0
    whole = whole or max(value for _, value, _ in known)
    name = words.kind_name(observations[0].kind)
    bars = [
        Bar(
            words.shorten(words.visible(o.subject), _LABEL_CELLS),
            words.quantity(value, meta.unit),
            max(0.0, value / whole),
            any(o is each for each in marked),
        )
        for o, value, _ in known[:_MOST_BARS]
    ]
    first = known[0]
    return Bars(
        title=f"{meta.title}, side by side" if meta.title == name else f"{meta.title} by {name}",
        description=f"{words.plural(len(bars), 'bar')}; the longest is {max(bars, key=lambda b: b.length).label}, "
        f"{words.quantity(max(value for _, value, _ in known), first[2].unit)}",
        bars=bars,
        more=len(known) - len(bars),
        rule_at=1.0 / whole if meta.unit == "cores" else None,
        rule_label="1 core",
    )


def strip_of(observation: Observation) -> Strip | None:
    """The strip of an observation that was sampled over the window."""
    meta, points = points_of(observation)
    if meta is None:
        return None
    values = [p.value for p in points if p.value is not None and math.isfinite(p.value)]
    top = max(1.0 if meta.unit in ("cores", "ratio") else 0.0, *values) if values else 1.0
    begin, end = min(p.at for p in points), max(p.at for p in points)
    labels = [p.label for p in points if p.label]
    common, seen = _most_common(labels)
    where = f"{seen} of {len(labels)} stacks in {common}" if common else ""
    dots = [
        Dot(
            x=(p.at - begin) / (end - begin) if end > begin else 0.5,
            y=max(0.0, p.value / top) if top and p.value is not None and math.isfinite(p.value) else None,
            agrees=p.label == common,
            at=words.duration(p.at),
            value=words.quantity(p.value, meta.unit),
            label=p.label or _NO_LABEL,
        )
        for p in points
    ]
    return Strip(
        title=f"{words.kind_name(observation.kind).capitalize()} {observation.subject} {meta.title}{_in(meta.unit)}",
        description=f"{words.plural(len(points), 'sample')} from {words.duration(begin)} to {words.duration(end)}",
        dots=dots,
        top=words.quantity(top, meta.unit),
        begin=words.duration(begin),
        end=words.duration(end),
        seen=where,
        legend=_legend(dots, where),
    )


def _legend(dots: Sequence[Dot], seen: str) -> str:
    marks = [f"filled: {seen}"] if seen else []
    hollow = {dot.label for dot in dots if dot.y is not None and not dot.agrees}
    if seen and hollow:
        marks.append(
            "hollow: "
            + " or ".join(
                (["elsewhere"] if hollow - {_NO_LABEL} else []) + (["no stack taken"] if _NO_LABEL in hollow else [])
            )
        )
    if any(dot.y is None for dot in dots):
        marks.append("cross: not measured")
    return "; ".join(marks)


def _in(unit: Unit) -> str:
    return f", in {unit}" if unit in ("cores", "seconds", "bytes") else ""


def _most_common(labels: Sequence[str]) -> tuple[str | None, int]:
    return Counter(labels).most_common(1)[0] if labels else (None, 0)
