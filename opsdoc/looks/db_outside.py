"""A database of this machine that lets nobody in, as the operating system shows it: its connections, and what they do.

Sockets are counted in the kernel's tables; processes of PostgreSQL tell in their titles what they do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from opsdoc.clients import sockets
from opsdoc.clients.db_process import Ours, Titles
from opsdoc.host import Host
from opsdoc.looks import sampling
from opsdoc.model import Interrupted, ProbeError, Unknown
from opsdoc.parsers.postgresql_title import backend, title
from opsdoc.parsers.procfs import Stat
from opsdoc.parsers.sockets import CLOSE_WAIT, ESTABLISHED, SEPARATOR, Tables, address, parse_tables, survey
from opsdoc.signals.contention_facts import Client, DbNode
from opsdoc.signals.replica_lag_facts import Product

MOST_SERVERS = 8  # of one product on a machine that are looked at
MOST_CLIENTS = 50  # of a server that are told of, those with most connections first
_PROGRAMS = {"postgresql": ("postgres", "postmaster"), "mysql": ("mysqld", "mariadbd")}
_OF_CLUSTERS = (4444, 4567, 4568)  # ports of Galera: the other servers
_MOST = re.compile(r"\bmax[-_]connections=(\d{1,7})\b")
_REPLICA = re.compile(r"(?:.*: )?(?:startup (?:recovering|waiting)|walreceiver)\b", re.DOTALL)
_SENDER = re.compile(r"(?:.*: )?walsender ", re.DOTALL)
_UNIX = re.compile(rb"^\S+ \S+ \S+ \S+ \S+ 03 +\d+ (.+)$", re.MULTILINE)  # connected, and by this path
_NOT_ASKED = Unknown("the server lets nobody in who could ask it")
_NO_TITLES = Unknown("its processes do not tell what they do")
_NOTHING_TELLS = Unknown("sockets do not tell it")


class _Server(NamedTuple):
    """A server that was found: its process, where it listens, and the sockets of the network that it is in."""

    pid: int
    children: tuple[int, ...]
    ports: frozenset[int]
    paths: frozenset[bytes]
    tables: Tables
    unix: bytes


def seen_from_outside(host: Host, address: str, product: Product) -> DbNode | None:
    """What this machine knows of a server of its own; None where the address is not this machine's.

    `address` is `host:port` or `unix:/path`, for PostgreSQL `unix:/folder:port`. Nothing is asked of the server. What
    it is refused for, and that it is full, is for the caller to say.
    """
    try:
        server = _server(host, address, product) if host.ask(Ours(address)).value["ours"] else None
        if server is None:
            return None
        titles = [] if product != "postgresql" else _titles(host, server)
    except Interrupted:
        raise
    except ProbeError:
        return None
    node = DbNode(
        subject=address,
        node=address,
        product=product,
        reachable=False,
        counted_by="operating system",
        max_connections=_NOT_ASKED,
        role=_NOT_ASKED,
    )
    told = any(title(text) for text in titles)
    return node.replaced(**(_by_titles(titles, server) if told else _by_sockets(server)))


# ── which process ────────────────────────────────────────────────────────────────────────────────


def _server(host: Host, where: str, product: Product) -> _Server | None:
    """The process that listens at an address, in opsdoc's network or, as in a container, in one of its own.

    Where nobody may see who holds a socket, it is the only one there is.
    """
    stats = sampling.processes(host).stats
    pids = _servers(stats, _PROGRAMS["postgresql" if product == "postgresql" else "mysql"])
    spaces = host.ask(sockets.Namespaces(tuple(pids))).value if pids else {"own": None, "of": []}
    found: list[_Server] = []
    for space in sorted({name for _, name in spaces["of"]}, key=lambda name: name != spaces["own"]):
        members = tuple(pid for pid, name in spaces["of"] if name == space)
        table = host.ask(sockets.Tables(None if space == spaces["own"] else members[0])).value
        found += _listening(host, members, table, where, product)
        if found:
            break
    if len(found) != 1:
        return None
    children = tuple(pid for pid, stat in stats.items() if stat.ppid == found[0].pid)
    return found[0]._replace(children=children)


def _servers(stats: Mapping[int, Stat], programs: Sequence[str]) -> list[int]:
    """The processes of a program that are not started by another one of it."""
    named = {pid for pid, stat in stats.items() if stat.name in programs}
    return sorted(pid for pid in named if stats[pid].ppid not in named)[:MOST_SERVERS]


def _listening(host: Host, pids: tuple[int, ...], table: bytes, where: str, product: Product) -> list[_Server]:
    """Those of the processes of a network that hold a listener at an address, or may hold it."""
    tables, unix = parse_tables(table), table.split(SEPARATOR, 2)[-1]
    path = _path(where, product)
    port = 0 if path else int(where.rpartition(":")[2])
    at = {one.inode for one in tables.unix if path and _name(one.path) == _name(path)}
    at |= {one.inode for one in tables.listeners if port and _port(one.local) == port}
    if not at:
        return []
    ports = {one.inode: _port(one.local) for one in tables.listeners}
    paths = {one.inode: one.path for one in tables.unix}
    owners = host.ask(sockets.Owners(pids, tuple(at), tuple({*ports, *paths} - at))).value
    held: dict[int, set[int]] = {pid: {inode for inode, some in owners["owners"] if pid in some} for pid in pids}
    holders = [pid for pid in pids if held[pid] & at] or [pid for pid in pids if pid in owners["closed"]]
    return [
        _Server(
            pid,
            (),
            frozenset(ports[inode] for inode in held[pid] | at if inode in ports).difference(_OF_CLUSTERS),
            frozenset(paths[inode] for inode in held[pid] | at if inode in paths),
            tables,
            unix,
        )
        for pid in holders
    ]


def _path(where: str, product: Product) -> bytes | None:
    """The socket file of a unix address; None for `host:port`."""
    if not where.startswith("unix:"):
        return None
    path = where.removeprefix("unix:")
    if product == "postgresql":
        folder, _, port = path.rpartition(":")
        path = f"{folder.rstrip('/')}/.s.PGSQL.{port}"
    return path.encode("utf-8", "replace")


def _name(path: bytes) -> bytes:
    """A path to compare: /var/run is another name of /run."""
    return path.removeprefix(b"/var") if path.startswith(b"/var/run/") else path


def _port(endpoint: bytes) -> int:
    return int(endpoint.rpartition(b":")[2], 16)


# ── what it is busy with ─────────────────────────────────────────────────────────────────────────


def _titles(host: Host, server: _Server) -> list[str]:
    return [text for _, text in host.ask(Titles(server.pid, (server.pid, *server.children))).value]


def _by_titles(titles: Sequence[str], server: _Server) -> dict[str, Any]:
    """The fields that the processes of PostgreSQL tell: one for each client, and those of the server itself."""
    backends = [found for text in titles if (found := backend(text))]
    others = [rest for text in titles if (rest := title(text)) and backend(text) is None]
    most = _MOST.search(" ".join(text for text in titles if title(text) is None))
    fields: dict[str, Any] = {
        "connections": len(backends),
        "role": "replica" if any(map(_REPLICA.match, others)) else "primary",
        "replicas": sum(map(bool, map(_SENDER.match, others))),
        "clients": _counted((f"{one.who} from {one.client}", one.state) for one in backends),
        "by_hand": (f"ps -o pid,etime,args --ppid {server.pid}",),
    }
    if most:  # the command line goes before all files
        fields["max_connections"] = int(most[1])
    told = not backends or any(one.state for one in backends)  # update_process_title may be off
    for name in ("active", "idle_in_transaction", "waiting"):
        fields[name] = sum(getattr(one, name) for one in backends) if told else _NO_TITLES
    return fields


def _by_sockets(server: _Server) -> dict[str, Any]:
    """The fields that sockets tell: connections that were accepted, by where they come from."""
    tables = server.tables
    found = [
        address(remote.partition(b":")[0])
        for local, remote, state in map(bytes.split, survey(tables.rows).pairs)
        if state in (ESTABLISHED, CLOSE_WAIT)
        and _port(local) in server.ports
        and b"%b %b" % (local, remote) not in tables.unaccepted
    ]
    found += ["[local]" for path in _UNIX.findall(server.unix) if path in server.paths]
    ports = " or ".join(f"sport = :{port}" for port in sorted(server.ports))
    return {
        "connections": len(found),
        "active": _NOTHING_TELLS,
        "idle_in_transaction": _NOTHING_TELLS,
        "waiting": _NOTHING_TELLS,
        "clients": _counted((f"from {client}", "") for client in found),
        "by_hand": (f"ss -Htn state established '( {ports} )'",) if ports else (),
    }


def _counted(some: Iterable[tuple[str, str]]) -> tuple[Client, ...]:
    return tuple(Client(client, number, state) for (client, state), number in Counter(some).most_common(MOST_CLIENTS))
