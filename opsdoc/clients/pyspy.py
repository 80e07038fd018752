"""py-spy: the stacks of a Python process, read from its memory without stopping it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from opsdoc.clients import Live, command
from opsdoc.clients.proc import gone
from opsdoc.model import Denied, ProbeError, Unsupported
from opsdoc.redact import Redactor

TIMEOUT = 5.0  # seconds for one dump: 0.07 to 0.15 s were measured with 50 threads


class PythonDump(NamedTuple):
    """All Python stacks of a process as `py-spy dump --json` prints them, taken without stopping it."""

    pid: int

    def key(self) -> str:
        return f"pyspy.dump {self.pid}"

    def answer(self, live: Live) -> bytes:
        if live.foreign_proc:
            raise Unsupported(f"{live.proc} may show other process ids than ours: py-spy is not run")
        argv = [program(), "dump", "--json", "--nonblocking", "--pid", str(self.pid)]
        output = command.run(argv, live, TIMEOUT, "pip install py-spy")
        if output.exit_code:
            raise _failure(self.pid, output.stderr.decode("utf-8", "backslashreplace"), live)
        return output.stdout

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        return redactor.lines(value)


def program() -> str:
    """py-spy beside the running interpreter: a virtual environment that was not activated is not on the PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy") or "py-spy"


def _failure(pid: int, stderr: str, live: Live) -> ProbeError:
    words = stderr.lower()
    if "permission denied" in words or "operation not permitted" in words:
        return Denied(f"py-spy may not read the memory of process {pid}", live.as_root())
    if "no such process" in words or "no such file or directory" in words:
        return gone(pid)
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "no reason given")
    return Unsupported(f"py-spy cannot read process {pid}: {last[:200]}")
