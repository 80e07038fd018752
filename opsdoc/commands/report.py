"""`opsdoc report`: a saved report, rendered again in any format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from opsdoc.commands.cli import Given, Spec, command_from
from opsdoc.commands.running import shared
from opsdoc.model import Report, UsageError
from opsdoc.options import Opt, Param

_SHARED = ("format", "json", "output", "color", "quiet", "verbose", "exit_zero")
_FILE = Param("file", Path, Opt("the saved report", "FILE", positional=True), None, required=True)
_PARAMS = (_FILE, *(param for param in shared(0.0) if param.name in _SHARED))


def command() -> Any:
    """The command as typer runs it."""
    return command_from(
        Spec(
            name="report",
            sentence="Render a saved report again: the JSON of -o FILE.json, or the JSON inside an HTML report.",
            example="opsdoc report incident.html -o incident.md",
            params=_PARAMS,
            run=_run,
            details="FILE is what --json or -o FILE.json wrote, an HTML report, or - for standard input. Nothing is "
            "asked of any target. The exit code is that of the report.",
        )
    )


def _run(given: Given) -> int:
    from opsdoc import config
    from opsdoc.commands.output import check_files, wants_color, with_color_variables, write_files, write_stdout
    from opsdoc.commands.values import Sources, resolve

    options = resolve(
        _PARAMS,
        Sources(
            given=given,
            command="opsdoc report",
            environment=with_color_variables(os.environ),
            config=config.read_config(config.places()),
        ),
    )
    if given.get("json") and given.get("format") not in (None, "json"):
        raise UsageError(f"--json and --format {given['format']} contradict each other")
    check_files(options["output"])
    report = _saved(options["file"])
    form = options["format"] or ("json" if options["json"] else "text")
    try:
        if not (options["quiet"] and options["output"]):
            write_stdout(report, form, color=wants_color(options["color"]), verbose=options["verbose"])
    finally:
        write_files(report, options["output"])
    return 0 if options["exit_zero"] else _exit_code(report)


def _saved(path: Path) -> Report:
    """The report in a file, or in standard input for `-`. Raises UsageError that names it."""
    from opsdoc.reread import SIZE_CAP, read

    name = "standard input" if str(path) == "-" else str(path)
    try:
        with os.fdopen(0, "rb", closefd=False) if str(path) == "-" else path.open("rb") as file:
            data = file.read(SIZE_CAP + 1)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None
    try:
        return read(data)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def _exit_code(report: Report) -> int:
    """The verdict that the run ended with; where a signal or a bug ended it, that of what it had seen."""
    return report.exit_code if report.exit_code <= 3 else report.severity.exit_code
