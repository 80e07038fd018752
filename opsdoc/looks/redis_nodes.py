"""A Redis and all that belongs to it, found by asking: replicas, masters, Sentinels and the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from opsdoc.clients.redis import Command
from opsdoc.clients.redis_target import Target
from opsdoc.host import Host
from opsdoc.looks.redis_node import (
    ALL,
    OF_CLUSTER,
    ROLE,
    VIEW,
    Kind,
    Node,
    about,
    look_at,
    member,
    members,
    views_of,
    watched_names,
)
from opsdoc.model import ProbeError, TimedOut, Unreachable, Unseen
from opsdoc.parsers import redis_topology as topology
from opsdoc.parsers.redis_info import Info, joined

MOST_NODES = 256  # that are asked; larger clusters are rare, and each costs a thread
ROUNDS = 4  # from a Sentinel to its master, from there to a replica, and to a replica of that

_OUR_OWN_TIME = ("no time was left", "no answer in time")  # as the host says it: that is no fault of a node
_SILENT = "takes connections"  # the kernel accepts for a process that stands still, so that its address is right


@dataclass(slots=True, eq=False, repr=False)
class Found:
    """All nodes, those that the user named first; `known` has each by all addresses that anybody calls it."""

    nodes: list[Node] = field(default_factory=list)
    known: dict[str, Node] = field(default_factory=dict)
    unseen: list[Unseen] = field(default_factory=list)
    cut_short: ProbeError | None = None  # why there is no look at the end of the window

    def of_kind(self, kind: Kind) -> list[Node]:
        """Those that answered and are of a kind."""
        return [node for node in self.nodes if node.kind == kind]

    def is_dead(self, node: Node) -> bool:
        """Whether one that did not answer is lost, and not merely somewhere that cannot be reached from here.

        An address that only others tell may be one of their own network, as in a container. It is right where the
        kernel there took the connection, where any other told address answered, or where others miss the node, too.
        """
        error = node.error
        if not isinstance(error, Unreachable | TimedOut) or error.detail in _OUR_OWN_TIME:
            return False
        return node.named or _SILENT in error.detail or self._told_are_right() or self._is_missed(node)

    def _told_are_right(self) -> bool:
        return any(one.looks for one in self.nodes if not one.named)

    def _is_missed(self, node: Node) -> bool:
        for other in self.nodes:
            info = other.info
            if info is None:
                continue
            if info.text("master_link_status") == "down" and self.known.get(_master_of(info) or "") is node:
                return True
            if any(self.known.get(line.address or "") is node and _is_flagged(line) for line in views_of(other)):
                return True
            if any(self.known.get(one.address) is node and "s_down" in one.flags for one in _watched_of(other)):
                return True
        return False


def find(host: Host, targets: Sequence[Target]) -> Found:
    """Ask those that are named, then whoever they tell of, round by round; each gets its first look.

    None of a round waits for another, and one that does not answer is waited for once.
    """
    found = Found()
    fresh = [Node(target, named=True) for target in {target.address: target for target in targets}.values()]
    for number in range(ROUNDS):
        look_at(host, [(node, (ALL,)) for node in fresh])
        kept = [node for node in fresh if _is_new(found, node)]
        _ask_more(host, kept, follow=number == 0)
        fresh = _told_of(found, kept)
        if not fresh:
            break
    return found


def _is_new(found: Found, node: Node) -> bool:
    """Whether it is none that is known by another address already."""
    run = node.info.text("run_id") if node.info else None
    if run is not None:
        for other in found.nodes:
            if other.info is not None and other.info.text("run_id") == run:
                found.known[node.name] = other
                return False
    found.nodes.append(node)
    found.known[node.name] = node
    return True


def _ask_more(host: Host, nodes: Sequence[Node], *, follow: bool) -> None:
    """What only some kinds of servers are asked, for to the others it would be an error that they count."""
    without_info = [node for node in nodes if node.looks and node.info is None]
    look_at(host, [(node, (ROLE, OF_CLUSTER)) for node in without_info], add=True)
    asked: list[tuple[Node, tuple[Command, ...]]] = []
    for node in nodes:
        if node.kind == "sentinel":
            asked.append((node, tuple(command for name in watched_names(node) for command in about(name))))
        elif node.kind == "cluster" and follow:  # others of the same cluster are asked later
            asked.append((node, (VIEW,)))
    look_at(host, [(node, commands) for node, commands in asked if commands], add=True)


# ── whom they tell of ────────────────────────────────────────────────────────────────────────────


def _told_of(found: Found, nodes: Sequence[Node]) -> list[Node]:
    """New nodes, spoken to as whoever told of them."""
    fresh: list[Node] = []
    left_out = 0
    for node in nodes:
        for address in _neighbours(found, node):
            if address in found.known:
                continue
            if len(found.known) >= MOST_NODES:
                left_out += 1
                continue
            new = Node(node.target.at(address))
            found.known[address] = new  # until it is known to be another
            fresh.append(new)
    if left_out:
        detail = f"{left_out:,} more nodes were told of; {MOST_NODES} at most are asked"
        found.unseen.append(
            Unseen("further nodes", "unsupported", detail, "name some of them: --url redis://HOST:PORT")
        )
    return fresh


def _neighbours(found: Found, node: Node) -> Iterable[str]:
    if node.kind == "sentinel":
        return _of_sentinel(node)
    if node.kind == "cluster":
        return _of_cluster(found, node)
    return _of_replication(node)


def _of_sentinel(node: Node) -> Iterator[str]:
    look = node.looks[-1]
    for name in watched_names(node):
        _, address, sentinels, replicas = about(name)
        if (master := look.read(address, topology.master_address)) is not None:
            yield master
        yield from (one.address for one in (*members(look, replicas), *members(look, sentinels)) if _is_place(one))


def _is_place(member: topology.Member) -> bool:
    return not member.address.startswith(":") and not member.address.endswith((":", ":0"))


def _of_cluster(found: Found, node: Node) -> Iterator[str]:
    for line in views_of(node):
        if line.address is None or "handshake" in line.flags:
            continue
        if "myself" in line.flags:
            found.known.setdefault(line.address, node)
        else:
            yield line.address


def _of_replication(node: Node) -> Iterator[str]:
    info = node.info
    if info is None:
        role: topology.Role | None = node.looks[0].read(ROLE, topology.role) if node.looks else None
        if role is not None:
            yield from filter(None, (role.master, *(address for address, _ in role.replicas)))
        return
    if (master := _master_of(info)) is not None:
        yield master
    yield from (replica.address for replica in info.replicas if not replica.address.endswith(":"))


def _master_of(info: Info) -> str | None:
    host, port = info.text("master_host"), info.text("master_port")
    return joined(host, port) if host and port and info.text("role") == "slave" else None


def master_of(found: Found, node: Node) -> str | None:
    """The master that a replica follows, by the name that it has everywhere."""
    address = _master_of(node.info) if node.info is not None else None
    if address is None:
        return None
    other = found.known.get(address)
    return address if other is None else other.name


def _is_flagged(line: topology.ClusterNode) -> bool:
    return not {"fail", "fail?"}.isdisjoint(line.flags)


def _watched_of(node: Node) -> Iterator[topology.Member]:
    """Masters and replicas as a Sentinel sees them."""
    if node.kind == "sentinel" and node.last is not None:
        for name in watched_names(node):
            master, _, sentinels, replicas = about(name)
            if (seen := member(node.last, master)) is not None:
                yield seen
            yield from members(node.last, sentinels)
            yield from members(node.last, replicas)
