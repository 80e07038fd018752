"""From two samples of sockets to observations: listeners, connections by peer, ports, descriptors, the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from opsdoc.host import Host
from opsdoc.looks import network_facts
from opsdoc.looks.network_facts import ONE_SAMPLE, OUT_OF_SIGHT, View, of
from opsdoc.looks.sockets import Held, Names, Namespace, Sample, Scope, numbers, stuck, stuck_at
from opsdoc.model import Observation, Total, Unknown, Unseen
from opsdoc.parsers.sockets import CLOSE_WAIT, SYN_SENT, Socket, address, is_loopback, parse_numbers, survey
from opsdoc.signals.connections import Descriptors, Listener, Network, PeerConnections, Ports

NETLINK_ONLY = Unknown("the kernel tells it through netlink only: ss -ltn, column Send-Q")
NOT_SHOWN = Unknown("none of the processes that can be looked into holds it")
_STATES = {"T": "stopped", "t": "traced", "D": "waiting for a device", "Z": "ended", "R": "running", "S": "sleeping"}


class Facts:
    """What two samples say, for those who are looked at; each method gives rows, the worst first."""

    def __init__(
        self, scope: Scope, first: Sample | None, last: Sample, held: Held, settings: Mapping[str, Any]
    ) -> None:
        self.scope, self.first, self.last, self.held, self.settings = scope, first, last, held, settings
        self.views = [self._view(where) for where in scope.namespaces if where.name in last.nets]

    def _view(self, where: Namespace) -> View:
        last, first = self.last.nets[where.name], None if self.first is None else self.first.nets.get(where.name)
        seconds = 0.0 if first is None else max(0.0, last.at - first.at)
        return View(where, first, last, survey(last.tables.rows), self.settings if where.own else {}, seconds)

    @property
    def seconds(self) -> float:
        """The time between the samples."""
        return max((view.seconds for view in self.views), default=0.0)

    def _mine(self, inode: int) -> bool:
        return self.scope.pid is None or inode in self.held.by_inode

    def _owner(self, inode: int) -> dict[str, Any]:
        """Who holds a socket; of several that share it one that is stopped is told."""
        pids = tuple(self.held.by_inode.get(inode, ()))
        if not pids:
            return {"pid": NOT_SHOWN, "state": NOT_SHOWN}
        pid = next((pid for pid in pids if self._state(pid) == "stopped"), pids[0])
        return {"pid": pid, "state": self._state(pid), "pids": pids}

    def _state(self, pid: int) -> str | Unknown:
        stat = self.last.stats.get(pid)
        return Unknown("it has ended") if stat is None else _STATES.get(stat.state, stat.state)

    # ── listeners ────────────────────────────────────────────────────────────────────────────────

    def listeners(self, mask: Callable[[str], str]) -> list[Listener]:
        """All listeners, the longest queue first."""
        found = [one for view in self.views for one in (*self._tcp(view), *self._unix(view, mask))]
        return sorted(found, key=lambda one: (-one.standing, -one.queue))

    def _tcp(self, view: View) -> Iterator[Listener]:
        tables, first = view.last.tables, view.first and view.first.tables
        before = {} if first is None else {one.inode: one.received for one in first.listeners}
        waiting = Counter[bytes]() if first is None else stuck(first, tables)
        listening = frozenset(one.local for one in tables.listeners)
        most = numbers(parse_numbers, view.settings.get("somaxconn"))
        for one in tables.listeners:
            if self._mine(one.inode):
                yield Listener(
                    subject=address(one.local),
                    queue=one.received,
                    before=ONE_SAMPLE if first is None else before.get(one.inode),
                    stuck=ONE_SAMPLE if first is None else stuck_at(one.local, waiting, listening),
                    backlog=NETLINK_ONLY,
                    backlog_at_most=most[0] if most else OUT_OF_SIGHT,
                    family="tcp" if len(one.local) < 20 else "tcp6",
                    uid=one.uid,
                    **self._owner(one.inode),
                    **of(view.where),
                )

    def _unix(self, view: View, mask: Callable[[str], str]) -> Iterator[Listener]:
        first = view.first and view.first.tables
        before = {} if first is None else {one.inode: one.queue for one in first.unix}
        for one in view.last.tables.unix:
            if self._mine(one.inode):
                yield Listener(
                    subject=mask(one.path.decode("utf-8", "backslashreplace")),
                    queue=one.queue,
                    before=ONE_SAMPLE if first is None else before.get(one.inode),
                    stuck=None,
                    backlog=NETLINK_ONLY,
                    backlog_at_most=NETLINK_ONLY,
                    family="unix",
                    **self._owner(one.inode),
                    **of(view.where),
                )

    # ── connections ──────────────────────────────────────────────────────────────────────────────

    def connections(self, most: int | None) -> Connections:
        """Connections in CLOSE_WAIT and SYN_SENT by process and peer: the first peer of each process first."""
        found: dict[bytes, list[PeerConnections]] = {CLOSE_WAIT: [], SYN_SENT: []}
        number = 0
        for view in self.views:
            groups: dict[tuple[bytes, int | None, int], list[Socket]] = {}
            for one in view.last.tables.troubled:
                if self._mine(one.inode):
                    pid = next(iter(self.held.by_inode.get(one.inode, ())), None)
                    groups.setdefault((one.state, pid, one.uid if pid is None else -1), []).append(one)
            for (state, pid, _), sockets in groups.items():
                by_peer = _by_peer(view, sockets)
                number += len(by_peer)
                owner: dict[str, Any] = {"pid": NOT_SHOWN, "process_state": NOT_SHOWN}
                if pid is not None:
                    owner = {"pid": pid, "process_state": self._state(pid)}
                found[state] += [row.replaced(**owner) for row in _rows(view, sockets, by_peer, most)]
        return Connections([row for rows in found.values() for row in _fairly(rows)[:most]], number)

    # ── ports ────────────────────────────────────────────────────────────────────────────────────

    def ports(self) -> list[Ports]:
        """The destinations that take a noticeable part of the ports, and in each namespace the first."""
        found = [one for view in self.views for one in network_facts.ports(view)]
        return sorted(found, key=lambda one: -one.share)

    # ── descriptors ──────────────────────────────────────────────────────────────────────────────

    def descriptors(self) -> list[Descriptors]:
        """The processes by the share of their descriptors that is in use; that of the machine before them."""
        rows = [self._descriptors(pid, *counts) for pid, counts in self.last.descriptors.items()]
        rows.sort(key=lambda one: (one.pid != self.scope.pid, -one.share if isinstance(one.share, float) else 0.0))
        files = numbers(parse_numbers, self.settings.get("files"))
        if len(files) == 3:
            most = None if files[2] >= 1 << 62 else files[2]
            share = None if not most else round(files[0] / most, 4)
            rows.insert(0, Descriptors(subject="this machine", share=share, open=files[0], limit=most))
        return rows

    def _descriptors(self, pid: int, held: int | None, most: int | None) -> Descriptors:
        before = None
        if self.first is not None and self._lived_on(pid):
            before = self.first.descriptors.get(pid, (None, None))[0]
        denied = Unknown("not permitted to count them")
        no_limit = Unknown("its limits cannot be read")
        limit: int | Unknown | None = no_limit if most is None else None if most < 0 else most
        share: float | Unknown | None = None
        if held is None or isinstance(limit, Unknown):
            share = denied if held is None else no_limit
        elif limit is not None:
            share = round(held / limit, 4) if limit else 1.0
        return Descriptors(
            subject=f"pid {pid}",
            share=share,
            open=denied if held is None else held,
            limit=limit,
            growth=ONE_SAMPLE if self.first is None else None if held is None or before is None else held - before,
            pid=pid,
        )

    def _lived_on(self, pid: int) -> bool:
        then, now = None if self.first is None else self.first.stats.get(pid), self.last.stats.get(pid)
        return then is not None and now is not None and then.started == now.started

    # ── the network ──────────────────────────────────────────────────────────────────────────────

    def networks(self) -> Iterator[Network]:
        """What the kernel counted in each namespace."""
        denied = self.scope.pid in self.held.closed
        for view in self.views:
            yield network_facts.network(view).replaced(of_process=self.scope.pid, denied=denied)


class Connections(NamedTuple):
    """The rows to show, and how many there are."""

    rows: list[PeerConnections]
    number: int


class _Group(NamedTuple):
    """The sockets of one process in one state with one peer."""

    incoming: bool
    sockets: list[Socket]


def _by_peer(view: View, sockets: Sequence[Socket]) -> list[_Group]:
    """The sockets of one process in one state, a group for each peer, the largest first.

    The peers that connected to a port of ours are one: its clients.
    """
    closing = sockets[0].state == CLOSE_WAIT
    listening = {_port(one.local) for one in view.last.tables.listeners}
    groups: dict[bytes, _Group] = {}
    for one in sockets:
        port = _port(one.local)
        incoming = closing and (port in listening or _port(one.remote) >= _EPHEMERAL > port)
        groups.setdefault(port if incoming else one.remote, _Group(incoming, [])).sockets.append(one)
    return sorted(groups.values(), key=lambda group: -len(group.sockets))


def _rows(
    view: View, sockets: Sequence[Socket], groups: Sequence[_Group], most: int | None
) -> Iterator[PeerConnections]:
    """The first peers of one process in one state."""
    closing = sockets[0].state == CLOSE_WAIT
    before = None if view.first is None else {_identity(one) for one in view.first.tables.troubled}
    listening = {_port(one.local): one for one in view.last.tables.listeners}

    def new(some: Sequence[Socket]) -> int | Unknown:
        return ONE_SAMPLE if before is None else sum(_identity(one) not in before for one in some)

    def standing(some: Sequence[Socket]) -> int | Unknown:
        fresh = new(some)
        return fresh if isinstance(fresh, Unknown) else len(some) - fresh

    of_process: dict[str, Any] = {
        "process_standing": standing(sockets),
        "process_new": new(sockets),
        "process_peers": len(groups),
    }
    for incoming, group in groups[:most]:
        one = group[0]
        peer = f"clients of port {int(_port(one.local), 16)}" if incoming else address(one.remote)
        hosts = Counter(each.remote.partition(b":")[0] for each in group)
        there = listening.get(_port(one.remote)) if _is_here(one) and not closing else None
        yield PeerConnections(
            subject=peer,
            count=len(group),
            state="CLOSE_WAIT" if closing else "SYN_SENT",
            standing=standing(group),
            new=new(group),
            unanswered=None if closing else sum(each.retries > 0 for each in group),
            retries=None if closing else max(each.retries for each in group),
            unread=sum(each.received > 0 for each in group) if closing else None,
            peer=peer,
            incoming=incoming,
            addresses=len(hosts),
            top_address=address(hosts.most_common(1)[0][0]) if incoming else None,
            peer_queue=None if there is None else there.received,
            uid=one.uid,
            **of_process,
            **of(view.where),
        )


_EPHEMERAL = b"8000"  # what is below it, as the kernel prints ports, is most likely a service


def _port(endpoint: bytes) -> bytes:
    return endpoint.partition(b":")[2]


def _identity(one: Socket) -> tuple[int, bytes, bytes, bytes]:
    return one.inode, one.state, one.local, one.remote


def _is_here(one: Socket) -> bool:
    host = one.remote.partition(b":")[0]
    return is_loopback(host) or host == one.local.partition(b":")[0]


def _fairly(rows: Sequence[PeerConnections]) -> list[PeerConnections]:
    """The first row of each process before the second of any, and among these the longest first."""
    seen: Counter[tuple[Any, ...]] = Counter()
    ranked: list[tuple[int, int, int, PeerConnections]] = []
    for row in rows:
        who = (row.namespace, row.pid if isinstance(row.pid, int) else None, row.uid)
        weight = row.process_standing if isinstance(row.process_standing, int) else row.count
        ranked.append((seen[who], -(row.unanswered or weight), len(ranked), row))
        seen[who] += 1
    return [row for *_, row in sorted(ranked, key=lambda one: one[:3])]


def told(host: Host, facts: Facts, rows: int) -> Iterator[Observation | Unseen | Total]:
    """The first rows of each kind, with the names of the processes."""
    most = rows or None
    listeners, peers, ports, files = (
        facts.listeners(host.redactor.text),
        facts.connections(most),
        facts.ports(),
        facts.descriptors(),
    )
    waiting: list[Any] = [*listeners[:most], *peers.rows]
    machine = [row for row in files if row.pid is None]
    processes = files[len(machine) :]
    shown = [*machine, *processes[:most]]
    names = Names(host, facts.last.stats, (row.pid for row in (*waiting, *shown) if isinstance(row.pid, int)))
    yield from facts.networks()
    yield from (_named(row, names) for row in waiting)
    yield from ports[:most]
    yield from (_named(row, names) for row in shown)
    yield Total(kind="listener", number=len(listeners))
    yield Total(kind="peer_connections", number=peers.number)
    yield Total(kind="ports", number=len(ports))
    yield Total(kind="descriptors", number=len(files))
    yield from _blind(facts, processes)


def _named(row: Any, names: Names) -> Any:
    if not isinstance(row.pid, int):
        return row if row.pid is None else row.replaced(program=NOT_SHOWN)
    program = names.program(row.pid)
    named = row.replaced(program=program or Unknown("it has ended"))
    if isinstance(row, Listener):
        return named
    who = names.who(row.pid)
    return named.replaced(subject=who if isinstance(row, Descriptors) else f"{who} {row.state} {row.peer}")


def _blind(facts: Facts, processes: Sequence[Descriptors]) -> Iterator[Unseen]:
    """What was not seen of the processes and the tables."""
    if closed := len(facts.held.closed):
        yield Unseen(
            f"which sockets {_processes(closed)} hold",
            "denied",
            "not permitted to read their descriptors",
            facts.held.hint,
        )
    uncounted = sum(isinstance(one.open, Unknown) for one in processes)
    if uncounted:
        yield Unseen(
            f"how many descriptors {_processes(uncounted)} have",
            "denied",
            "not permitted to count them",
            facts.held.hint,
        )
    for view in facts.views:
        unread = view.last.tables.unread + view.survey.unread
        subject = f"sockets of {view.where.title}"
        if view.last.tables.cut:
            yield Unseen(subject, "timeout", "there are more of them than can be read in time")
        elif unread:
            yield Unseen(subject, "malformed", f"{unread} rows of its tables are not what they should be")


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
