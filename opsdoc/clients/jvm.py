"""Proof, a moment before it is dialled or signalled, that a process is the JVM meant and that it takes no harm."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.proc import gone
from opsdoc.model import Denied, Malformed, Unreachable, Unsupported
from opsdoc.parsers.procfs import CLOCK_TICKS, Stat, Status, mapped_files, parse_stat, parse_status, runtime_of

MIN_AGE = 5.0  # seconds: the handler of SIGQUIT appears up to 0.45 s after exec, later with AlwaysPreTouch
OPTION_VARIABLES = (b"JAVA_TOOL_OPTIONS", b"JDK_JAVA_OPTIONS", b"_JAVA_OPTIONS")
# With these SIGQUIT ends the JVM or prints a dump into the application's own output. They are written without the
# prefix that they have on a command line, for in a file of flags they have none. To HotSpot the last one wins; here
# one is enough, wherever it stands: a JVM that takes it back is not worth the risk.
UNSAFE_OPTIONS = ("-Xrs", "+ReduceSignalUsage", "+DisableAttachMechanism")
OPTION_FILES = ("@", "Flags=", "VMOptionsFile=")
LAUNCHER = "java"  # any other program that has a JVM in it may give it options that stand nowhere


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
    """Raise unless the process has HotSpot mapped and is not frozen, as `docker pause` does.

    A name proves nothing, and OpenJ9 takes SIGQUIT otherwise. A frozen JVM answers nobody, and would take a signal when
    it goes on, long after the marker file is gone.
    """
    try:
        maps = (jvm.folder / "maps").read_text("utf-8", "backslashreplace")
    except PermissionError:
        raise denied(jvm.pid, live) from None
    except OSError:
        raise gone(jvm.pid) from None
    if runtime_of(mapped_files(maps)) != "jvm":
        raise Unsupported(f"process {jvm.pid} has no HotSpot JVM mapped")
    for file in _freezers(jvm, live):
        if _is_frozen(file):
            raise Unreachable(f"process {jvm.pid} is frozen by its cgroup: a frozen JVM answers nobody", f"cat {file}")


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
    if jvm.stat.state == "D":  # so does cgroup v1 show the frozen, in hierarchies that cannot be seen from here too
        return "the JVM waits for a device or is frozen, so that it may answer too late"
    uptime = float((live.proc / "uptime").read_text().split()[0])
    age = uptime - jvm.stat.started / CLOCK_TICKS
    if age < MIN_AGE:
        return (
            f"the JVM is {max(0.0, age):.1f} s old, and one younger than {MIN_AGE:.0f} s may not have its handler yet"
        )
    return _why_unsafe_options(jvm, live)


def _why_unsafe_options(jvm: Jvm, live: Live) -> str | None:
    """What the JVM was started with, by its command line, its variables, and what it says itself in its perf data.

    Files of options are not read. Only the JVM knows what they held when it started, as only it knows what a launcher
    of another name gave it; where it says nothing, what cannot be proven harmless is not signalled.
    """
    from opsdoc.clients.hsperf import effective_options

    known = effective_options(jvm.folder, jvm.status, live)
    for word in [*_options(jvm, live), *(known or [])]:
        option = word.removeprefix("-J").removeprefix("-XX:")
        if option in UNSAFE_OPTIONS:
            return f"the JVM was started with {'' if option.startswith('-') else '-XX:'}{option}"
        if known is None and option.startswith(OPTION_FILES):
            return "the JVM takes options from a file, which may hold -Xrs or +DisableAttachMechanism"
    if known is None and (launcher := _launcher(jvm, live)) != LAUNCHER:
        launcher = live.redactor.text(launcher)
        return f"the JVM was started by {launcher}, which may give it -Xrs or +DisableAttachMechanism unseen"
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


def _launcher(jvm: Jvm, live: Live) -> str:
    """The name of the program that has the JVM in it."""
    try:
        path = os.readlink(os.fsencode(jvm.folder / "exe"))
    except PermissionError:
        raise denied(jvm.pid, live) from None
    except OSError:
        raise gone(jvm.pid) from None
    return path.decode("utf-8", "backslashreplace").removesuffix(" (deleted)").rpartition("/")[2]


def _freezers(jvm: Jvm, live: Live) -> Iterator[Path]:
    """The files that tell whether the cgroup of a process is frozen, of both versions, as far as they can be seen."""
    from opsdoc.parsers import cgroup

    try:
        groups = cgroup.parse_membership((jvm.folder / "cgroup").read_text("utf-8", "surrogateescape"))
        mounts = cgroup.parse_mounts((live.proc / "self/mountinfo").read_text("utf-8", "surrogateescape"))
    except (OSError, Malformed):
        return
    for group in groups:
        for mount in mounts:
            if "freezer" in group.controllers:
                name = "freezer.state" if "freezer" in mount.controllers else ""
            else:
                name = "cgroup.events" if not group.controllers and mount.version == 2 else ""
            folders = cgroup.folders_below(mount.root, group.path) if name else None
            if folders is not None:
                yield Path(mount.point, *folders, name)


def _is_frozen(file: Path) -> bool:
    try:
        lines = file.read_text("utf-8", "backslashreplace").splitlines()
    except OSError:  # the root has none
        return False
    return "frozen 1" in lines if file.name == "cgroup.events" else lines[:1] in (["FROZEN"], ["FREEZING"])
