"""The nginx that run: masters and workers, with version and paths out of the running binary, and whom they call.

Nothing is executed: any process can be titled `nginx: master process`, and its binary may be anything.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.nginx_binary import Binaries
from opsdoc.clients.proc import Processes, gone
from opsdoc.model import Denied, Malformed, Unreachable
from opsdoc.parsers import nginx_process as parser
from opsdoc.parsers.cgroup import container_of
from opsdoc.parsers.nginx_process import Build, Options, Title
from opsdoc.parsers.procfs import CLOCK_TICKS, Stat, parse_scan, parse_status
from opsdoc.parsers.sockets import ESTABLISHED, SEPARATOR, SYN_SENT, TIME_WAIT, parse_open_files, parse_tables, survey

TABLE_CAP = 15 << 20  # bytes of a table of sockets: 100,000 rows of 150
MOST_REMOTES = 1000
MOST_DESCRIPTORS = 200_000  # of all workers: each costs a readlink(2)

# The kernel's name of a process is that of its binary. Only such are looked at: to read the command line of all
# others would mean to wait for each that hangs.
_NAMED = re.compile(r"nginx|openresty|tengine|angie", re.IGNORECASE)
_SERVERS = ("nginx", "nginx-debug", "openresty", "tengine", "angie", "freenginx")

Known = dict[str, Any]


class Masters:
    """All nginx: {masters, orphans, impostors, hidden, hint}.

    A master is {pid, started, user, exe, replaced, version, core, conf, prefix, error_log, access_log, directives,
    configure, container, single, own_root, own_network, trusted, workers, unknown}. Its paths are those by the command
    line and the binary: the configuration may name others. `replaced`: the binary on the disk is another one by now.
    `single`: it does the work itself, and is its own worker in the list. `own_root`, `own_network`: it sees our file
    system, our network; where that may not be seen, whether it is in no container. `trusted`: not so where root looks
    at the nginx of another user, whose files are to be read with that user's rights. A worker is {pid, started, user,
    role, state, shutting_down, cpu, fds, fd_limit, sockets, connections}, the last its TCP sockets that do not listen.
    `orphans` are workers whose master is gone. Times are seconds, `started` is unix time to a second. What was not
    permitted is null, with the reason under the master's `unknown`. `impostors` counts processes that have the title
    of an nginx and not its binary, `hidden` those whose title could not be read: null where those of others cannot
    even be counted.
    """

    def key(self) -> str:
        return "nginx.masters"

    def answer(self, live: Live) -> Known:
        return _Look(live).all()


class Connections(NamedTuple):
    """Where the connections go that the network of a process has made: {established, time_wait, syn_sent, cut}.

    Each maps the remote `ip:port` to how many, the 1000 most frequent; connections that came in are left out. `cut`:
    there were more than 100,000 sockets, and the rest was not read.
    """

    pid: int

    def key(self) -> str:
        return f"nginx.connections {self.pid}"

    def answer(self, live: Live) -> Known:
        try:
            tables, whole = _tables(live, self.pid)
        except PermissionError:
            raise Denied(f"not permitted to read /proc/{self.pid}/net", live.as_root()) from None
        except (FileNotFoundError, ProcessLookupError):
            raise gone(self.pid) from None
        except OSError as error:
            raise Unreachable(f"/proc/{self.pid}/net: {error.strerror}") from None
        pairs = survey(parse_tables(SEPARATOR.join(tables)).rows).pairs
        return {
            "established": parser.outgoing(pairs, ESTABLISHED, MOST_REMOTES),
            "time_wait": parser.outgoing(pairs, TIME_WAIT, MOST_REMOTES),
            "syn_sent": parser.outgoing(pairs, SYN_SENT, MOST_REMOTES),
            "cut": not whole,
        }


class _Look:
    """One look at all nginx."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._booted = _booted(live)
        self._stats = parse_scan(Processes().answer(live))
        self._hidden: int | None = 0 if 1 in self._stats else None
        self._impostors = 0
        self._cmdlines: dict[int, bytes] = {}
        self._titles: dict[int, Title] = {}
        self._binaries = Binaries(live)
        self._descriptors = MOST_DESCRIPTORS

    def all(self) -> Known:
        for stat in self._stats.values():
            if _NAMED.search(stat.name):
                self._read_title(stat.pid)
        masters = [master for pid in sorted(self._cmdlines) if (master := self._master(pid))]
        orphans = [pid for pid, title in self._titles.items() if title.role == "worker" and self._is_orphan(pid)]
        return {
            "masters": masters,
            "orphans": [worker for pid in sorted(orphans) if (worker := self._worker(pid, "worker", None))],
            "impostors": self._impostors,
            "hidden": self._hidden,
            "hint": self._live.as_root(),
        }

    def _parent(self, pid: int) -> int:
        return self._stats[pid].ppid

    def _is_orphan(self, pid: int) -> bool:
        """Whether its parent is seen, and is no nginx."""
        parent = self._stats.get(self._parent(pid))
        return parent is not None and not _NAMED.search(parent.name)

    def _read_title(self, pid: int) -> None:
        try:
            self._cmdlines[pid] = _bytes(f"{self._live.proc}/{pid}/cmdline", parser.LONGEST)
        except PermissionError:
            self._hidden = None if self._hidden is None else self._hidden + 1
        except OSError:
            return
        else:
            title = parser.title(self._cmdlines[pid])
            if title is not None:
                self._titles[pid] = title

    def _master(self, pid: int) -> Known | None:
        """A process as a master, or as one that works alone; None where it is neither."""
        title, stat = self._titles.get(pid), self._stats[pid]
        if title is not None and title.role not in ("master", "single"):
            return None
        if title is None and (stat.name not in _SERVERS or self._parent(pid) in self._cmdlines):
            return None
        words = _words(self._cmdlines[pid]) if title is None else title.words
        folder = f"{self._live.proc}/{pid}"
        unknown: dict[str, str] = {}
        try:
            cut = title is not None and parser.was_cut(self._cmdlines[pid], _bytes(f"{folder}/stat", 4096))
            given = parser.options(words[1:], cut=cut)
            container = container_of(_text(f"{folder}/cgroup"))
            made, exe, replaced = self._binaries.of(pid, words, container, unknown)
            if not made.is_nginx and ("version" not in unknown or title is None):
                self._impostors += title is not None
                return None
            if title is None and given.once:
                return None
            described = self._described(stat, title, given, made, cut=cut, unknown=unknown)
            for name in ("own_root", "own_network"):
                if described[name] is None:
                    described[name] = container is None
                    unknown[name] = "not permitted to see it; as its cgroup has it"
            return described | {
                "exe": exe and self._shown(exe),
                "replaced": replaced,
                "container": container and self._shown(container),
            }
        except (FileNotFoundError, ProcessLookupError, Malformed):
            return None  # it has ended meanwhile

    def _described(
        self, stat: Stat, title: Title | None, given: Options, made: Build, *, cut: bool, unknown: dict[str, str]
    ) -> Known:
        pid = stat.pid
        folder = f"{self._live.proc}/{pid}"
        cwd = None
        with contextlib.suppress(OSError):
            cwd = os.readlink(f"{folder}/cwd")
        paths = parser.paths(given, made, cwd, cut=cut)
        if paths.conf is None:
            unknown["conf"] = "its command line was cut" if cut else unknown.get("version", "its folder is unknown")
        single = title is None or title.role == "single"
        children = [one for one, title in self._titles.items() if self._parent(one) == pid and title.role != "master"]
        inodes = self._connected(pid)
        found = (self._worker(one, self._titles[one].role, inodes) for one in sorted(children))
        workers = [worker for worker in found if worker]
        if single and (alone := self._worker(pid, "worker", inodes)):
            workers = [alone]
        if any(worker["fds"] is None for worker in workers):
            unknown["fds"] = "not permitted to read the descriptors of its workers"
        return {
            "pid": pid,
            "started": self._started(stat),
            "user": _user(status := _text(f"{folder}/status")),
            "trusted": os.geteuid() != 0 or parse_status(status).euid == 0,
            "version": made.version and self._shown(made.version),
            "core": made.core,
            # One by one: as a text `--with-http_auth_request_module --with-…` is a key and its secret value.
            "configure": made.configure and " ".join(map(self._shown, parser.arguments(made.configure))),
            **{name: path and self._shown(path) for name, path in paths._asdict().items()},
            "directives": given.directives and self._shown(given.directives),
            "single": single,
            "own_root": _same(f"{folder}/root", "/"),
            "own_network": _same(f"{folder}/ns/net", "/proc/self/ns/net"),
            "workers": workers,
            "unknown": unknown,
        }

    def _shown(self, text: str) -> str:
        return self._live.redactor.text(text)

    def _started(self, stat: Stat) -> float | None:
        return None if self._booted is None else round(self._booted + stat.started / CLOCK_TICKS, 2)

    def _worker(self, pid: int, role: str, connected: set[int] | None) -> Known | None:
        """A worker; None if it has ended."""
        folder, stat = f"{self._live.proc}/{pid}", self._stats[pid]
        self._live.remaining()
        try:
            fds, sockets, connections = self._open_files(f"{folder}/fd", connected)
            return {
                "pid": pid,
                "started": self._started(stat),
                "user": _user(_text(f"{folder}/status")),
                "role": role,
                "state": stat.state,
                "shutting_down": pid in self._titles and self._titles[pid].shutting_down,
                "cpu": stat.used / CLOCK_TICKS,
                "fds": fds,
                "fd_limit": parse_open_files(_text(f"{folder}/limits")),
                "sockets": sockets,
                "connections": connections,
            }
        except (FileNotFoundError, ProcessLookupError, Malformed):
            return None

    def _connected(self, pid: int) -> set[int] | None:
        """The inodes of TCP connections in the network of a process; None where not all are known."""
        try:
            tables, whole = _tables(self._live, pid)
        except OSError:
            return None
        return set().union(*map(parser.connected, tables)) if whole else None

    def _open_files(self, folder: str, connected: set[int] | None) -> tuple[int | None, int | None, int | None]:
        """How many descriptors, sockets and TCP connections; None for what is not known."""
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError:
            return None, None, None
        try:
            names = os.listdir(descriptor)
            self._descriptors -= len(names)
            if self._descriptors < 0:
                return len(names), None, None
            inodes = set()
            for name in names:
                with contextlib.suppress(OSError):  # closed meanwhile
                    link = os.readlink(name, dir_fd=descriptor)
                    if link.startswith("socket:["):
                        inodes.add(int(link[8:-1]))
            return len(names), len(inodes), None if connected is None else len(inodes & connected)
        finally:
            os.close(descriptor)


