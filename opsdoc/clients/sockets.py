"""Sockets and descriptors through /proc: tables and counters of a network namespace, who holds which socket."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.proc import gone
from opsdoc.model import Denied, Malformed, Unreachable
from opsdoc.parsers.sockets import CUT, SEPARATOR, parse_open_files
from opsdoc.redact import Redactor

TABLE_CAP = 64 << 20  # of each table: more than 400,000 connections
TABLE_PATIENCE = 4.0  # seconds for each: the kernel writes 200,000 rows a second, unless many connect at that time
FEW = 1024  # descriptors of each process among which its listeners are: who has more has them for connections
ARGV_CAP = 64 << 10
_SETTINGS = {
    "somaxconn": "net/core/somaxconn",
    "port_range": "net/ipv4/ip_local_port_range",
    "reserved_ports": "net/ipv4/ip_local_reserved_ports",
    "reuse": "net/ipv4/tcp_tw_reuse",
    "timestamps": "net/ipv4/tcp_timestamps",
    "memory": "net/ipv4/tcp_mem",
    "orphans": "net/ipv4/tcp_max_orphans",
    "tracked": "net/netfilter/nf_conntrack_count",
    "most_tracked": "net/netfilter/nf_conntrack_max",
}


class Namespaces(NamedTuple):
    """The network namespaces of processes: pairs of pid and a name that is equal where the namespace is.

    `own` is that of opsdoc as the `/proc` in use shows it, `settings` the one whose settings can be read: those below
    /proc/sys/net are always of whoever reads them. A process that has just ended is left out.
    """

    pids: tuple[int, ...]

    def key(self) -> str:
        return "sockets.namespaces"

    def answer(self, live: Live) -> dict[str, Any]:
        named = [(pid, _namespace(live.proc / str(pid))) for pid in self.pids]
        return {
            "own": _namespace(live.proc / "self"),
            "settings": _namespace(Path("/proc/self")),
            "of": [[pid, name] for pid, name in named if name is not None],
        }


class Tables(NamedTuple):
    """The TCP and unix sockets of the network namespace of a process (None: opsdoc's own), separated by NUL.

    A table that is too long, or comes too slowly, ends with the row `CUT`.
    """

    pid: int | None

    def key(self) -> str:
        return f"sockets.tables {_whose(self.pid)}"

    def answer(self, live: Live) -> bytes:
        tcp, *others = (self._table(live, name) for name in ("tcp", "tcp6", "unix"))
        live.remaining()
        if tcp is None:
            raise _lost(live, self.pid)
        return SEPARATOR.join((tcp, *(table or b"" for table in others)))

    def _table(self, live: Live, name: str) -> bytes | None:
        ends = time.monotonic() + TABLE_PATIENCE
        table = _read(_net(live, self.pid) / name, TABLE_CAP, ends)
        if table is None or (len(table) < TABLE_CAP and time.monotonic() < ends):
            return table
        return table[: table.rfind(b"\n") + 1] + CUT

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        tcp, tcp6, unix = value.split(SEPARATOR, 2)  # the first two are numbers
        return SEPARATOR.join((tcp, tcp6, redactor.lines(unix)))


class Counters(NamedTuple):
    """What the kernel has counted in the network namespace of a process (None: opsdoc's own), as text."""

    pid: int | None

    def key(self) -> str:
        return f"sockets.counters {_whose(self.pid)}"

    def answer(self, live: Live) -> dict[str, str | None]:
        return {name: _text(_net(live, self.pid) / name) for name in ("netstat", "snmp", "sockstat")}


class Settings:
    """The limits of the network namespace that opsdoc is in and those of the machine; a missing one is null."""

    def key(self) -> str:
        return "sockets.settings"

    def answer(self, live: Live) -> dict[str, Any]:
        settings: dict[str, Any] = {name: _text(live.proc / "sys" / path) for name, path in _SETTINGS.items()}
        return settings | {"files": _text(live.proc / "sys/fs/file-nr"), "page_bytes": os.sysconf("SC_PAGE_SIZE")}


class Descriptors(NamedTuple):
    """How many descriptors processes have open and may: [pid, open, limit], null where that cannot be seen.

    A limit of -1 is none. Since Linux 6.2 the number is the size of /proc/PID/fd, which everybody may see.
    """

    pids: tuple[int, ...]

    def key(self) -> str:
        return "sockets.descriptors"

    def answer(self, live: Live) -> list[list[int | None]]:
        found: list[list[int | None]] = []
        for pid in self.pids:
            folder = live.proc / str(pid)
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.append([pid, _open_files(f"{folder}/fd"), _limit(folder / "limits")])
        live.remaining()
        return found


class Owners(NamedTuple):
    """Who holds sockets: pairs of inode and the pids, the processes that did not show what they hold, and the hint.

    Looks among the first descriptors of each process, where listeners are, and then among the others until each of
    the `inodes` is found once; those of `idle` sockets are not worth that.
    """

    pids: tuple[int, ...]
    inodes: tuple[int, ...]
    idle: tuple[int, ...] = ()

    def key(self) -> str:
        return "sockets.owners"

    def answer(self, live: Live) -> dict[str, Any]:
        wanted = {f"socket:[{inode}]": inode for inode in (*self.inodes, *self.idle)}
        held: dict[int, list[int]] = {}
        closed: list[int] = []
        more: list[int] = []
        for pid in self.pids if wanted else ():
            live.remaining()
            try:
                if _find(live.proc / str(pid) / "fd", wanted, held, pid, slice(0, FEW)):
                    more.append(pid)
            except PermissionError:
                closed.append(pid)
            except OSError:  # it has just ended
                continue
        missing = set(self.inodes) - held.keys()
        for pid in more if missing else ():
            live.remaining()
            with contextlib.suppress(OSError):
                _find(live.proc / str(pid) / "fd", wanted, held, pid, slice(FEW, None))
            if missing <= held.keys():
                break
        owners = [[inode, pids] for inode, pids in held.items()]
        return {"owners": owners, "closed": closed, "hint": live.as_root()}


class Command(NamedTuple):
    """The command line of a process, masked; empty where there is none."""

    pid: int

    def key(self) -> str:
        return f"sockets.command {self.pid}"

    def answer(self, live: Live) -> list[str]:
        raw = _read(live.proc / str(self.pid) / "cmdline", ARGV_CAP)
        if raw is None:
            raise gone(self.pid)
        words = raw.removesuffix(b"\0").split(b"\0")
        return live.redactor.argv([word.decode("utf-8", "backslashreplace") for word in words])


def _whose(pid: int | None) -> str:
    return "own" if pid is None else str(pid)


def _net(live: Live, pid: int | None) -> Path:
    return live.proc / ("self" if pid is None else str(pid)) / "net"


def _namespace(process: Path) -> str | None:
    """A name of the network namespace of a process that everybody may see, which `ns/net` is not.

    Each namespace has files of its own, and so they have numbers of their own (fs/proc/proc_net.c).
    """
    try:
        found = os.stat(process / "net/tcp")
    except OSError:
        return None
    return f"{found.st_dev}:{found.st_ino}"


def _lost(live: Live, pid: int | None) -> Unreachable | Denied:
    path = _net(live, pid) / "tcp"
    if pid is not None and not os.path.exists(live.proc / str(pid)):
        return gone(pid)
    if os.path.exists(path):
        return Denied(f"not permitted to read {path}", live.as_root())
    return Unreachable(f"there is no {path}: the process has ended, or this kernel has no network")


def _open_files(folder: str) -> int | None:
    """How many entries a folder of descriptors has."""
    try:
        return os.stat(folder).st_size or len(os.listdir(folder))
    except PermissionError:
        return None


def _limit(path: Path) -> int | None:
    text = _text(path)
    try:
        most = parse_open_files(text or "")
    except Malformed:
        return None
    return -1 if most is None else most


def _find(folder: Path, wanted: dict[str, int], held: dict[int, list[int]], pid: int, part: slice) -> bool:
    """Note which of the wanted sockets are among a part of a process's descriptors; whether it has any beyond."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = os.listdir(descriptor)
        for name in names[part]:
            try:
                inode = wanted.get(os.readlink(name, dir_fd=descriptor))
            except OSError:  # closed meanwhile
                continue
            if inode is not None and pid not in (pids := held.setdefault(inode, [])):
                pids.append(pid)
    finally:
        os.close(descriptor)
    return part.stop is not None and len(names) > part.stop


def _read(path: Path, cap: int, ends: float = float("inf")) -> bytes | None:
    """A file of /proc, at most so many bytes of it and until then; None where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    chunks, left = [], cap
    try:
        while left > 0 and time.monotonic() < ends and (chunk := os.read(descriptor, min(left, 65536))):
            chunks.append(chunk)
            left -= len(chunk)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return b"".join(chunks)


def _text(path: Path) -> str | None:
    data = _read(path, 1 << 20)
    return None if data is None else data.decode("utf-8", "backslashreplace")
