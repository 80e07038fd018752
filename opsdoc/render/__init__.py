"""How a report looks: one function per format, and only the module of the format asked is imported."""

from __future__ import annotations

from importlib import import_module
from typing import TextIO

from opsdoc.model import Report

FORMATS: tuple[str, ...] = ("text", "json", "md", "html", "nagios")
SUFFIXES = {".txt": "text", ".json": "json", ".md": "md", ".html": "html", ".htm": "html"}

_MODULES = {"text": "text", "json": "json_v1", "md": "markdown", "html": "html", "nagios": "nagios"}


def render(
    report: Report,
    format: str,  # noqa: A002 - as the option is called
    out: TextIO,
    *,
    width: int = 100,
    color: bool = False,
    verbose: bool = False,
) -> None:
    """Write the report in one of FORMATS; `width`, `color` and `verbose` are for a terminal, others ignore them."""
    if format not in _MODULES:
        raise ValueError(f"no format {format!r}: it is one of {', '.join(FORMATS)}")
    module = import_module(f"{__name__}.{_MODULES[format]}")
    module.render(report, out, width=width, color=color, verbose=verbose)
