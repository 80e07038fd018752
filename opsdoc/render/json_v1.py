"""JSON, schema opsdoc.report/1: the frozen shape that scripts rely on. Additions keep the number, changes do not."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TextIO

from opsdoc.model import (
    Cost,
    Finding,
    Frame,
    Observation,
    Point,
    ProbeResult,
    Report,
    Threshold,
    Unknown,
    Unseen,
)
from opsdoc.render.story import Story
from opsdoc.render.words import fields_of, visible

SCHEMA = "opsdoc.report/1"

_EXPANDED = 4  # levels: report, results, result, its lists

_BEYOND_ASCII = re.compile(r"[^\n -~]+")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def render(report: Report, out: TextIO, **_: Any) -> None:
    """Write the report as JSON that any encoding can carry."""
    out.write(dumps(as_dict(report), ascii_only=not _is_unicode(out)))
    out.write("\n")


def dumps(data: Any, *, ascii_only: bool = False, indent: int | None = 2) -> str:
    """Data of `as_dict` as text, an observation or finding a line; what could act instead of being read is escaped."""
    encode = json.JSONEncoder(ensure_ascii=ascii_only, allow_nan=False).encode
    text = _indented(data, encode, _EXPANDED, "") if indent else encode(data)
    if text.isascii() and "\x7f" not in text:  # nearly always, and the encoder has escaped what lies below a blank
        return text
    return _BEYOND_ASCII.sub(_inert, text)


def _indented(value: Any, encode: Callable[[Any], str], depth: int, margin: str) -> str:
    """The outer levels on lines of their own; json's own indentation takes ten times as long as its encoder in C."""
    if not depth or not value or not isinstance(value, dict | list):
        return encode(value)
    inner = margin + "  "
    if isinstance(value, dict):
        items = [f"{encode(name)}: {_indented(item, encode, depth - 1, inner)}" for name, item in value.items()]
    else:
        items = [_indented(item, encode, depth - 1, inner) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{inner}" + f",\n{inner}".join(items) + f"\n{margin}{closing}"


def _inert(match: re.Match[str]) -> str:
    """Characters that are legal in a JSON string, but that a terminal or an editor may obey, as escapes."""
    return "".join(char if visible(char) == char else json.dumps(char)[1:-1] for char in match[0])


def schema(kinds: Iterable[type[Observation]] = ()) -> dict[str, Any]:
    """The JSON Schema of a report; with the observation types that a caller knows it describes their fields too."""
    from opsdoc.render.json_schema import report_schema

    return report_schema(SCHEMA, kinds)


# ── the shape ────────────────────────────────────────────────────────────────────────────────────


def as_dict(report: Report) -> dict[str, Any]:
    """The report as JSON data: base units, RFC 3339 times, null with its reason for what is unknown."""
    return {
        "schema": SCHEMA,
        "tool": {"name": "opsdoc", "version": _plain(report.version)},
        "title": _plain(report.title),
        "host": {
            "hostname": _plain(report.host.hostname),
            "kernel": _plain(report.host.kernel),
            "cpus": report.host.cpus,
            "memory_bytes": report.host.memory_bytes,
            "boot_time": _plain(report.host.boot_time),
            "virtualization": _plain(report.host.virtualization),
        },
        "started": _plain(report.started),
        "elapsed_seconds": _plain(report.elapsed),
        "interrupted": report.interrupted,
        "severity": report.severity.word,
        "exit_code": report.exit_code,
        "summary": _plain(Story(report).sentence),
        "cost": _cost(report.cost),
        "redactions": _plain(report.redactions),
        "results": [_result(result) for result in report.results],
    }


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "wall_seconds": _plain(cost.wall_seconds),
        "cpu_seconds": _plain(cost.cpu_seconds),
        "max_rss_bytes": cost.max_rss_bytes,
        "pauses": [{"pid": p.pid, "seconds": _plain(p.seconds), "how": _plain(p.how)} for p in cost.pauses],
        "target_files": _plain(cost.target_files),
    }


