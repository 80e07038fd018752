"""The folder of a cache of nginx: how many files of which size are in it, and how full its disk is.

A cache may hold millions of files. So it is looked at for a bounded time, one part of its first level after the other;
these are named by a hash, so that some of them stand for all.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.nginx_files import reason
from opsdoc.clients.proc import gone
from opsdoc.clients.rooted import open_folder_below, reader_of
from opsdoc.model import Denied, Unreachable

MOST_FILES = 200_000
MOST_PARTS = 500_000  # names on the first level: all the files of a cache without `levels`
WITHIN = 1.5  # seconds
DEEPEST = 3  # `levels` has at most three parts
_OFTEN = 256  # files between two looks at the clock


class CacheFolder(NamedTuple):
    """What is in the folder of a cache: {files, bytes, written, oldest, share, disk_size, disk_free}.

    `bytes` are those on the disk, by which nginx judges, too. `written` counts the files written since then (unix
    time), `oldest` is when the oldest was. All of these are of the part that was looked at, `share` of the whole; null
    where it is not known how much the whole is. With `pid` the folder is that of this process, below its root and by
    the rights of its user. Raises Denied or Unreachable where it cannot be read.
    """

    path: str
    pid: int | None
    since: float

    def key(self) -> str:
        return f"nginx.cache {self.path}" if self.pid is None else f"nginx.cache {self.pid} {self.path}"

    def answer(self, live: Live) -> dict[str, Any]:
        try:
            return _Look(self.since, live).at(self._opened(live))
        except PermissionError:
            raise Denied(f"not permitted to read {self.path}", live.as_root()) from None
        except FileNotFoundError:
            raise Unreachable(f"{self.path}: no such folder") from None
        except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise Unreachable(f"{self.path}: {why}") from None

    def _opened(self, live: Live) -> int:
        if self.pid is None:
            return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
        root = live.proc / str(self.pid) / "root"
        if not Path(live.proc / str(self.pid)).exists():
            raise gone(self.pid)
        return open_folder_below(root, self.path, reader_of(live.proc, self.pid))


class _Look:
    """One look at a folder, until its time or its number of files is used up."""

    def __init__(self, since: float, live: Live) -> None:
        self._since = since
        self._end = time.monotonic() + min(WITHIN, live.remaining())
        self._left = MOST_FILES
        self.files = self.bytes = self.written = 0
        self.oldest: float | None = None

    def at(self, folder: int) -> dict[str, Any]:
        """What is in the folder of this descriptor, which is closed."""
        try:
            disk = os.fstatvfs(folder)
            with os.scandir(folder) as entries:
                parts = list(islice(entries, MOST_PARTS + 1))
            done = 0
            for part in parts:
                before = self.files, self.bytes, self.written
                if not self._part(folder, part, DEEPEST):
                    if done:  # what was seen of it stands for nothing
                        self.files, self.bytes, self.written = before
                    break
                done += 1
            share = done / len(parts) if parts else 1.0
            return {
                "files": self.files,
                "bytes": self.bytes,
                "written": self.written,
                "oldest": self.oldest,
                "share": None if len(parts) > MOST_PARTS or not share else round(share, 6),
                "disk_size": (disk.f_blocks - disk.f_bfree + disk.f_bavail) * disk.f_frsize,  # as df: without root's
                "disk_free": disk.f_bavail * disk.f_frsize,
            }
        finally:
            os.close(folder)

    def _part(self, folder: int, entry: os.DirEntry[str], depth: int) -> bool:
        """A file, or a folder with what is in it; false where there was no time for all of it."""
        if self._left <= 0 or (self._left % _OFTEN == 0 and time.monotonic() > self._end):
            return False
        self._left -= 1
        with contextlib.suppress(FileNotFoundError):  # nginx removes files all the time
            if not entry.is_dir(follow_symlinks=False):
                self._file(entry.stat(follow_symlinks=False))
            elif depth:
                with _folder(folder, entry.name) as inner, os.scandir(inner) as entries:
                    return all(self._part(inner, one, depth - 1) for one in entries)
        return True

    def _file(self, seen: os.stat_result) -> None:
        if not stat.S_ISREG(seen.st_mode):
            return
        self.files += 1
        self.bytes += seen.st_blocks * 512
        self.written += seen.st_mtime >= self._since
        self.oldest = seen.st_mtime if self.oldest is None else min(self.oldest, seen.st_mtime)


@contextlib.contextmanager
def _folder(parent: int, name: str) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
