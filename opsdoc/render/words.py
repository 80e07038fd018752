"""Values as people say them, and outside text made visible."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

from opsdoc.model import Frame, Share, Unit, Unknown

# Bidirectional controls reorder what stands around them; U+2028 and U+2029 end a line in some readers.
_DECEPTIVE = frozenset([*range(0x200E, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF])


def visible(text: str) -> str:
    """Outside text with every character that could act instead of being read replaced by an escape such as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(_escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if char == " " or (char.isprintable() and code not in _DECEPTIVE):
        return char
    if unicodedata.category(char) in ("Zs", "Mn", "Me"):
        return char
    if char in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[char]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shorten(text: str, width: int) -> str:
    """Cut a long text in the middle, where nobody looks."""
    if len(text) <= width:
        return text
    head = (width - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def number(value: float) -> str:
    """Two or three significant digits, thousands separated."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percent(ratio: float) -> str:
    """A share as a percentage: `4 %`, `0.3 %`."""
    value = ratio * 100
    return f"{value:.0f} %" if value >= 10 or value == int(value) else f"{value:.1f} %"


def duration(seconds: float) -> str:
    """Seconds as people say them: `18 ms`, `2.3 s`, `6 min`, `2 h 5 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


def size(octets: float) -> str:
    """Bytes with a binary unit: `1.5 GiB`."""
    value = float(octets)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def quantity(value: Any, unit: Unit) -> str:
    """Any value of an observation in words, outside text made visible."""
    match value, unit:
        case None, _:
            return "—"
        case Unknown(), _:
            return "unknown"
        case bool(), _:
            return "yes" if value else "no"
        case (Share() | Frame()), _:
            return visible(str(value))
        case str(), _:
            return visible(value)
        case tuple() | list(), _:
            return _listed(quantity(item, unit) for item in value)
        case _, "cores":
            return f"{value:.2f} cores"
        case _, "ratio":
            return percent(value)
        case _, "seconds":
            return duration(value)
        case _, "bytes":
            return size(value)
        case _, "per_second":
            return f"{number(value)}/s"
        case _, "id":
            return str(value)
        case _:
            return number(value)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