def _result(result: ProbeResult) -> dict[str, Any]:
    shown = Counter(o.kind for o in result.observations)
    kinds = dict.fromkeys([*shown, *result.totals])
    return {
        "probe": _plain(result.probe),
        "step": _plain(result.step),
        "targets": _plain(result.targets),
        "status": result.status,
        "severity": result.severity.word,
        "started": _plain(result.started),
        "elapsed_seconds": _plain(result.elapsed),
        "window_seconds": _plain(result.window),
        "total": {kind: max(result.totals.get(kind, 0), shown[kind]) for kind in kinds},
        "shown": {kind: shown[kind] for kind in kinds},
        "observations": [_observation(o) for o in result.observations],
        "unseen": [_unseen(u) for u in result.unseen],
        "findings": [_finding(f) for f in sorted(result.findings, key=lambda f: -f.severity)],
    }


def _observation(observation: Observation) -> dict[str, Any]:
    values = {name: getattr(observation, name) for name in observation.fields()}
    return {
        "id": _plain(observation.id),
        "kind": observation.kind,
        "subject": _plain(observation.subject),
        **{name: _plain(value) for name, value in values.items()},
        "unknown": {_plain(place): _plain(reason) for place, reason in _unknown(values)},
    }


def _unknown(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is unknown and why: by the name of the field, in records by the place within: `servers[0].p95`."""
    for name, value in values.items():
        if value is not None and not isinstance(value, str | int):
            yield from _unknown_within(name, value)


def _unknown_within(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if reason := _why_unknown(value):
        yield place, reason
    elif fields := fields_of(value):
        for name, item in fields.items():
            yield from _unknown_within(f"{place}.{name}", item)
    elif isinstance(value, tuple | list) and value and not isinstance(value[0], Frame | Point):
        for index, item in enumerate(value):
            yield from _unknown_within(f"{place}[{index}]", item)


def _why_unknown(value: Any) -> str | None:
    if isinstance(value, Unknown):
        return value.reason or "unknown"
    if isinstance(value, float) and not math.isfinite(value):
        return "not a finite number"
    return None


def _unseen(unseen: Unseen) -> dict[str, Any]:
    return {
        "subject": _plain(unseen.subject),
        "reason": unseen.reason,
        "detail": _plain(unseen.detail),
        "hint": _plain(unseen.hint),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": _plain(finding.rule),
        "key": _plain(finding.key),
        "severity": finding.severity.word,
        "subject": _plain(finding.subject),
        "summary": _plain(finding.summary),
        "evidence": _plain(finding.evidence),
        "threshold": _threshold(finding.threshold),
        "confidence": _plain(finding.confidence),
        "ruled_out": _plain(finding.ruled_out),
        "next_step": _plain(finding.next_step),
        "by_hand": _plain(finding.by_hand),
    }


def _threshold(threshold: Threshold | None) -> dict[str, Any] | None:
    if threshold is None:
        return None
    names = ("name", "value", "warn", "crit", "unit", "source")
    return {name: _plain(getattr(threshold, name)) for name in names}


# ── values ───────────────────────────────────────────────────────────────────────────────────────


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one line per type
    """A value as JSON data. It never fails: what is not known here becomes its text."""
    match value:
        case None | Unknown():
            return None
        case bool() | int():
            return value
        case float():
            return _rounded(value)
        case str():
            return value if value.isascii() else _LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", value)
        case Frame():
            return _frame(value)
        case tuple() if hasattr(value, "_fields"):
            return {name: _plain(item) for name, item in zip(value._fields, value, strict=True)}
        case Mapping():
            return {_plain(str(key)): _plain(item) for key, item in value.items()}
        case tuple() | list() | set() | frozenset():
            return [_plain(item) for item in value]
        case _:
            return _plain(str(value))


@lru_cache(maxsize=4096)
def _frame(frame: Frame) -> dict[str, Any]:
    """A frame as JSON data. Hundreds of threads wait in the same frames."""
    return {name: _plain(item) for name, item in frame._asdict().items()}


def _rounded(value: float) -> float | None:
    """Six decimals, or six digits of what is smaller: measured values, not the noise of their arithmetic."""
    if not math.isfinite(value):
        return None
    return round(value, 6) if abs(value) >= 0.001 else float(f"{value:.6g}")


def _is_unicode(out: TextIO) -> bool:
    return (getattr(out, "encoding", None) or "utf-8").lower().replace("_", "-").startswith("utf")
