"""Reports read back: the JSON of opsdoc.report/1, or the page that carries it, as the report it was written from.

What a newer opsdoc has added is left out where a kind of observation is known here, and kept as plain fields where it
is not.
What the verdict rests on must be there and must fit: a report that was cut or edited is refused.
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

from opsdoc import signals
from opsdoc.model import (
    Cost,
    Finding,
    Frame,
    HostFacts,
    Observation,
    Pause,
    Point,
    ProbeResult,
    Report,
    Severity,
    Share,
    Threshold,
    Unknown,
    Unseen,
    UsageError,
    measure,
)

T = TypeVar("T")

SCHEMA, NUMBER = "opsdoc.report/", 1
SIZE_CAP = 256 << 20

_CARRIED = re.compile(rb'<script type="application/json" id="opsdoc-result">(.*?)</script>', re.DOTALL)
_LONGEST_NUMBER = 300  # digits: what is longer is no float any more
_DEEPEST = 16  # levels of lists within one field
_LONGEST_PLACE = 1_000  # characters of the path to a value within one
_MOST_FIELDS = 200  # of a kind that is not known here
_BESIDE = 4  # fields of such a kind that stand beside its subject
_ABSENT = "not in the report that was read"
_SEVERITIES = {severity.word: severity for severity in Severity}


class _Misfit(Exception):
    """What is wrong with a report, and where in it."""


def read(data: bytes) -> Report:
    """The report in the bytes of a .json or an .html file. Raises UsageError for anything else, with what is wrong."""
    if len(data) > SIZE_CAP:
        raise UsageError(f"the report is larger than {SIZE_CAP >> 20} MiB")
    try:
        return _report(Place(_parsed(_json_in(data)), "the report"))
    except _Misfit as error:
        raise UsageError(str(error)) from None


def kinds() -> dict[str, type[Observation]]:
    """Every kind of observation that a signal declares, in the order of their names."""
    found: dict[str, type[Observation]] = {}
    for module in pkgutil.iter_modules(signals.__path__):
        for value in vars(importlib.import_module(f"{signals.__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Observation) and value.kind:
                found[value.kind] = value
    return {kind: found[kind] for kind in sorted(found)}


# ── from bytes to JSON data ──────────────────────────────────────────────────────────────────────


def _json_in(data: bytes) -> bytes:
    """The JSON itself: all of the bytes, or what a page carries."""
    start = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise _Misfit("the report is empty")
    if start[:1] != b"<":
        return data
    carried = _CARRIED.findall(data)
    if carried:
        return cast("bytes", carried[-1])  # outside text cannot write the element, and nothing stands behind it
    if b'<p class="running">opsdoc ' in data:
        raise _Misfit("this page carries no JSON, because it was too large: read the .json that was saved beside it")
    raise _Misfit("not a report of opsdoc: a page without its JSON")


def _parsed(data: bytes) -> Any:
    try:
        text = data.decode("utf-8-sig")
        return json.loads(text, parse_int=_whole, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise _Misfit("not a report of opsdoc: it is neither JSON nor HTML") from None
    except json.JSONDecodeError as error:
        if text.lstrip()[:1] == "{":
            raise _Misfit(f"not whole JSON: {error.msg} in line {error.lineno}") from None
        raise _Misfit("not a report of opsdoc: it is neither JSON nor HTML") from None
    except ValueError as error:
        raise _Misfit(f"not JSON: {error}") from None
    except RecursionError:
        raise _Misfit("not a report of opsdoc: it is nested too deeply") from None


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float(digits)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


# ── one value and where it stands ────────────────────────────────────────────────────────────────


class Place(NamedTuple):
    """A value of the report, and its path for messages."""

    value: Any
    path: str

    def __call__(self, name: str) -> Place:
        """A field that must be there."""
        fields = self.mapping()
        if name not in fields:
            raise _Misfit(f"not a whole report: {self.path} has no '{name}'")
        return Place(fields[name], f"{self.path}.{name}")

    def get(self, name: str, default: Any) -> Place:
        """A field that was added to the schema later, or its default."""
        return Place(self.mapping().get(name, default), f"{self.path}.{name}")

    def mapping(self) -> dict[str, Any]:
        """The value as an object."""
        return cast("dict[str, Any]", self._of(dict, "an object"))

    def text(self) -> str:
        """The value as text."""
        return cast("str", self._of(str, "text"))

    def switch(self) -> bool:
        """The value as true or false."""
        return cast("bool", self._of(bool, "true or false"))

    def whole(self) -> int:
        """The value as a whole number that is not negative."""
        if isinstance(self.value, int) and not isinstance(self.value, bool) and self.value >= 0:
            return self.value
        raise self._misfit("a count")

    def number(self) -> float:
        """The value as a number; null stands for one that was not finite."""
        if self.value is None:
            return math.nan
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            return self.value
        raise self._misfit("a number")

    def maybe(self, read: Callable[[Place], T]) -> T | None:
        """The value, or None for null."""
        return None if self.value is None else read(self)

    def each(self, read: Callable[[Place], T]) -> tuple[T, ...]:
        """All items of a list."""
        items: list[Any] = self._of(list, "a list")
        return tuple(read(Place(item, f"{self.path}[{index}]")) for index, item in enumerate(items))

    def counts(self) -> dict[str, int]:
        """An object of counts."""
        return {name: self(name).whole() for name in self.mapping()}

    def severity(self) -> Severity:
        """The value as a severity."""
        if isinstance(self.value, str) and self.value in _SEVERITIES:
            return _SEVERITIES[self.value]
        raise self._misfit(f"one of {', '.join(_SEVERITIES)}")

    def _of(self, kind: type, said: str) -> Any:
        if isinstance(self.value, kind):
            return self.value
        raise self._misfit(said)

    def _misfit(self, said: str) -> _Misfit:
        return _Misfit(f"not a report of opsdoc: {self.path} is not {said}")


# ── the report ───────────────────────────────────────────────────────────────────────────────────


def _report(data: Place) -> Report:
    _check_schema(data)
    observed = _Kinds(data)
    report = Report(
        title=data("title").text(),
        version=data("tool")("version").text(),
        host=_host(data("host")),
        started=data("started").text(),
        elapsed=data("elapsed_seconds").number(),
        results=data("results").each(lambda result: _result(result, observed)),
        cost=_cost(data("cost")),
        redactions=data("redactions").counts(),
        exit_code=data("exit_code").whole(),
        interrupted=data.get("interrupted", False).switch(),
    )
    stated = data("severity").severity()
    if stated is not report.severity:
        raise _Misfit(
            f"the report was changed after it was written: it says {stated.word}, but its findings come to "
            f"{report.severity.word}"
        )
    return report


def _check_schema(data: Place) -> None:
    stated = data.value.get("schema") if isinstance(data.value, dict) else None
    number = stated.removeprefix(SCHEMA) if isinstance(stated, str) and stated.startswith(SCHEMA) else ""
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise _Misfit(f"not a report of opsdoc: its schema is not {SCHEMA}{NUMBER}")
    if int(number) > NUMBER:
        raise _Misfit(
            f"the report has the schema {stated}, and this opsdoc reads {SCHEMA}{NUMBER}: "
            f"it takes a newer opsdoc{_by(data)}"
        )


def _by(data: Place) -> str:
    """Which version wrote it, as far as it says."""
    tool = data.value.get("tool")
    version = tool.get("version") if isinstance(tool, dict) else None
    return f" ({version[:40]} wrote it)" if isinstance(version, str) else ""


def _host(data: Place) -> HostFacts:
    return HostFacts(
        hostname=data("hostname").text(),
        kernel=data("kernel").maybe(Place.text),
        cpus=data("cpus").maybe(Place.whole),
        memory_bytes=data("memory_bytes").maybe(Place.whole),
        boot_time=data("boot_time").maybe(Place.text),
        virtualization=data("virtualization").maybe(Place.text),
    )


def _cost(data: Place) -> Cost:
    return Cost(
        wall_seconds=data("wall_seconds").number(),
        cpu_seconds=data("cpu_seconds").number(),
        max_rss_bytes=data("max_rss_bytes").whole(),
        pauses=data("pauses").each(
            lambda pause: Pause(pause("pid").whole(), pause("seconds").number(), pause("how").text())
        ),
        target_files=data.get("target_files", []).each(Place.text),
    )


def _result(data: Place, observed: _Kinds) -> ProbeResult:
    return ProbeResult(
        probe=data("probe").text(),
        step=data("step").maybe(Place.text),
        targets=data("targets").each(Place.text),
        status=cast("Any", data("status").text()),
        started=data("started").text(),
        elapsed=data("elapsed_seconds").number(),
        window=data.get("window_seconds", None).maybe(Place.number),
        observations=data("observations").each(observed.observation),
        totals=data.get("total", {}).counts(),
        unseen=data("unseen").each(_unseen),
        findings=data("findings").each(_finding),
    )


def _unseen(data: Place) -> Unseen:
    return Unseen(
        subject=data("subject").text(),
        reason=cast("Any", data("reason").text()),
        detail=data("detail").text(),
        hint=data("hint").text(),
    )


def _finding(data: Place) -> Finding:
    return Finding(
        rule=data("rule").text(),
        key=data("key").text(),
        severity=data("severity").severity(),
        subject=data("subject").text(),
        summary=data("summary").text(),
        evidence=data("evidence").each(Place.text),
        threshold=data("threshold").maybe(_threshold),
        confidence=data("confidence").maybe(Place.text),
        ruled_out=data("ruled_out").each(Place.text),
        next_step=data("next_step").text(),
        by_hand=data("by_hand").each(Place.text),
    )


def _threshold(data: Place) -> Threshold:
    return Threshold(
        name=data("name").text(),
        value=data("value").number(),
        warn=data("warn").number(),
        crit=data("crit").maybe(Place.number),
        unit=cast("Any", data.get("unit", "").text()),
        source=data("source").text(),
    )


# ── observations ─────────────────────────────────────────────────────────────────────────────────


class _Kinds:
    """The class of each kind in a report: the one that a signal declares, else one made from the fields there are."""

    def __init__(self, report: Place) -> None:
        self._known = kinds()
        foreign: dict[str, list[dict[str, Any]]] = {}
        for observation in _observations(report.value):
            if observation["kind"] not in self._known:
                foreign.setdefault(observation["kind"], []).append(observation)
        self._read: dict[str, Observation] = {}
        self._made = {kind: _made(kind, alike) for kind, alike in foreign.items()}

    def observation(self, data: Place) -> Observation:
        """One observation; a field that it lacks is unknown. What a playbook repeats is the same object again."""
        kind = data("kind").text()
        cls = self._known.get(kind) or self._made[kind]
        given, why = data.mapping(), data("unknown")
        unknown = why.mapping()
        within = any("." in place or "[" in place for place in unknown)
        values: dict[str, Any] = {}
        for name in cls.fields():
            if name in unknown:
                values[name] = Unknown(why(name).text())
            elif name in given:
                value = given[name]
                place = name if within else ""
                values[name] = value if isinstance(value, str | int | None) else _restored(value, why, place)
            else:
                values[name] = Unknown(_ABSENT)
        made = cls(subject=data("subject").text(), id=data("id").text(), **values)
        known = self._read.setdefault(made.id, made)
        return known if known == made else made


def _observations(report: Any) -> Iterator[dict[str, Any]]:
    """What looks like an observation, before it is checked."""
    results = report.get("results")
    for result in results if isinstance(results, list) else ():
        listed = result.get("observations") if isinstance(result, dict) else None
        for observation in listed if isinstance(listed, list) else ():
            if isinstance(observation, dict) and isinstance(observation.get("kind"), str):
                yield observation


def _made(kind: str, alike: Sequence[Mapping[str, Any]]) -> type[Observation]:
    """A class for a kind that a newer opsdoc has added."""
    names: dict[str, None] = {}
    for observation in alike:
        if len(names) < _MOST_FIELDS:
            names.update(dict.fromkeys(observation))
    # No opsdoc has a field that is called like what every observation has.
    fields = [name for name in names if name not in ("id", "kind", "subject", "unknown") and _is_free(name)]
    short = [name for name in fields if all(_is_short(o.get(name)) for o in alike)][:_BESIDE]
    declared = {
        name: measure(name.replace("_", " "), "", "line" if name in short else "full") for name in fields[:_MOST_FIELDS]
    }
    return type("Foreign", (Observation,), {"kind": kind, **declared})


def _is_free(name: str) -> bool:
    return not name.startswith("_") and not hasattr(Observation, name)


def _is_short(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 24)


def _restored(value: Any, why: Place, place: str, depth: int = 0) -> Any:  # noqa: PLR0911 - one per shape
    """A field's value as it was before it became JSON; a record becomes a mapping.

    `why` has the reasons of what is unknown in it by their `place`, which is empty where there are none.
    """
    if depth > _DEEPEST:
        raise _Misfit(f"not a report of opsdoc: {why.path.rpartition('.')[0]} is nested too deeply")
    place = place if len(place) <= _LONGEST_PLACE else ""
    match value:
        case None if place and place in why.value:
            return Unknown(why(place).text())
        case float() if not math.isfinite(value):
            return Unknown("not a finite number")
        case {"function": str(), "file": str() | None, "line": int() | None, "origin": str()}:
            return _frame(value["function"], value["file"], value["line"], value["origin"])
        case {"seen": int(seen), "of": int(of)} if len(value) == 2:
            return Share(seen, of)
        case {"at": int() | float() | None, "value": int() | float() | None, "label": str() | None} if len(value) == 3:
            at = math.nan if value["at"] is None else value["at"]
            return Point(at, value["value"], value["label"])
        case dict():
            return {key: _restored(item, why, place and f"{place}.{key}", depth + 1) for key, item in value.items()}
        case list():
            inner = enumerate(value)
            return tuple(_restored(item, why, place and f"{place}[{index}]", depth + 1) for index, item in inner)
        case _:
            return value


@lru_cache(maxsize=4096)
def _frame(function: str, file: str | None, line: int | None, origin: Any) -> Frame:
    """A frame. Hundreds of threads wait in the same frames."""
    return Frame(function, file, line, origin)
