"""Options of a probe: read from its signature, converted from text; one converter for every way in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Opt:
    """What a person is told about an option; the type and the default stand in the probe's signature."""

    help: str
    metavar: str | None = None
    positional: bool = False
    group: str = "What"


class Duration(float):
    """Seconds, written `500ms`, `5s`, `10m`."""


class Size(int):
    """Bytes, written `64KiB`, `8MiB`, `1GB`."""


class Ratio(float):
    """0 to 1, written `85%` or `0.85`."""
