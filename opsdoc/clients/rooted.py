"""Files below a root such as `/proc/PID/root`, with the symlinks inside it followed as its own processes follow them.

A symlink in another file system, followed by the kernel for us, would lead into our own. So each component is opened
by itself and never followed; what a link says is resolved here: an absolute target begins at the root again, `..` goes
back to the folder that was open before, and nothing leads out. Errors are the OSError that the kernel would give.

What a process of another user names is not to be read with the rights of root: a `Reader` has that user's.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MOST_LINKS = 40  # as in Linux (path_resolution(7))
MOST_STEPS = 1024  # components of one path, those of the links in it included


READ, SEARCH = 4, 1


class Reader(NamedTuple):
    """A user and groups, by whose rights to files and folders it is decided (by their modes; no access lists)."""

    uid: int
    groups: frozenset[int]

    def check(self, descriptor: int, right: int) -> None:
        """Raise PermissionError where the user has not this right."""
        seen = os.fstat(descriptor)
        shift = 6 if seen.st_uid == self.uid else 3 if seen.st_gid in self.groups else 0
        if not seen.st_mode >> shift & right:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "")


_IDS = re.compile(r"^(?:Uid|Gid):\s+\d+\s+(\d+)\s.*$|^Groups:(.*)$", re.MULTILINE)


def reader_of(proc: Path, pid: int) -> Reader | None:
    """The user of a process; None for root, who may read everything. Raises OSError."""
    uid, gid, *more = _IDS.findall((proc / str(pid) / "status").read_text(errors="replace"))
    groups = frozenset(map(int, (gid[0], *(word for _, words in more for word in words.split()))))
    return Reader(int(uid[0]), groups) if int(uid[0]) else None


def open_below(root: Path, path: str, reader: Reader | None = None) -> int:
    """A descriptor to read a regular file. Anything else, which could block or be changed by it, is never opened."""
    with _found(root, path, reader) as descriptor:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)


def stat_below(root: Path, path: str) -> os.stat_result:
    """What `stat` tells of a file, a folder or anything else."""
    with _found(root, path) as descriptor:
        return os.fstat(descriptor)


def open_folder_below(root: Path, path: str, reader: Reader | None = None) -> int:
    """A descriptor to read a folder."""
    with _found(root, path, reader) as descriptor:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)


def listdir_below(root: Path, path: str, reader: Reader | None = None) -> list[str]:
    """The names in a folder."""
    folder = open_folder_below(root, path, reader)
    try:
        return os.listdir(folder)
    finally:
        os.close(folder)


@contextmanager
def _found(root: Path, path: str, reader: Reader | None = None) -> Iterator[int]:
    """A descriptor that stands for what is there (O_PATH): it can be looked at, but neither waits nor touches."""
    opened = [os.open(root, os.O_PATH | os.O_DIRECTORY)]
    try:
        _walk(opened, path, reader)
        if reader is not None:
            reader.check(opened[-1], READ)
        yield opened[-1]
    except OSError as error:
        if error.filename is not None:
            error.filename = path  # what was asked for, not the part of it
        raise
    finally:
        _close(opened)


def _walk(opened: list[int], path: str, reader: Reader | None) -> None:
    """Open the components one by one: `opened` are the folders from the root down, and then what was found."""
    todo = path.split("/")[::-1]
    links = steps = 0
    while todo:
        name = todo.pop()
        steps += 1
        if links > MOST_LINKS or steps > MOST_STEPS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if name == "..":
            if len(opened) > 1:
                os.close(opened.pop())
        elif name not in ("", "."):
            if reader is not None:
                reader.check(opened[-1], SEARCH)
            target = _enter(opened, name)
            if target is not None:
                links += 1
                todo += target.split("/")[::-1]
                if target.startswith("/"):
                    _close(opened[1:])
                    del opened[1:]


def _enter(opened: list[int], name: str) -> str | None:
    """Open a component of the last folder and add it; of a symlink its target is told instead."""
    if "\0" in name:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=opened[-1])
    try:
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            return os.readlink("", dir_fd=descriptor)
        opened.append(descriptor)
    finally:
        if descriptor not in opened[-1:]:
            os.close(descriptor)
    return None


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
