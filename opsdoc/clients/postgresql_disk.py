"""The disk that a PostgreSQL server of this machine writes its log to: how much is free there, as a question.

No server tells that. Which of our processes serves us is proven by the file that it keeps in its data directory: no
other server has the same start, port and process.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.below import below
from opsdoc.model import Denied, ProbeError, Unsupported

LOG = "pg_wal"
_FILE = "postmaster.pid"  # its process, data directory, start, port, and more, a line each
_START, _PORT = 2, 3  # lines
_SLACK = 10  # seconds between the start of the process and that of the server, which comes a little later
_MOST = 1024  # bytes of that file


class LogDisk(NamedTuple):
    """Bytes that are free for the log of the server whose process `pid` serves us, by its start (epoch) and port."""

    pid: int
    started: int
    port: int

    def key(self) -> str:
        return f"postgresql.disk {self.pid} {self.started} {self.port}"

    def answer(self, live: Live) -> int:
        elsewhere = Unsupported("its disk is not seen from here: it runs elsewhere", "run opsdoc on its machine")
        if live.foreign_proc:
            raise elsewhere
        try:
            with below(live.proc / str(self.pid), "cwd", live) as data:
                if not self._is_of(data):
                    raise elsewhere
                return _free(data, os.readlink(live.proc / str(self.pid) / "root") == "/")
        except Denied as error:
            raise Denied("its disk is not seen: its data directory may not be entered", error.hint) from None
        except ProbeError:
            raise elsewhere from None
        except OSError as error:
            raise Unsupported(f"its disk is not seen: {error.strerror}") from None

    def _is_of(self, data: int) -> bool:
        descriptor = os.open(_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=data)
        try:
            lines = os.read(descriptor, _MOST).decode("ascii", "replace").split("\n")
        finally:
            os.close(descriptor)
        told = [int(line) if line.isascii() and line.isdecimal() else -1 for line in lines[_START : _PORT + 1]]
        return len(told) == 2 and abs(told[0] - self.started) <= _SLACK and told[1] == self.port


def _free(data: int, is_our_root: bool) -> int:
    """What others than root may still write. The log may be a link to a disk of its own, which its root must share."""
    follow = 0 if is_our_root else os.O_NOFOLLOW
    descriptor = os.open(LOG, os.O_PATH | os.O_DIRECTORY | follow, dir_fd=data)
    try:
        disk = os.fstatvfs(descriptor)
    finally:
        os.close(descriptor)
    return disk.f_bavail * disk.f_frsize
