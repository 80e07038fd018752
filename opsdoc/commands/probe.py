"""A probe as a command: its own options and the ones all probes share; all is checked before anything is asked."""

from __future__ import annotations

import inspect
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from opsdoc import config
from opsdoc.commands.cli import EVIDENCE, HOW_LONG, OUTPUT, VERDICT, Given, Spec, command_from
from opsdoc.commands.output import check_files, wants_color, with_color_variables, write_files, write_stdout
from opsdoc.commands.progress import Progress
from opsdoc.commands.values import Sources, limits, resolve
from opsdoc.engine import RecordingLostError, Settings, run
from opsdoc.files import check_folder, check_writable
from opsdoc.model import Severity, UsageError
from opsdoc.options import Duration, Opt, Param
from opsdoc.probes import Probe
from opsdoc.recording import ReplayHost
from opsdoc.redact import Redactor
from opsdoc.render import FORMATS, SUFFIXES
from opsdoc.stop import Stop

_FORMAT: Any = cast("Any", Literal)[FORMATS]


def _option(name: str, kind: Any, opt: Opt, default: Any = None) -> Param:
    return Param(name, kind, opt, default, required=False)


def shared(probe: Probe) -> tuple[Param, ...]:
    """The options that every probe shares."""
    suffixes = ", ".join(suffix for suffix in SUFFIXES if suffix != ".htm")
    return (
        _option("timeout", Duration, Opt("for the whole run", group=HOW_LONG), Duration(probe.timeout)),
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


def command_of(probe: Probe) -> Any:
    """The probe as typer runs it."""
    own, others = probe.params, shared(probe)
    return command_from(
        Spec(
            name=probe.name.rpartition(".")[2],
            sentence=probe.help,
            example=probe.example,
            details=(inspect.getdoc(probe.run) or "").partition("\n")[2].strip(),
            params=(*own, *others),
            limits=_limit_rows(probe),
            run=lambda given: _run(probe, own, others, given),
        )
    )


def _run(probe: Probe, own: tuple[Param, ...], others: tuple[Param, ...], given: Given) -> int:
    stop = Stop()
    stop.install()
    files = config.read_config(config.places())
    environment = with_color_variables(os.environ)
    sources = Sources(
        given=given, command=f"opsdoc {probe.name.replace('.', ' ')}", environment=environment, config=files
    )
    options = resolve(others, sources)
    if given.get("json") and given.get("format") not in (None, "json"):
        raise UsageError(f"--json and --format {given['format']} contradict each other")
    if options["record"] and options["replay"]:
        raise UsageError("--record and --replay cannot go together: a replay asks nothing that could be recorded")
    recorded = _recorded(options["replay"])
    arguments = resolve(own, sources._replace(recorded=recorded))
    _check(options, arguments)
    settings = _settings(options, limits(limit_names(probe), sources))
    with Progress(f"opsdoc {probe.name}", settings.timeout, quiet=options["quiet"]) as progress:
        told = [f"ignored {text}" for text in files.ignored]
        if options["verbose"]:
            told += [f"using {name}" for name in files.files]
        for text in told:
            progress.announce(text)
        lost = None
        try:
            report = run(probe, arguments, settings._replace(announce=progress.announce), stop)
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
    return stop.exit_code or report.exit_code


def limit_names(probe: Probe) -> list[str]:
    """The limits that can be set for a probe: `signal.field`."""
    return [f"{signal}.{name}" for signal, known in probe.limits.items() for name in known._fields]


def _limit_rows(probe: Probe) -> list[tuple[str, str]]:
    """The limits of a probe with their defaults and sources."""
    rows = []
    for name in limit_names(probe):
        signal, _, field = name.partition(".")
        limit = getattr(probe.limits[signal], field)
        never = "never" if limit.crit is None else f"{limit.crit:g}"
        rows.append((f"{name}={limit.warn:g}:{never}", f"{limit.unit}: {limit.source}"))
    return rows


def _check(options: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Everything that can be known before the target is asked. Raises UsageError."""
    timeout, window = options["timeout"], arguments.get("window")
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


def _recorded(replay: Path | None) -> Mapping[str, Any]:
    """The options that a recording was made with: the questions depend on them."""
    return {} if replay is None else ReplayHost(replay).options


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
