"""Listeners, connections by peer, ports, descriptors and the network beneath them: what is measured of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from opsdoc.model import Finding, Observation, Severity, Unknown, measure

Family = Literal["tcp", "tcp6", "unix"]


class Listener(Observation):
    """A socket that accepts connections, and how many wait for that."""

    kind: ClassVar[str] = "listener"
    queue: int = measure("waiting", "count", "main")
    before: int | Unknown | None = measure("at the beginning", "count", "line")
    stuck: int | Unknown | None = measure("waiting all the while", "count", "line")
    program: str | Unknown = measure("program", "", "line")
    pid: int | Unknown = measure("pid", "id", "line")
    pids: tuple[int, ...] = measure("processes that share it", "id", default=())
    state: str | Unknown = measure("state")
    backlog: int | Unknown = measure("backlog", "count")
    backlog_at_most: int | Unknown = measure("its upper bound", "count")
    family: Family = measure("family")
    uid: int | None = measure("user id", "id")
    namespace: str = measure("network namespace")
    namespace_pid: int | None = measure("a process in it", "id")

    @property
    def standing(self) -> int:
        """How many waited at both ends of the window, at least; at its end where there was no beginning."""
        return (
            min(self.queue, self.before) if isinstance(self.before, int) else 0 if self.before is None else self.queue
        )


class PeerConnections(Observation):
    """The connections of a process that are in one state with one peer.

    CLOSE_WAIT: the peer has closed and the process has not. SYN_SENT: the peer has not answered yet.
    """

    kind: ClassVar[str] = "peer_connections"
    count: int = measure("connections", "count", "main")
    state: Literal["CLOSE_WAIT", "SYN_SENT"] = measure("state", "", "line")
    standing: int | Unknown = measure("all the while", "count", "line")
    new: int | Unknown = measure("new in the window", "count", "line")
    unanswered: int | None = measure("asked again", "count", "line")
    retries: int | None = measure("most attempts that were repeated", "count")
    unread: int | None = measure("with data that was not read", "count")
    peer: str = measure("peer")
    incoming: bool = measure("the peer connected to us")
    addresses: int = measure("addresses", "count")
    top_address: str | None = measure("most of them with")
    peer_queue: int | None = measure("waiting at the peer, which is here", "count")
    program: str | Unknown = measure("program")
    pid: int | Unknown = measure("pid", "id", "line")
    process_standing: int | Unknown = measure("all the while, with all peers", "count")
    process_new: int | Unknown = measure("new in the window, with all peers", "count")
    process_peers: int = measure("peers", "count")
    process_state: str | Unknown = measure("state of the process")
    uid: int | None = measure("user id", "id")
    namespace: str = measure("network namespace")
    namespace_pid: int | None = measure("a process in it", "id")


class Ports(Observation):
    """How many of the ephemeral ports the connections from one local address to one destination take.

    The kernel can use a port once for each pair of local address and destination, so each pair has all of them.
    """

    kind: ClassVar[str] = "ports"
    share: float = measure("of the ports in use", "ratio", "main")
    used: int = measure("ports", "count", "line")
    capacity: int = measure("ports in all", "count", "line")
    time_wait: int = measure("in TIME_WAIT", "count", "line")
    reusable: bool | Unknown = measure("those are used again at once")
    range: str = measure("range")
    assumed: str | None = measure("assumed")
    namespace: str = measure("network namespace")
    namespace_pid: int | None = measure("a process in it", "id")

    @property
    def taken(self) -> int:
        """The ports that a new connection cannot have."""
        return self.used - (self.time_wait if self.reusable is True else 0)


class Descriptors(Observation):
    """The file descriptors of a process, or the open files of the machine (no `pid`)."""

    kind: ClassVar[str] = "descriptors"
    share: float | Unknown | None = measure("of the descriptors in use", "ratio", "main")
    open: int | Unknown = measure("open", "count", "line")
    limit: int | Unknown | None = measure("limit", "count", "line")
    growth: int | Unknown | None = measure("opened in the window", "count", "line")
    program: str | Unknown | None = measure("program")
    pid: int | None = measure("pid", "id")


class Network(Observation):
    """What the kernel counted in a network namespace over the window."""

    kind: ClassVar[str] = "network"
    retransmitted: float | Unknown | None = measure("sent again", "ratio", "main")
    overflows: float | Unknown = measure("accept queue overflows", "per_second", "line")
    drops: float | Unknown = measure("connections dropped", "per_second", "line")
    half_open_drops: float | Unknown = measure("half-open connections dropped", "per_second")
    segments: int | Unknown = measure("segments sent", "count")
    syn_retries: float | Unknown = measure("requests to connect sent again", "per_second", "line")
    timeouts: float | Unknown = measure("timeouts", "per_second")
    attempt_failures: float | Unknown = measure("attempts to connect that failed", "per_second")
    resets: float | Unknown = measure("connections reset", "per_second")
    memory_aborts: float | Unknown = measure("connections cut for want of memory", "per_second")
    pruned: float | Unknown = measure("buffers emptied for want of memory", "per_second")
    listeners: int = measure("listeners", "count", "line")
    longest_queue: int = measure("longest accept queue", "count")
    states: Mapping[str, int] = measure("sockets by state", "count", default={})
    orphans: int | Unknown | None = measure("orphans", "count")
    most_orphans: int | Unknown | None = measure("orphans at most", "count")
    memory: int | Unknown | None = measure("TCP memory", "bytes")
    most_memory: int | Unknown | None = measure("TCP memory at most", "bytes")
    tracked: int | Unknown | None = measure("connections tracked", "count")
    most_tracked: int | Unknown | None = measure("tracked at most", "count")
    seconds: float = measure("window", "seconds")
    of_process: int | None = measure("looked at for the process", "id")
    denied: bool = measure("not permitted to see which sockets the process holds", default=False)
    cut: bool = measure("not all of its sockets were read", default=False)
    namespace: str = measure("network namespace")
    namespace_pid: int | None = measure("a process in it", "id")


# ── how findings speak of them ───────────────────────────────────────────────────────────────────


def finding(rule: str, identity: str, severity: Severity, subject: str, summary: str) -> Finding:
    """A finding whose key is the rule with an identity that survives a restart."""
    return Finding(rule=rule, key=f"{rule}:{identity}", severity=severity, subject=subject, summary=summary)


def fine(network: Network, rule: str, summary: str) -> Finding:
    """What was looked at and is in order."""
    key = "box" if network.of_process is None else "process"
    return finding(rule, key, Severity.OK, network.subject, summary)._replace(evidence=(network.id,))


def who(program: str | Unknown, pid: int | Unknown, uid: int | None) -> str:
    """The holder of a socket, in a few words."""
    if isinstance(pid, Unknown):
        return "a process that cannot be seen" if uid is None else f"a process of uid {uid}"
    return f"{program} (pid {pid})" if isinstance(program, str) else f"pid {pid}"


def inside(row: Listener | PeerConnections | Ports | Network, *commands: str) -> tuple[str, ...]:
    """Commands as they are run in the network namespace that a row is of."""
    if row.namespace_pid is None:
        return commands
    return tuple(f"nsenter -t {row.namespace_pid} -n {command}" for command in commands)
