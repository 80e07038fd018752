"""Proof, a moment before it is dialled or signalled, that a process is the JVM meant and that it takes no harm."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.proc import gone
from opsdoc.model import Denied, Unreachable, Unsupported
from opsdoc.parsers.procfs import CLOCK_TICKS, Stat, Status, mapped_files, parse_stat, parse_status, runtime_of

MIN_AGE = 5.0  # seconds: the handler of SIGQUIT appears up to 0.45 s after exec, later with AlwaysPreTouch
OPTION_VARIABLES = (b"JAVA_TOOL_OPTIONS", b"JDK_JAVA_OPTIONS", b"_JAVA_OPTIONS")
# With these SIGQUIT ends the JVM or prints a dump into the application's own output. Files of options are not read:
# what cannot be proven harmless is not signalled.
UNSAFE_OPTIONS = ("-Xrs", "-XX:+ReduceSignalUsage", "-XX:+DisableAttachMechanism")
OPTION_FILES = ("@", "-XX:Flags=", "-XX:VMOptionsFile=")


class Jvm(NamedTuple):
    """A JVM that was proven to be the one meant, a moment ago."""

    pid: int
    stat: Stat
    status: Status
    folder: Path

    @property
    def socket_name(self) -> str:
        return f".java_pid{self.status.ids[-1]}"

    @property
    def marker_name(self) -> str:
        return f".attach_pid{self.status.ids[-1]}"


def find(pid: int, started: int, live: Live) -> Jvm:
    """The process, if it is the one that started then and can answer; raises ProbeError otherwise."""
    if live.foreign_proc:
        raise Unsupported(f"{live.proc} may show other process ids than ours: no JVM is dialled or signalled")
    folder = live.proc / str(pid)
    try:
        stat_now = parse_stat((folder / "stat").read_bytes())
        status = parse_status((folder / "status").read_text("utf-8", "backslashreplace"))
    except (FileNotFoundError, ProcessLookupError):
        raise gone(pid) from None
    except PermissionError:
        raise denied(pid, live) from None
    if stat_now.started != started or stat_now.state in "ZX":
        raise gone(pid)
    if stat_now.state in "Tt":
        raise Unreachable(f"process {pid} is stopped: a stopped JVM answers nobody", f"grep State: /proc/{pid}/status")
    return Jvm(pid, stat_now, status, folder)


def refuse_unless_hotspot(jvm: Jvm, live: Live) -> None:
    """Raise unless the process has HotSpot mapped: a name proves nothing, and OpenJ9 takes SIGQUIT otherwise."""
    try:
        maps = (jvm.folder / "maps").read_text("utf-8", "backslashreplace")
    except PermissionError:
        raise denied(jvm.pid, live) from None
    except OSError:
        raise gone(jvm.pid) from None
    if runtime_of(mapped_files(maps)) != "jvm":
        raise Unsupported(f"process {jvm.pid} has no HotSpot JVM mapped")


def denied(pid: int, live: Live) -> Denied:
    """The error for a process that we may not attach to."""
    return Denied(f"not permitted to attach to process {pid}", live.as_root())


def refuse_unless_safe(jvm: Jvm, live: Live) -> None:
    """Raise unless every check proves that this JVM takes SIGQUIT as a request to attach."""
    why = _why_unsafe(jvm, live)
    if why:
        raise Unsupported(
            f"process {jvm.pid} has no attach socket, and SIGQUIT is not sent: {why}",
            "start the JVM with -XX:+StartAttachListener to have the socket from the beginning",
        )


def _why_unsafe(jvm: Jvm, live: Live) -> str | None:
    if not live.may_write_target_files:
        return "--no-target-files forbids the marker file that the signal needs"
    if not jvm.status.catches(signal.SIGQUIT):
        return "the JVM has no handler for it, so that it would die"
    uptime = float((live.proc / "uptime").read_text().split()[0])
    age = uptime - jvm.stat.started / CLOCK_TICKS
    if age < MIN_AGE:
        return (
            f"the JVM is {max(0.0, age):.1f} s old, and one younger than {MIN_AGE:.0f} s may not have its handler yet"
        )
    for option in _options(jvm, live):
        if option in UNSAFE_OPTIONS:
            return f"the JVM was started with {option}"
        if option.startswith(OPTION_FILES):
            return "the JVM takes options from a file, which may hold -Xrs or +DisableAttachMechanism"
    return None


def _options(jvm: Jvm, live: Live) -> list[str]:
    """The words of the command line and of the variables that a JVM takes options from.

    Those behind the class are the application's own; one that looks like an option is taken for it, to be safe. The
    variables are looked at here and kept nowhere.
    """
    try:
        words = (jvm.folder / "cmdline").read_bytes().split(b"\0")[1:]
        variables = (jvm.folder / "environ").read_bytes().split(b"\0")
    except PermissionError:
        raise denied(jvm.pid, live) from None
    except OSError:
        raise gone(jvm.pid) from None
    for variable in variables:
        name, _, value = variable.partition(b"=")
        if name in OPTION_VARIABLES:
            words += value.replace(b'"', b" ").replace(b"'", b" ").split()
    return [word.decode("utf-8", "backslashreplace") for word in words]