def _tables(live: Live, pid: int) -> tuple[list[bytes], bool]:
    """The TCP sockets of the network that a process is in, and whether these are all. Raises OSError."""
    tables = []
    room = TABLE_CAP
    for name in ("tcp", "tcp6"):
        live.remaining()
        try:
            tables.append(_bytes(f"{live.proc}/{pid}/net/{name}", room))
        except FileNotFoundError:
            if name == "tcp":
                raise
            break  # a kernel without IPv6
        room -= len(tables[-1])
    return tables, room > 0


def _booted(live: Live) -> int | None:
    with contextlib.suppress(OSError):
        match = re.search(r"^btime (\d{1,18})$", _text(f"{live.proc}/stat"), re.MULTILINE)
        return None if match is None else int(match[1])
    return None


def _same(one: str, other: str) -> bool | None:
    """Whether two paths lead to one thing; None where that may not be seen."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return None


def _words(cmdline: bytes) -> tuple[str, ...]:
    return tuple(word.decode("utf-8", "backslashreplace") for word in cmdline.rstrip(b"\0").split(b"\0"))


def _user(status: str) -> str:
    uid = parse_status(status).euid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _text(path: str) -> str:
    return _bytes(path, 1 << 20).decode("utf-8", "backslashreplace")


def _bytes(path: str, cap: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        chunks = []
        while cap > 0 and (chunk := os.read(descriptor, min(cap, 1 << 16))):
            chunks.append(chunk)
            cap -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)
