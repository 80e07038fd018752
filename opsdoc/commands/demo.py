"""`opsdoc demo`: start a small sick program, diagnose it, write the HTML report, stop it."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from opsdoc import probes
from opsdoc.commands.cli import OUTPUT, Given, Spec, command_from
from opsdoc.model import Report, Severity, UsageError
from opsdoc.options import Opt, Param

PROGRAM = "order_pricer.py"
CULPRIT = "recalculate"
START = 10.0  # seconds that the program has to start
WARM_UP = 0.3  # seconds until its threads have settled
# On a crowded machine the program gets less than a core, and is to be found all the same.
_LIMITS = {f"hot.{name}": (0.1, 0.9) for name in ("thread_cpu", "code_cpu", "process_cpu")}

_PARAMS = (
    Param(
        "output", list[Path], Opt("where to write the report", "FILE", short="-o", group=OUTPUT), None, required=False
    ),
    Param(
        "color",
        Literal["auto", "always", "never"],
        Opt("NO_COLOR is honoured", group=OUTPUT),
        "auto",
        required=False,
    ),
    Param(
        "quiet", bool, Opt("no progress, nothing on standard output", short="-q", group=OUTPUT), False, required=False
    ),
)


def command() -> Any:
    """The command as typer runs it."""
    return command_from(
        Spec(
            name="demo",
            sentence="Start a small hot program, diagnose it with 'opsdoc cpu', write the HTML report, stop it.",
            example="opsdoc demo -o demo.html",
            params=_PARAMS,
            run=_run,
            details="Without -o the report is opsdoc-demo-DATE.html in the current directory. The exit code says "
            "whether the demo worked: 0 when the diagnosis named the hot function, 3 when it did not.",
        )
    )


def _run(given: Given) -> int:
    from opsdoc.commands.output import (
        check_files,
        wants_color,
        with_color_variables,
        write_files,
        write_stdout,
    )
    from opsdoc.commands.progress import Progress
    from opsdoc.commands.running import again
    from opsdoc.commands.values import Sources, resolve
    from opsdoc.engine import Settings, run
    from opsdoc.stop import Stop

    stop = Stop()
    stop.install()
    options = resolve(_PARAMS, Sources(given=given, environment=with_color_variables(os.environ)))
    files = options["output"] or [Path(f"opsdoc-demo-{dt.datetime.now().astimezone():%Y-%m-%d}.html")]
    check_files(files)
    probe = probes.load("cpu")
    arguments = {param.name: param.default for param in probe.params}
    with Progress("opsdoc demo", probe.timeout, quiet=options["quiet"]) as progress:
        progress.announce(f"starting {PROGRAM}, which burns one core for a few seconds")
        with _sick_program(stop) as pid:
            settings = Settings(timeout=probe.timeout, limits=_LIMITS, again=again(), announce=progress.announce)
            report = run(probe, {**arguments, "pid": pid}, settings, stop)
        if not options["quiet"]:
            write_stdout(report, "text", color=wants_color(options["color"]), verbose=False)
        write_files(report, files)
        progress.announce(f"wrote {', '.join(str(file.absolute()) for file in files)}; {PROGRAM} was stopped")
    if stop.exit_code is not None:
        return stop.exit_code
    return 0 if _names_culprit(report) else 70 if report.exit_code == 70 else Severity.UNKNOWN.exit_code


def _names_culprit(report: Report) -> bool:
    findings = [finding for result in report.results for finding in result.findings]
    return any(CULPRIT in finding.summary for finding in findings if finding.severity > Severity.OK)


@contextlib.contextmanager
def _sick_program(stop: Any) -> Iterator[int]:
    """The pid of the running program, which is gone with its directory at the end of the block, however it ends."""
    with tempfile.TemporaryDirectory(prefix="opsdoc-demo-") as folder:
        program = Path(folder) / PROGRAM
        shutil.copyfile(Path(__file__).with_name(PROGRAM), program)
        with subprocess.Popen(
            [sys.executable, "-I", str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            start_new_session=True,
        ) as child:
            try:
                yield _pid(child, stop)
            finally:
                _end(child)


def _pid(child: subprocess.Popen[bytes], stop: Any) -> int:
    """The pid that the program tells when it is hot. A stop meanwhile is left to the run, which then ends at once."""
    assert child.stdout is not None
    ends = time.monotonic() + START
    while time.monotonic() < ends and stop.signal is None:
        if select.select([child.stdout], [], [], 0.1)[0]:
            line = child.stdout.readline().strip()
            if not line:
                break
            time.sleep(WARM_UP)
            return int(line)
    if stop.signal is not None:
        return child.pid
    raise UsageError(f"{PROGRAM} did not start: {sys.executable} -I must be able to run a Python program")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask the program to end by closing its input, and kill its own session if it does not."""
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()
    try:
        child.wait(1)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(1)
