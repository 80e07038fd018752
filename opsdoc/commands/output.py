"""Where a report goes: standard output, and files by their suffix, checked before anything is asked."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from opsdoc.files import abandon_stdout, check_writable, write_atomically
from opsdoc.model import Report, UsageError
from opsdoc.options import did_you_mean
from opsdoc.render import SUFFIXES, render

FILE_WIDTH = 100


def check_files(paths: Sequence[Path]) -> None:
    """Raise UsageError for a file whose format is unknown or that could not be written."""
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            known = ", ".join(SUFFIXES)
            near = did_you_mean(path.suffix, SUFFIXES)
            raise UsageError(f"cannot write {path}: its suffix names no format{near}; it is one of {known}")
        check_writable(path)


def write_files(report: Report, paths: Sequence[Path]) -> None:
    """Write the report to each file; one that fails does not keep the others from being written."""
    failed: UsageError | None = None
    for path in paths:
        text = io.StringIO()
        render(report, SUFFIXES[path.suffix.lower()], text, width=FILE_WIDTH, verbose=True)
        try:
            write_atomically(path, text.getvalue().encode("utf-8", "backslashreplace"))
        except UsageError as error:
            failed = failed or error
    if failed is not None:
        raise failed


def write_stdout(report: Report, form: str, *, color: bool, verbose: bool) -> None:
    """Write the report to standard output, which may be a pipe that closes early or of any encoding."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding = "utf-8" if form == "html" else None  # HTML says that it is; text is for this terminal
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
    width = shutil.get_terminal_size((FILE_WIDTH, 24)).columns if sys.stdout.isatty() else FILE_WIDTH
    try:
        render(report, form, sys.stdout, width=width, color=color, verbose=verbose)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_stdout()
    except OSError as error:
        abandon_stdout()
        raise UsageError(f"cannot write standard output: {error.strerror}") from None


def with_color_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with NO_COLOR and FORCE_COLOR as values of `--color`, which OPSDOC_COLOR precedes."""
    known = dict(environment)
    if not known.get("OPSDOC_COLOR"):
        if known.get("NO_COLOR"):
            known["OPSDOC_COLOR"] = "never"
        elif known.get("FORCE_COLOR", "0") not in ("", "0"):
            known["OPSDOC_COLOR"] = "always"
    return known


def wants_color(choice: str) -> bool:
    """Whether to write colour: on a terminal that can show it, unless told otherwise."""
    if choice == "auto":
        return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return choice == "always"
