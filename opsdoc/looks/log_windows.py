"""The last minutes of a log, rotated files included: chunks of whole lines, the newest first, within a budget."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from opsdoc.clients.logs import GzipLines, LogFiles, LogLines, LogWindow
from opsdoc.host import Host
from opsdoc.model import ProbeError, Unseen
from opsdoc.parsers.log_format import TimeField

CHUNK = 2 << 20  # bytes asked for at once: they stay in the cache of a core
_GZIP_CAP = 64 << 20  # bytes of a compressed file, unpacked, that are kept


@dataclass(slots=True)
class Reading:
    """One log as it is being read: how much may still be read of it, and what came of it."""

    path: str
    lines_left: int
    lines: int = 0
    octets: int = 0
    files: int = 0
    last: float | None = None  # the time of its newest line, wherever that is
    capped: bool = False  # not all of the window was read: the oldest part is missing
    unseen: list[Unseen] = field(default_factory=list)

    def lost(self, error: ProbeError) -> None:
        self.capped = self.capped or self.lines > 0
        told = error.detail.removeprefix(f"{self.path}: ").replace(f"read {self.path}", "read it")
        self.unseen.append(error.unseen(self.path)._replace(detail=told))


def chunks(host: Host, reading: Reading, time: TimeField, since: float, root: int | None) -> Iterator[bytes]:
    """The lines of a log since then, in chunks of which the newest comes first; `reading` tells what was read.

    `root` is the process below whose root the log stands. What cannot be read is in `reading.unseen`.
    """
    try:
        found = host.ask(LogFiles(reading.path, root, since)).value
        reading.unseen += [Unseen(one["path"], "unsupported", one["why"]) for one in found["skipped"]]
        for file in found["files"]:
            if reading.lines_left <= 0:
                reading.capped = True
                return
            if (yield from _of_file(host, reading, file, time, since, root)):
                return
    except ProbeError as error:
        reading.lost(error)


def _of_file(
    host: Host, reading: Reading, file: dict[str, Any], time: TimeField, since: float, root: int | None
) -> Generator[bytes, None, bool]:
    """The chunks of one file; it returns whether what is older than them need not be looked at."""
    if file["gzip"]:
        data = host.ask(GzipLines(file["path"], root, since, time, _GZIP_CAP)).value
        reading.capped = reading.capped or len(data) >= _GZIP_CAP // 2
        _count(reading, data)
        yield data
        return False
    window = host.ask(LogWindow(file["path"], root, since, time, inode=file["inode"])).value
    if reading.last is None:
        reading.last = window["last"]
    start, end = window["start"], window["end"]
    older = window["first"] is not None and window["first"] < since
    while start < end:
        if reading.lines_left <= 0:
            reading.capped = True
            return True
        begin = max(start, end - CHUNK)
        data = host.ask(LogLines(file["path"], root, begin, end, file["inode"])).value
        _count(reading, data)
        yield data
        end = begin
    return older


def _count(reading: Reading, data: bytes) -> None:
    reading.files += reading.octets == 0 and bool(data)
    lines = data.count(b"\n")
    reading.lines += lines
    reading.lines_left -= lines
    reading.octets += len(data)
