"""py-spy: the stacks of a Python process, read from its memory without stopping it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from opsdoc.clients import Live, command
from opsdoc.clients.proc import MAPS_CAP, gone
from opsdoc.model import Denied, Malformed, ProbeError, Unsupported
from opsdoc.parsers import pyspy
from opsdoc.parsers.procfs import mapped_files, parse_stat
from opsdoc.parsers.pyspy import PythonBuild
from opsdoc.redact import Redactor

TIMEOUT = 5.0  # seconds for one dump: 0.07 to 0.15 s were measured with 50 threads
NEWEST = (3, 14)  # that a py-spy can read: 0.4.2 and later
UPGRADE = "pip install -U py-spy"
# What py-spy says when the program moved something while it was being read. With threads that come and go 0 to 11 of
# 100 dumps ended so, the most on 3.11 and later; with one more try 0 to 2 did.
MOVED = ("bad address", "failed to get stack traces", "failed to find a python interpreter")


class PythonDump(NamedTuple):
    """All Python stacks of a process as `py-spy dump --json` prints them, taken without stopping it.

    A dump that met memory on the move is taken once more. Raises Denied, Unreachable for a process that ended,
    Malformed if its memory moved again, Unsupported for what py-spy cannot read.
    """

    pid: int

    def key(self) -> str:
        return f"pyspy.dump {self.pid}"

    def answer(self, live: Live) -> bytes:
        if live.foreign_proc:
            raise Unsupported(f"{live.proc} may show other process ids than ours: py-spy is not run")
        argv = [program(), "dump", "--json", "--nonblocking", "--pid", str(self.pid)]
        for attempt in ("first", "last"):
            output = command.run(argv, live, TIMEOUT, "pip install py-spy")
            if not output.exit_code:
                return output.stdout
            said = pyspy.complaint(output.stderr)
            if attempt == "last" or not (_moved(said) and _is_alive(self.pid, live)):
                break
        raise _failure(self.pid, said, live)

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        return redactor.lines(value)


def program() -> str:
    """py-spy beside the running interpreter: a virtual environment that was not activated is not on the PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy") or "py-spy"


def _moved(said: str) -> bool:
    return any(words in said.lower() for words in MOVED)


def _failure(pid: int, said: str, live: Live) -> ProbeError:
    """What the complaint of py-spy means: it names the step that failed, and seldom the reason."""
    words = said.lower()
    if "permission denied" in words or "operation not permitted" in words:
        return Denied(f"py-spy may not read the memory of process {pid}", live.as_root())
    if not _is_alive(pid, live):
        return gone(pid)
    maps = _maps(pid, live)
    cannot = f"py-spy cannot read process {pid}"
    replaced = pyspy.deleted(maps)
    if "no such file" in words and replaced:
        return Unsupported(f"{cannot}: {replaced} was replaced since it started", f"grep deleted /proc/{pid}/maps")
    why, hint = _why_not(pyspy.build_of(mapped_files(maps)), pid, _moved(said))
    if not why and _moved(said):
        return Malformed(f"process {pid} changed its stacks while py-spy read them, twice ({said})")
    return Unsupported(f"{cannot}: {why} ({said})" if why else f"{cannot}: {said}", hint)


def _why_not(build: PythonBuild | None, pid: int, moved: bool) -> tuple[str, str]:
    """What is wrong with a build of Python, if that is known, and what shows its stacks or may do so."""
    if build is not None and build.free_threaded:
        return f"it knows no free-threaded Python, and this is {build}", f"perf top -p {pid}"
    if build is None or build.version < NEWEST or (build.version == NEWEST and moved):
        return "", UPGRADE
    newer = build.version > NEWEST  # those have a reader of their own
    return f"it does not know Python {build}", f"python{build} -m profiling.sampling dump {pid}" if newer else UPGRADE


def _is_alive(pid: int, live: Live) -> bool:
    try:
        return parse_stat((live.proc / str(pid) / "stat").read_bytes()).state not in "ZX"
    except OSError:
        return False


def _maps(pid: int, live: Live) -> str:
    try:
        with (live.proc / str(pid) / "maps").open("rb") as maps:
            return maps.read(MAPS_CAP).decode("utf-8", "backslashreplace")
    except OSError:
        return ""
