"""Two samples of sockets and descriptors, in each network namespace that is looked at, and who holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from opsdoc.clients import sockets as client
from opsdoc.clients.proc import gone
from opsdoc.host import Host
from opsdoc.looks import sampling
from opsdoc.model import Malformed, ProbeError, Unreachable, Unseen
from opsdoc.parsers.procfs import Stat
from opsdoc.parsers.sockets import Tables, parse_counters, parse_sockstat, parse_tables
from opsdoc.signals import naming

MOST_NAMESPACES = 16  # each takes ten reads, and two walks through the kernel's table of all connections
PATIENCE = 2.0  # seconds for a command line: a process may hold its memory map locked
KTHREADD = 2  # the parent of all threads of the kernel


class Namespace(NamedTuple):
    """A network namespace that is looked at, through a process in it (None: through opsdoc itself)."""

    name: str
    pid: int | None
    own: bool  # whether its settings can be read
    title: str


class Scope(NamedTuple):
    """What is looked at: processes and the network namespaces that they are in."""

    pid: int | None  # the process that was asked for
    pids: tuple[int, ...]
    namespaces: tuple[Namespace, ...]
    unseen: tuple[Unseen, ...]


class Net(NamedTuple):
    """A network namespace at a moment. `counters` is a reason where they could not be read."""

    at: float
    tables: Tables
    counters: Mapping[str, int] | str
    usage: Mapping[str, int]


class Sample(NamedTuple):
    """All that is looked at, at a moment; descriptors by pid: how many are open and may be."""

    nets: Mapping[str, Net]
    descriptors: Mapping[int, tuple[int | None, int | None]]
    stats: Mapping[int, Stat]


def scope(host: Host, pid: int | None) -> Scope:
    """The processes and namespaces to look at: those of a process and of its children, or all that can be seen."""
    sample = sampling.processes(host)
    others = {p: s for p, s in sample.stats.items() if sample.observer not in (p, s.ppid)}
    if pid is not None:
        others = _family(others, pid)
    pids = tuple(p for p, stat in others.items() if KTHREADD not in (p, stat.ppid) and stat.state != "Z")
    answer = host.ask(client.Namespaces(pids)).value
    members: dict[str, list[int]] = {}
    for member, name in answer["of"]:
        members.setdefault(name, []).append(member)
    in_order = sorted(members, key=lambda name: (pid not in members[name], -len(members[name]), members[name]))
    own = answer["own"]
    if pid is None and own is not None:
        in_order = [own, *(name for name in in_order if name != own)]
    if not in_order:
        raise Unreachable("no network namespace can be seen", "")
    namespaces = [_namespace(name, members, own if pid is None else None, answer["settings"]) for name in in_order]
    left_out = namespaces[MOST_NAMESPACES:]
    unseen = tuple(
        Unseen(one.title, "unsupported", f"only {MOST_NAMESPACES} are looked at", f"opsdoc sockets {one.pid}")
        for one in left_out
    )
    return Scope(pid, pids, tuple(namespaces[:MOST_NAMESPACES]), unseen)


def _family(stats: Mapping[int, Stat], pid: int) -> dict[int, Stat]:
    """A process and all that descend from it."""
    if pid not in stats:
        raise gone(pid)
    if stats[pid].state == "Z":
        raise Unreachable(f"process {pid} has ended: its parent has not noticed yet (a zombie)")
    family, born = set[int](), {pid}
    while born:
        family |= born
        born = {p for p, stat in stats.items() if stat.ppid in born} - family
    return {p: stat for p, stat in stats.items() if p in family}


def _namespace(name: str, members: Mapping[str, Sequence[int]], own: str | None, settings: str | None) -> Namespace:
    pid = None if name == own else min(members[name])
    title = "this network namespace" if name == settings else f"the network namespace of {_whose(pid)}"
    return Namespace(name, pid, name == settings, title)


def _whose(pid: int | None) -> str:
    return "opsdoc" if pid is None else f"pid {pid}"


def sample(host: Host, where: Scope, unseen: list[Unseen]) -> Sample:
    """Look once; a namespace that is lost is noted, and the first of all raises what was wrong."""
    nets = {}
    for one in where.namespaces:
        try:
            nets[one.name] = _net(host, one)
        except ProbeError as error:
            if one is where.namespaces[0]:
                raise
            unseen.append(error.unseen(one.title))
    counted = host.ask(client.Descriptors(where.pids)).value
    descriptors = {pid: (held, most) for pid, held, most in counted if pid is not None}
    return Sample(nets, descriptors, sampling.processes(host).stats)


def _net(host: Host, where: Namespace) -> Net:
    answer = host.ask(client.Tables(where.pid))
    texts = host.ask(client.Counters(where.pid)).value
    counters: Mapping[str, int] | str
    try:
        counters = parse_counters(f"{texts['netstat'] or ''}{texts['snmp'] or ''}")
    except Malformed as error:
        counters = error.detail if texts["netstat"] else "the counters of the network cannot be read"
    try:
        usage = parse_sockstat(texts["sockstat"] or "")
    except Malformed:
        usage = {}
    return Net(answer.at, parse_tables(answer.value), counters, usage)


class Held(NamedTuple):
    """Who holds sockets: pids by inode, and the processes that did not show what they hold."""

    by_inode: Mapping[int, Sequence[int]]
    closed: Sequence[int]
    hint: str  # how to see those


def held(host: Host, where: Scope, last: Sample) -> Held:
    """The owners of all sockets that may be told of."""
    inodes: set[int] = set()
    idle: set[int] = set()
    for net in last.nets.values():
        inodes.update(one.inode for one in net.tables.troubled)
        for tcp in net.tables.listeners:
            (inodes if tcp.received else idle).add(tcp.inode)
        for unix in net.tables.unix:
            (inodes if unix.queue else idle).add(unix.inode)
    answer = host.ask(client.Owners(where.pids, tuple(inodes), tuple(idle))).value
    by_inode = {inode: pids for inode, pids in answer["owners"]}  # noqa: C416 - pairs are lists after a replay
    return Held(by_inode, answer["closed"], answer["hint"])


class Names:
    """What processes are called, asked only for those that are told of."""

    def __init__(self, host: Host, stats: Mapping[int, Stat], pids: Iterable[int]) -> None:
        wanted = list(dict.fromkeys(pids))
        answers = host.gather([client.Command(pid) for pid in wanted], within=PATIENCE)
        self._programs = {pid: host.redactor.text(stats[pid].name) for pid in wanted if pid in stats}
        for pid, answer in zip(wanted, answers, strict=True):
            if not isinstance(answer, ProbeError) and answer.value:
                self._programs[pid] = naming.program(" ".join(answer.value)) or self._programs.get(pid, "")

    def program(self, pid: int) -> str:
        """What a process runs, in one word; nothing where that is not known."""
        return self._programs.get(pid, "")

    def who(self, pid: int) -> str:
        """The same with the pid."""
        return f"{self.program(pid)} (pid {pid})".lstrip() if self.program(pid) else f"pid {pid}"


def stuck(first: Tables, last: Tables) -> Counter[bytes]:
    """How many connections waited at both moments to be accepted, by the local endpoint."""
    return Counter(pair.partition(b" ")[0] for pair in first.unaccepted & last.unaccepted)


def stuck_at(endpoint: bytes, waiting: Counter[bytes], listening: frozenset[bytes]) -> int:
    """How many of those belong to a listener: one at all addresses has what no other listener has."""
    host, _, port = endpoint.partition(b":")
    if host.strip(b"0"):
        return waiting[endpoint]
    tail = b":" + port
    return sum(count for where, count in waiting.items() if where.endswith(tail) and where not in listening)


def numbers(parse: Any, text: str | None) -> tuple[Any, ...]:
    """A setting by its parser; nothing where there is none or it is not what it should be."""
    try:
        return tuple(parse(text)) if text else ()
    except Malformed:
        return ()
