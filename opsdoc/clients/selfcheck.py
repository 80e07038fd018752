"""opsdoc's own standing on a box: rights, kernel settings, helpers, configuration files."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsdoc import config
from opsdoc.clients import Live, command, pyspy
from opsdoc.model import ProbeError

SYS_PTRACE = 19  # bit of CAP_SYS_PTRACE
PERFMON = 38  # bit of CAP_PERFMON
SYS_ADMIN = 21  # bit of CAP_SYS_ADMIN


class SelfCheck:
    """Everything that decides what opsdoc can see here, in one look. What a kernel does not have is null."""

    def key(self) -> str:
        return "selfcheck"

    def answer(self, live: Live) -> dict[str, Any]:
        capabilities = int(_found(r"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status")) or "0", 16)
        files = config.read_config(config.places())
        return {
            "uid": os.geteuid(),
            "ptrace": bool(capabilities >> SYS_PTRACE & 1),
            "perfmon": bool(capabilities >> PERFMON & 1 or capabilities >> SYS_ADMIN & 1),
            "kernel": os.uname().release,
            "ptrace_scope": _number(Path("/proc/sys/kernel/yama/ptrace_scope")),
            "hidepid": _hidepid(live.proc),
            "processes": _processes(live.proc),
            "foreign_proc": str(live.proc) if live.foreign_proc else None,
            "py_spy": _py_spy(live),
            "pressure": [name for name in ("cpu", "io", "memory") if _reads(live.proc / "pressure" / name)],
            "perf": shutil.which("perf"),
            "perf_event_paranoid": _number(Path("/proc/sys/kernel/perf_event_paranoid")),
            "config": {"files": list(files.files), "ignored": list(files.ignored)},
            "again": live.again,
        }


def _processes(proc: Path) -> dict[str, Any]:
    """How many processes there are without kernel threads, how many of other users, which are closed to us."""
    import psutil

    psutil.PROCFS_PATH = str(proc)
    own, count, others, closed = os.geteuid(), 0, 0, []
    for process in psutil.process_iter():
        try:
            if not process.cmdline():  # a kernel thread
                continue
            others += process.uids().effective != own
        except psutil.Error:
            continue  # it has ended
        count += 1
        if not _reads(proc / str(process.pid) / "maps"):
            closed.append(process.pid)
    return {"all": count, "others": others, "closed": sorted(closed)}


def _py_spy(live: Live) -> Mapping[str, str | None]:
    path = pyspy.program()
    try:
        said = command.run([path, "--version"], live, pyspy.TIMEOUT).stdout.decode("utf-8", "backslashreplace")
    except ProbeError as error:
        return {"path": None, "version": None, "why": error.detail}
    return {"path": path, "version": said.split()[-1] if said.split() else None, "why": None}


def _hidepid(proc: Path) -> str | None:
    return _found(rf"^\S+ {re.escape(str(proc))} proc \S*hidepid=(\w+)", Path("/proc/self/mounts"))


def _number(path: Path) -> int | None:
    found = _found(r"^(-?\d+)$", path)
    return None if found is None else int(found)


def _found(pattern: str, path: Path) -> str | None:
    try:
        match = re.search(pattern, path.read_text("utf-8", "backslashreplace"), re.MULTILINE)
    except OSError:
        return None
    return match[1] if match else None


def _reads(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError:
        return False
    return True
