"""Values as people say them, and outside text made visible."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opsdoc.model import Frame, Meta, Point, Share, Unit, Unknown

# Bidirectional controls reorder what stands around them; U+2028 and U+2029 end a line in some readers.
_DECEPTIVE = frozenset([*range(0x200E, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF])

# ── outside text ─────────────────────────────────────────────────────────────────────────────────


def visible(text: str) -> str:
    r"""Outside text with every character that could act instead of being read replaced by an escape such as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(_escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if char == " " or (char.isprintable() and code not in _DECEPTIVE):
        return char
    if unicodedata.category(char) == "Zs":
        return char
    if char in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[char]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cells(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian wide characters two, combining marks none."""
    return len(text) if text.isascii() else sum(_cells_of(char) for char in text)


def _cells_of(char: str) -> int:
    if unicodedata.east_asian_width(char) in "WF":
        return 2
    return 0 if unicodedata.category(char) in ("Mn", "Me") else 1


def shorten(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut a long text in the middle, where nobody looks, to a number of terminal columns."""
    if cells(text) <= width:
        return text
    room = max(0, width - cells(ellipsis))
    head = _fitting(text, room - room // 3)
    tail = _fitting(text[::-1], room // 3)[::-1]
    return f"{head}{ellipsis}{tail}"


def _fitting(text: str, width: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += _cells_of(char)
        if used > width:
            return text[:index]
    return text


# ── values ───────────────────────────────────────────────────────────────────────────────────────


def number(value: float) -> str:
    """Two or three significant digits, thousands separated."""
    if not math.isfinite(value):
        return "unknown"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percent(ratio: float) -> str:
    """A share as a percentage: `4 %`, `0.3 %`."""
    if not math.isfinite(ratio):
        return "unknown"
    value = ratio * 100
    if value != 0 and abs(value) < 0.05:
        return "< 0.1 %" if value > 0 else "> -0.1 %"
    return f"{value:.0f} %" if abs(value) >= 9.95 or round(value, 1) == round(value) else f"{value:.1f} %"


def duration(seconds: float) -> str:  # noqa: PLR0911 - one line per magnitude
    """Seconds as people say them: `18 ms`, `2.3 s`, `6 min`, `2 h 5 min`."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms" if 0 < seconds < 0.00095 else f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24:,} d {hours % 24} h"


def size(octets: float) -> str:
    """Bytes with a binary unit: `1.5 GiB`."""
    if not math.isfinite(octets):
        return "unknown"
    value = float(octets)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if abs(value) >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 process`, `143 processes`."""
    return f"{count:,} {noun if count == 1 else plural_of(noun)}"


def plural_of(noun: str) -> str:
    """The plural of a kind of observation."""
    if noun.endswith("s") and not noun.endswith("ss"):  # it is one already: ports, descriptors
        return noun
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"


def singular_of(noun: str) -> str:
    """`thread` of `threads`, as the title of a count of one."""
    if noun.endswith("ies"):
        return f"{noun[:-3]}y"
    return noun[:-1] if noun.endswith("s") and not noun.endswith(("ss", "ses", "us")) else noun


def kind_name(kind: str) -> str:
    """A kind as a person reads it: `upstream server`."""
    return kind.replace("_", " ")


def stated(meta: Meta, value: Any) -> str:
    """The value of a field in words: each record as its name with the rest in brackets."""
    records = records_of(value)
    if not records:
        return quantity(value, meta.unit)
    return "; ".join(_record(record, meta.columns) for record in records)


def measured(meta: Meta, value: Any, *, main: bool = False) -> str:  # noqa: PLR0911 - one line per shape
    """A value with its name where it does not speak for itself: `97 % busy`, `user 91 %`, `5 runnable`."""
    said = stated(meta, value)
    if isinstance(value, Unknown):
        return f"{meta.title} unknown"
    if value in (None, "", (), {}):
        return ""
    if isinstance(value, Share):
        return said
    if isinstance(value, int | float) and not isinstance(value, bool):
        if meta.unit == "cores" and main:
            return said
        if meta.unit == "per_second":
            return f"{number(value)} {meta.title}/s"
        if main or meta.unit in ("", "count"):
            return f"{said} {singular_of(meta.title) if value == 1 else meta.title}"
    return f"{meta.title} {said}"


def quantity(value: Any, unit: Unit) -> str:  # noqa: PLR0911 - one line per type
    """Any value of an observation in words, outside text made visible."""
    match value:
        case None:
            return "—"
        case Unknown():
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case Point():
            label = f" {visible(value.label)}" if value.label else ""
            return f"{duration(value.at)}: {quantity(value.value, unit)}{label}"
        case Share() | Frame():
            return visible(str(value))
        case str():
            return visible(value)
        case int() | float():
            return _measured(value, unit)
        case tuple() | list() if not hasattr(value, "_fields"):
            return _listed(_inner(item, unit) for item in value)
        case _:
            fields = fields_of(value)
            if fields is None:
                return visible(str(value))
            return _listed(f"{visible(str(key))} {_inner(item, unit)}" for key, item in fields.items())


def _inner(value: Any, unit: Unit) -> str:
    """A value within another: why it is unknown is told nowhere else."""
    return f"unknown ({visible(value.reason)})" if isinstance(value, Unknown) else quantity(value, unit)


def _measured(value: float, unit: Unit) -> str:  # noqa: PLR0911 - one line per unit
    match unit:
        case "cores":
            return f"{value:,.2f} cores" if math.isfinite(value) else "unknown"
        case "ratio":
            return percent(value)
        case "seconds":
            return duration(value)
        case "bytes":
            return size(value)
        case "per_second":
            return f"{number(value)}/s"
        case "id":
            return str(value)
        case "hex":
            return hex(value) if isinstance(value, int) else str(value)
        case _:
            return number(value)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


# ── records ──────────────────────────────────────────────────────────────────────────────────────


def fields_of(value: Any) -> Mapping[str, Any] | None:
    """A record by the names of its fields, which is a mapping where it was read back; None for any other value."""
    if isinstance(value, Frame | Share | Point):
        return None
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    return value if isinstance(value, Mapping) else None


def records_of(value: Any) -> Sequence[Mapping[str, Any]]:
    """The records that a field holds, by the names of their fields; none where it holds anything else."""
    if not isinstance(value, tuple | list) or not value or hasattr(value, "_fields") or fields_of(value[0]) is None:
        return ()
    found = [fields for item in value if (fields := fields_of(item)) is not None]
    return found if len(found) == len(value) else ()


def _record(record: Mapping[str, Any], units: Mapping[str, Unit]) -> str:
    """`10.3.1.7:8080 (attempts 812, p95 153 ms)`."""
    said = [(name, _inner(item, units.get(name, ""))) for name, item in record.items() if item is not None]
    if not said:
        return ""
    rest = _listed(f"{visible(kind_name(name))} {item}" for name, item in said[1:])
    return f"{said[0][1]} ({rest})" if rest else said[0][1]
