"""A run as a command: options that all runs share, what is checked before anything is asked, where the report goes."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from opsdoc import config
from opsdoc.commands.cli import EVIDENCE, HOW_LONG, OUTPUT, VERDICT, Given
from opsdoc.commands.output import check_files, wants_color, with_color_variables, write_files, write_stdout
from opsdoc.commands.progress import Progress
from opsdoc.commands.values import Sources, limits, resolve
from opsdoc.engine import RecordingLostError, Settings
from opsdoc.files import check_folder, check_writable
from opsdoc.model import Report, Severity, UsageError
from opsdoc.options import Duration, Opt, Param
from opsdoc.redact import Redactor
from opsdoc.render import FORMATS, SUFFIXES
from opsdoc.stop import Stop

_FORMAT: Any = cast("Any", Literal)[FORMATS]


def _option(name: str, kind: Any, opt: Opt, default: Any = None) -> Param:
    return Param(name, kind, opt, default, required=False)


def shared(timeout: float) -> tuple[Param, ...]:
    """The options that every probe and `run` share; `timeout` is the default, in seconds."""
    suffixes = ", ".join(suffix for suffix in SUFFIXES if suffix != ".htm")
    return (
        _option("timeout", Duration, Opt("for the whole run", group=HOW_LONG), Duration(timeout)),
        _option("format", _FORMAT, Opt("what to write to standard output", group=OUTPUT, short="-f")),
        _option("json", bool, Opt("short for --format json", group=OUTPUT), False),
        _option(
            "output",
            list[Path],
            Opt(f"write a file too; its suffix says what: {suffixes}", "FILE", short="-o", group=OUTPUT),
        ),
        _option("color", Literal["auto", "always", "never"], Opt("NO_COLOR is honoured", group=OUTPUT), "auto"),
        _option("quiet", bool, Opt("no progress; with -o nothing on standard output", group=OUTPUT, short="-q"), False),
        _option("verbose", bool, Opt("show everything in text", group=OUTPUT, short="-v"), False),
        _option(
            "limit",
            list[str],
            Opt(
                "when to warn and when it is critical, in the field's unit; see Limits",
                "SIGNAL.FIELD=WARN:CRIT",
                group=VERDICT,
            ),
        ),
        _option(
            "fail_on",
            Literal["warning", "unknown", "critical"],
            Opt("lower severities exit with 0", group=VERDICT),
            "warning",
        ),
        _option("exit_zero", bool, Opt("exit with 0 whatever was found", group=VERDICT), False),
        _option("record", Path, Opt("keep what was seen: a new folder or a .tar.gz", group=EVIDENCE)),
        _option("replay", Path, Opt("judge a recording again, without the target", group=EVIDENCE)),
        _option("proc", Path, Opt("another /proc, such as /host/proc", "DIR", group=EVIDENCE), Path("/proc")),
        _option("no_target_files", bool, Opt("make no temporary file for a target", group=EVIDENCE), False),
    )


class Prepared(NamedTuple):
    """What was given for a run: its shared options, where more values come from, and who stops it."""

    name: str
    options: Mapping[str, Any]
    sources: Sources
    stop: Stop


def prepare(name: str, others: Sequence[Param], given: Given) -> Prepared:
    """Read the shared options of `opsdoc NAME`. Raises UsageError."""
    stop = Stop()
    stop.install()
    files = config.read_config(config.places())
    environment = with_color_variables(os.environ)
    sources = Sources(given=given, command=f"opsdoc {name}", environment=environment, config=files)
    options = resolve(others, sources)
    if given.get("json") and given.get("format") not in (None, "json"):
        raise UsageError(f"--json and --format {given['format']} contradict each other")
    if options["record"] and options["replay"]:
        raise UsageError("--record and --replay cannot go together: a replay asks nothing that could be recorded")
    return Prepared(name, options, sources, stop)


def perform(prepared: Prepared, known_limits: Sequence[str], run: Callable[[Settings], Report]) -> int:
    """Run, and write the report where it was asked for; the exit code is returned. Raises UsageError."""
    options, files = prepared.options, prepared.sources.config
    settings = _settings(options, limits(known_limits, prepared.sources))
    with Progress(f"opsdoc {prepared.name}", settings.timeout, quiet=options["quiet"]) as progress:
        told = [f"ignored {text}" for text in files.ignored]
        if options["verbose"]:
            told += [f"using {name}" for name in files.files]
        for text in told:
            progress.announce(text)
        lost = None
        try:
            report = run(settings._replace(announce=progress.announce, tell=progress.tell))
        except RecordingLostError as error:
            report, lost = error.report, error
    form = options["format"] or ("json" if options["json"] else "text")
    try:
        if not (options["quiet"] and options["output"]):
            write_stdout(report, form, color=wants_color(options["color"]), verbose=options["verbose"])
    finally:
        write_files(report, options["output"])
    if lost is not None:
        raise lost
    return prepared.stop.exit_code or report.exit_code


def check(options: Mapping[str, Any], window: float | None = None) -> None:
    """Everything that can be known before the target is asked. Raises UsageError."""
    timeout = options["timeout"]
    if timeout <= 0:
        raise UsageError("--timeout must be above 0")
    if window is not None and window >= timeout:
        raise UsageError(
            f"the window of {window:g} s does not fit into the timeout of {timeout:g} s: change --window or --timeout"
        )
    check_files(options["output"])
    record, proc = options["record"], options["proc"]
    if record is not None:
        check_writable(record) if record.name.endswith(".tar.gz") else check_folder(record)
    if options["replay"] is None and not all((proc / name).exists() for name in ("stat", "self")):
        raise UsageError(f"bad --proc '{proc}': not a mounted proc (it has no 'stat' and 'self')")


def _settings(options: Mapping[str, Any], changed: dict[str, tuple[float, float]]) -> Settings:
    return Settings(
        timeout=options["timeout"],
        limits=changed,
        record=options["record"],
        replay=options["replay"],
        proc=options["proc"],
        may_write_target_files=not options["no_target_files"],
        again=again(),
        fail_on=Severity[options["fail_on"].upper()],
        exit_zero=options["exit_zero"],
    )


def again() -> str:
    """The command line, masked, as it can be pasted anywhere: with the absolute path of opsdoc."""
    script = Path(sys.argv[0])
    me = [sys.executable, "-m", "opsdoc"] if script.name == "__main__.py" else [str(script.absolute())]
    return shlex.join([*me, *Redactor().argv(sys.argv[1:])])
