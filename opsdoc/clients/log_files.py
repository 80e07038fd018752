"""Finding and opening log files that are rotated, deleted, behind symlinks, or no files at all.

With a `pid`, paths are those of that process: below its root, and of a deleted file the descriptor that it still holds.
Without one they are our own. Only regular files are opened, and only to be read.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opsdoc.clients import Live
from opsdoc.clients.below import below
from opsdoc.clients.rooted import listdir_below, open_below, reader_of, stat_below
from opsdoc.model import Denied, ProbeError, Unreachable, Unsupported

SLACK = 5.0  # seconds by which lines may be out of order, unless a log is buffered: nginx's flush= says by how much
MOST_LINKS = 40  # as in Linux

_ELSEWHERE = ("syslog:", "stderr", "memory:")  # what `error_log` and `access_log` take for a path
_STREAMS = re.compile(r"/dev(/fd)?|/proc(/.*)?")  # folders of what is no file; /dev/shm is one of files
# What logrotate makes of a name, also before its extension: .1, -20261122, -2026112215, -1700000000, .2026-11-22.
_AGE = r"(?:\.\d{1,3}|[.-]\d{8,14}|[.-]\d{4}-\d\d-\d\d(?:-\d{1,6})?)"
_PACKED = r"(?:\.(gz|bz2|xz|zst|lz4|Z))?"


@contextlib.contextmanager
def errors(path: str, live: Live) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise Denied(f"not permitted to read {path}", live.as_root()) from None
    except FileNotFoundError:
        raise Unreachable(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise Unreachable(f"{path}: {getattr(error, 'strerror', None) or error}") from None


@contextlib.contextmanager
def opened(path: str, pid: int | None, inode: int, live: Live) -> Iterator[int]:
    """A descriptor of the file: the one that had this inode, wherever it was renamed to."""
    check_place(path, pid, live)
    descriptor = _plain(path, pid, live)
    if descriptor is not None and inode not in (0, os.fstat(descriptor).st_ino):
        os.close(descriptor)
        descriptor = _renamed(path, pid, inode, live)
    if descriptor is None and pid is not None:
        descriptor = _held(path, pid, inode, live)
    if descriptor is None:
        raise rotated_meanwhile(path) if inode else FileNotFoundError(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def check_place(path: str, pid: int | None, live: Live) -> None:
    """Raise Unsupported for what is no file at all; a symlink to `/dev/stdout` would be our own standard output."""
    if path.startswith(_ELSEWHERE):
        raise Unsupported(f"{path}: these lines go to no file")
    there = path
    for _ in range(MOST_LINKS):
        folder, _, name = there.rpartition("/")
        if pid is None:
            folder = os.path.realpath(folder or ("/" if there.startswith("/") else "."))
        if _STREAMS.fullmatch(folder):
            raise Unsupported(f"{path}: these lines go to {there}, a stream that cannot be read again")
        link = _link(folder, name, pid, live)
        if link is None:
            return
        there = link if link.startswith("/") else f"{folder}/{link}"


def _link(folder: str, name: str, pid: int | None, live: Live) -> str | None:
    """Where a symlink leads, or None for anything else."""
    with contextlib.suppress(OSError, ValueError, ProbeError):
        if pid is None:
            return os.readlink(f"{folder}/{name}")
        with below(live.proc / str(pid), f"root{folder}", live) as descriptor:
            return os.readlink(name, dir_fd=descriptor)
    return None


def _plain(path: str, pid: int | None, live: Live) -> int | None:
    """A descriptor of what is at the path, or None where nothing is. Raises OSError, and Unsupported for no file."""
    try:
        if not stat.S_ISREG(_stat(path, pid, live).st_mode):
            raise Unsupported(f"{path}: it is not a regular file")
        if pid is not None:
            return open_below(_root(pid, live), path, reader_of(live.proc, pid))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it was replaced meanwhile
        os.close(descriptor)
        raise rotated_meanwhile(path)
    return descriptor


def _renamed(path: str, pid: int | None, inode: int, live: Live) -> int | None:
    for file in siblings(path, pid, 0.0, live)[0]:
        if file["inode"] == inode:
            descriptor = _plain(file["path"], pid, live)
            if descriptor is not None and os.fstat(descriptor).st_ino == inode:
                return descriptor
            if descriptor is not None:
                os.close(descriptor)
    return None


def _held(path: str, pid: int, inode: int, live: Live) -> int | None:
    """A descriptor of a file that was deleted while the process has it open."""
    folder = live.proc / str(pid) / "fd"
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(folder / name) == f"{path} (deleted)":
                seen = os.stat(folder / name)
                if stat.S_ISREG(seen.st_mode) and inode in (0, seen.st_ino):
                    return os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK)
    return None


def siblings(path: str, pid: int | None, since: float, live: Live) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The file and its rotated ones, written since then; and what of them cannot be read."""
    folder, slash, name = path.rpartition("/")
    files: dict[int, dict[str, Any]] = {}
    skipped: list[dict[str, str]] = []
    try:
        names = [found for found in _names(folder or slash or ".", pid, live) if found != name]
    except PermissionError:
        names = []
        skipped.append({"path": folder or slash or ".", "why": "not permitted to look for rotated logs in it"})
    except (FileNotFoundError, NotADirectoryError):
        names = []
    rotated = _rotated_names(name)
    for found in (name, *names):
        live.remaining()
        match = rotated.fullmatch(found)
        if match is None and found != name:
            continue
        packed = match and (match[1] or match[2])
        with contextlib.suppress(FileNotFoundError):
            seen = _stat(f"{folder}{slash}{found}", pid, live)
            if not stat.S_ISREG(seen.st_mode) or (seen.st_mtime < since - SLACK and found != name):
                continue
            if packed not in (None, "gz"):
                skipped.append({"path": f"{folder}{slash}{found}", "why": f"it is packed as {packed}"})
                continue
            files.setdefault(seen.st_ino, described(f"{folder}{slash}{found}", seen))  # a symlink is not another file
    return list(files.values()), skipped


def _rotated_names(name: str) -> re.Pattern[str]:
    stem, extension = os.path.splitext(name)
    whole, stem, extension = re.escape(name), re.escape(stem), re.escape(extension)
    return re.compile(f"{whole}{_AGE}{_PACKED}" + (f"|{stem}{_AGE}{extension}{_PACKED}" if extension else "|(?!)()"))


def described(path: str, seen: os.stat_result) -> dict[str, Any]:
    return {
        "path": path,
        "size": seen.st_size,
        "modified": round(seen.st_mtime, 3),
        "inode": seen.st_ino,
        "gzip": path.endswith(".gz"),
    }


def rotated_meanwhile(path: str) -> Unreachable:
    return Unreachable(f"{path}: it was rotated or truncated while being read")


def _root(pid: int, live: Live) -> Path:
    return live.proc / str(pid) / "root"


def _stat(path: str, pid: int | None, live: Live) -> os.stat_result:
    return os.stat(path) if pid is None else stat_below(_root(pid, live), path)


def _names(folder: str, pid: int | None, live: Live) -> list[str]:
    return os.listdir(folder) if pid is None else listdir_below(_root(pid, live), folder, reader_of(live.proc, pid))
