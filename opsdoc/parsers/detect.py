"""Which program wrote a saved stack dump."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["hotspot", "pyspy-json", "pyspy-text"]

# The first thing that only one of them writes decides: everything after it may be the name of a thread.
_FIRST = re.compile(
    rb"\A\s*(?P<json>\[\s*(?:\{|\]\s*\Z))"
    rb"|^(?:(?P<hotspot>Full thread dump )|(?P<text>Thread (?:0x[0-9A-Fa-f]+|\d+) \([a-z]))",
    re.MULTILINE,
)
_KINDS: dict[str | None, Kind] = {"json": "pyspy-json", "hotspot": "hotspot", "text": "pyspy-text"}


def kind(data: bytes) -> Kind | None:
    """What `data` looks like by its first lines: the name of the parser to try, None if no parser knows it."""
    match = _FIRST.search(data)
    return _KINDS[match.lastgroup] if match else None
