"""Log files: those that can hold a time, where in them it begins, and their lines, however large they are.

They are being written, rotated and truncated meanwhile. So a file is known by its inode; one that was renamed is found
again under its new name, and one that is gone or has shrunk is Unreachable, so that whoever asks can go on with others.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.log_files import SLACK, check_place, described, errors, opened, rotated_meanwhile, siblings
from opsdoc.clients.log_reading import LONGEST_LINE, Newest, TimedLines, Times, last_time, unpacked, whole_lines
from opsdoc.model import Malformed, Unsupported
from opsdoc.redact import Redactor

MOST = 256 << 20  # bytes that one question gives


class LogFiles(NamedTuple):
    """The log at `path` and what logrotate made of it, as far as written at or after `since` (unix time).

    The answer has `files`, newest first, the live one whatever its age: `path`, `size` (bytes), `modified` (unix time),
    `inode`, `gzip`, and `deleted` where only the process still has it. `skipped` has those that cannot be read, each
    with `path` and `why`.
    """

    path: str
    pid: int | None
    since: float

    def key(self) -> str:
        return f"logs.files {self.path} {self.pid or ''}".rstrip()

    def answer(self, live: Live) -> dict[str, Any]:
        with errors(self.path, live):
            check_place(self.path, self.pid, live)
            files, skipped = siblings(self.path, self.pid, self.since, live)
            if not any(file["path"] == self.path for file in files):
                with contextlib.suppress(*([FileNotFoundError] if files else [])):  # nginx may write to a rotated one
                    files.append(self._deleted(live))
        mask = live.redactor.text
        files.sort(key=lambda file: (file["path"] != self.path, -file["modified"]))
        for entry in (*files, *skipped):
            entry["path"] = mask(entry["path"])
        return {"files": files, "skipped": skipped}

    def _deleted(self, live: Live) -> dict[str, Any]:
        """The file that only the process still has. Raises FileNotFoundError where it has none."""
        with opened(self.path, self.pid, 0, live) as descriptor:
            seen = os.fstat(descriptor)
            return described(self.path, seen) | {"deleted": seen.st_nlink == 0}


class LogWindow(NamedTuple):
    """Where in a log the lines from `since` to `until` stand (unix time; None: to its end), found by bisection.

    The answer has `start` and `end`, offsets for LogLines; `size`; `first` and `last`, the times of the file's first
    and last line that have one (null in an empty file); and `reads`. Lines may be out of order by `slack` seconds: the
    window begins and ends as much earlier and later, and whoever parses it leaves out what does not belong to it. Where
    much has no time, it begins rather too early. Malformed where no line has a time.
    """

    path: str
    pid: int | None
    since: float
    time: Times
    until: float | None = None
    inode: int = 0  # as LogFiles tells; 0: whatever is there now
    slack: float = SLACK

    def key(self) -> str:
        return f"logs.window {self.path} {self.pid or ''}".rstrip()

    def answer(self, live: Live) -> dict[str, Any]:
        with errors(self.path, live), opened(self.path, self.pid, self.inode, live) as descriptor:
            file = TimedLines(descriptor, os.fstat(descriptor).st_size, self.time, live)
            first, last = file.first(), file.last()
            if file.size and first is None and last is None:
                raise Malformed(f"{self.path}: no line has a time where its format has one")
            start = file.find(self.since - self.slack) if file.size else 0
            if os.fstat(descriptor).st_size < file.size:
                raise rotated_meanwhile(self.path)
            end = file.size if self.until is None else file.find(self.until + self.slack, start, early=False)
            return {
                "start": start,
                "end": end,
                "size": file.size,
                "first": first,
                "last": last,
                "reads": file.reads,
            }


class LogLines(NamedTuple):
    """The whole lines of a log that begin in [start, end), at most 256 MiB.

    What reaches more than 1 MiB beyond `end` is cut there; like the last line of a file that is being written, it
    then ends without a newline.
    """

    path: str
    pid: int | None
    start: int
    end: int
    inode: int = 0

    def key(self) -> str:
        return f"logs.lines {self.path} {self.start}-{self.end} {self.pid or ''}".rstrip()

    def answer(self, live: Live) -> bytes:
        if self.end - self.start > MOST:
            raise Unsupported(f"{self.path}: more than {MOST >> 20} MiB were asked for at once")
        with errors(self.path, live), opened(self.path, self.pid, self.inode, live) as descriptor:
            if os.fstat(descriptor).st_size < self.end:
                raise rotated_meanwhile(self.path)
            return whole_lines(descriptor, self.start, self.end, self.path, live)

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        return redactor.lines(value)


class GzipLines(NamedTuple):
    """The lines of a gzip'd log from `since` on, but at most its newest `cap` bytes, unpacked as a stream.

    A file that is cut or damaged gives what could be unpacked; Malformed where that is nothing. It begins up to 1 MiB
    of lines early, or later where `cap` did not suffice.
    """

    path: str
    pid: int | None
    since: float
    time: Times
    cap: int = 64 << 20
    inode: int = 0
    slack: float = SLACK

    def key(self) -> str:
        return f"logs.gzip {self.path} {self.cap} {self.pid or ''}".rstrip()

    def answer(self, live: Live) -> bytes:
        since = self.since - self.slack
        kept = Newest(self.cap)
        rest = b""
        empty = True
        with errors(self.path, live), opened(self.path, self.pid, self.inode, live) as descriptor:
            for block in unpacked(descriptor, live):
                empty = False
                whole, newline, rest = (rest + block).rpartition(b"\n")
                if newline:
                    last = last_time(whole.split(b"\n"), self.time)
                    if last is not None and last < since:
                        kept.clear()
                    else:
                        kept.add(whole + newline)
                elif len(rest) > LONGEST_LINE:
                    rest = b""
        if empty:
            raise Malformed(f"{self.path}: nothing of it can be unpacked")
        kept.add(rest)
        return kept.lines()

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        return redactor.lines(value)
