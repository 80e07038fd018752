"""What a cache tells of itself beside its hit rate: nodes, slabs, big keys, its cluster and its Sentinels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

from opsdoc.model import Observation, Unknown, known, measure
from opsdoc.signals.hit_rate_facts import Role

SLOTS = 16_384  # of a cluster, fixed by its protocol

_REFUSES = frozenset({"noeviction", "none"})  # policies: what is full takes nothing more
_ONLY_WITH_TTL = "volatile"  # policies that begin so evict nothing that has no time to live


class SlowCommand(NamedTuple):
    """One entry of the slow log: the command's name and its time. Arguments are never kept."""

    command: str
    seconds: float


class CacheNode(Observation):
    """A node as it tells of itself; counts without `total` are of the window. `why` is why it does not answer.

    `policy` is what it does when its memory is full. `memory_limit` is None where there is none. `persistence` says
    what is wrong with saving to disk, None where nothing is. A zone of nginx uses the disk in place of memory: there
    `memory_used` and `files` are what its `folder` holds, counted or, where only so much was `looked_at`, from that.
    """

    kind: ClassVar[str] = "cache_node"
    memory_used: int | Unknown | None = measure("held", "bytes", "main")
    memory_limit: int | Unknown | None = measure("at most", "bytes", "line")
    policy: str | Unknown | None = measure("when full", show="line")
    clients: int | Unknown | None = measure("clients", "count", "line")
    latency: float | Unknown | None = measure("answers a PING in", "seconds", "line")
    role: Role | Unknown | None = measure("role", show="line")
    node: str = measure("node", default="")
    product: str = measure("product", default="cache")
    version: str | None = measure("version")
    reachable: bool = measure("reachable", default=True)
    why: str | None = measure("because")
    window_seconds: float | None = measure("window", "seconds")
    oom_errors: int | Unknown | None = measure("writes refused for want of memory", "count")
    oom_total: int | Unknown | None = measure("writes refused for want of memory, in total", "count")
    evicted_total: int | Unknown | None = measure("evicted, in total", "count")
    fragmentation_ratio: float | Unknown | None = measure("resident memory to memory used")
    fragmentation_bytes: int | Unknown | None = measure("lost to fragmentation", "bytes")
    rss: int | Unknown | None = measure("resident memory", "bytes")
    system_memory: int | Unknown | None = measure("memory of the machine", "bytes")
    max_clients: int | Unknown | None = measure("clients at most", "count")
    rejected: int | Unknown | None = measure("connections refused", "count")
    rejected_total: int | Unknown | None = measure("connections refused, in total", "count")
    blocked: int | Unknown | None = measure("clients that wait in a blocking command", "count")
    slow: int | Unknown | None = measure("commands in the slow log, lately", "count")
    slow_seconds: float | None = measure("lately is", "seconds")
    slowest: SlowCommand | Unknown | None = measure("the slowest of them")
    loading: bool = measure("loads its data", default=False)
    persistence: str | Unknown | None = measure("saving to disk")
    master: str | None = measure("its master")
    link: Literal["up", "down"] | Unknown | None = measure("link to its master")
    link_down_seconds: float | Unknown | None = measure("link is down for", "seconds")
    offset: int | Unknown | None = measure("replication offset", "bytes")
    lag_bytes: int | Unknown | None = measure("behind its master", "bytes")
    replicas: int | Unknown | None = measure("replicas connected", "count")
    readonly_errors: int | Unknown | None = measure("writes refused by a replica", "count")
    readonly_total: int | Unknown | None = measure("writes refused by a replica, in total", "count")
    folder: str | None = measure("folder")
    files: int | Unknown | None = measure("files", "count")
    files_limit: int | None = measure("files that its keys_zone has room for, about", "count")
    looked_at: float | None = measure("of the folder looked at", "ratio")
    inactive: float | None = measure("removed when not asked for in", "seconds")
    manager: str | None = measure("its cache manager")
    loader: bool | None = measure("its cache loader is at work")
    disk_size: int | None = measure("disk of the folder", "bytes")
    disk_free: int | None = measure("free on it", "bytes")
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())

    @property
    def name(self) -> str:
        """What it is called in findings, and their keys."""
        return self.node or self.subject

    @property
    def memory_share(self) -> float | None:
        """How much of its limit is used, or None where one of the two is unknown or there is no limit."""
        used, limit = known(self.memory_used), known(self.memory_limit)
        return used / limit if used is not None and limit else None

    def evicts(self, expires: int | None = None) -> bool | None:
        """Whether it makes room when it is full; None where that is unknown. `expires` is its keys with a TTL."""
        policy = known(self.policy)
        if policy is None:
            return None
        return policy not in _REFUSES and not (policy.startswith(_ONLY_WITH_TTL) and expires == 0)


class Slab(Observation):
    """A slab class of memcached: items of about one size, which can only evict each other. Counts are of the window."""

    kind: ClassVar[str] = "slab"
    evicted: int | Unknown = measure("evicted", "count", "main")
    node: str = measure("node", default="")
    slab: int = measure("slab class", "id", "line", default=0)
    item_size: int | None = measure("items of at most", "bytes", "line")
    items: int | Unknown | None = measure("items", "count", "line")
    memory: int | Unknown | None = measure("memory", "bytes", "line")
    memory_share: float | Unknown | None = measure("of the memory", "ratio")
    evicted_unread: int | Unknown | None = measure("evicted before they were ever read", "count")
    evicted_age: float | Unknown | None = measure("the last evicted had not been read for", "seconds")
    out_of_memory: int | Unknown | None = measure("items refused for want of memory", "count")
    window_seconds: float = measure("window", "seconds", default=0.0)
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())


class BigKey(Observation):
    """A key of the sample with the memory that it takes. `key` is escaped and cut; its value was not looked at."""

    kind: ClassVar[str] = "big_key"
    bytes: int = measure("memory", "bytes", "main", default=0)
    type: str | None = measure("type", show="line")
    node: str = measure("node", show="line", default="")
    key: str = measure("key", default="")
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())


class KeySample(Observation):
    """How much of the keys of a node was looked at for big ones: so much of all is what the finding is worth."""

    kind: ClassVar[str] = "key_sample"
    looked_at: int = measure("keys looked at", "count", "main", default=0)
    of: int | Unknown = measure("keys in all", "count", "line", default=0)
    seconds: float = measure("in", "seconds", "line", default=0.0)
    node: str = measure("node", default="")


class Member(NamedTuple):
    """A node of a cluster: its load and slots, the flags that others give it, and what it did when it was asked."""

    name: str
    role: str | None = None
    commands: int | None = None  # of the window
    slots: int | None = None
    hit_rate: float | None = None
    flags: str = ""
    answers: bool | None = None
    why: str = ""
    says: str = ""  # the state of the cluster in its own view


class CacheCluster(Observation):
    """A cluster as its nodes see it, and as they answered when each was dialled. `state` is the worst of their views.

    `shards_without_replica` names masters. `disagree` says in words where views differ. The two imbalances are the
    largest master's slots and load, as a multiple of an even part.
    """

    kind: ClassVar[str] = "cache_cluster"
    state: str | Unknown = measure("state", show="line", default=Unknown("not looked at"))
    slots_ok: int | Unknown = measure("slots ok", "count", "main", default=Unknown("not looked at"))
    slots_assigned: int | Unknown = measure("slots assigned", "count", "line", default=Unknown("not looked at"))
    nodes: int = measure("nodes", "count", "line", default=0)
    masters: int = measure("masters", "count", "line", default=0)
    slots_pfail: int | Unknown = measure("slots of nodes that one suspects", "count", default=0)
    slots_fail: int | Unknown = measure("slots of nodes that failed", "count", default=0)
    states: Mapping[str, int] = measure("nodes by the state that they see", default={})
    shards_without_replica: tuple[str, ...] = measure("masters without a replica", default=())
    unreachable: tuple[str, ...] = measure("nodes that did not answer", default=())
    suspected: tuple[str, ...] = measure("nodes that some suspect", default=())
    failed: tuple[str, ...] = measure("nodes that all take for failed", default=())
    disagree: tuple[str, ...] = measure("where views differ", default=())
    failover: str | None = measure("failover in progress")
    full_coverage: bool | Unknown | None = measure("stops when a slot is not covered")
    node_timeout: float | Unknown | None = measure("a node is suspected after", "seconds")
    slot_imbalance: float | Unknown | None = measure("largest master's slots, of an even part")
    load_imbalance: float | Unknown | None = measure("largest master's load, of an even part")
    members: tuple[Member, ...] = measure(
        "nodes, side by side", default=(), columns={"commands": "count", "slots": "count", "hit_rate": "ratio"}
    )
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())

    def member(self, name: str) -> Member:
        """What is known of a node; nothing where it is not among the members."""
        return next((member for member in self.members if member.name == name), Member(name))


class SentinelView(Observation):
    """A master that Sentinels watch, as all of them see it that answered.

    `addresses` are the masters they name, most often named first; `master_role` is what the node at the first of these
    says it is. `quorum_ok` is Unknown where none could be asked.
    """

    kind: ClassVar[str] = "sentinel"
    usable: int | Unknown = measure("usable Sentinels", "count", "main", default=Unknown("not looked at"))
    quorum: int | Unknown | None = measure("needed to call it down", "count", "line")
    sentinels: int | Unknown | None = measure("Sentinels known", "count", "line")
    master: str = measure("master name", default="")
    quorum_ok: bool | Unknown = measure("enough for a failover", default=Unknown("not looked at"))
    agreed: bool | Unknown = measure("all name the same master", default=Unknown("not looked at"))
    addresses: tuple[str, ...] = measure("addresses of the master", show="line", default=())
    master_role: str | Unknown | None = measure("role of the node there")
    flags: str = measure("flags", default="")
    replicas: int | Unknown | None = measure("replicas that may take over", "count")
    failover: str | None = measure("failover in progress")
    said: str = measure("what they say of the quorum", default="")
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())

    @property
    def name(self) -> str:
        """The name of the master, as clients ask for it."""
        return self.master or self.subject

    @property
    def down(self) -> bool:
        """Whether they take the master for down: one of them (s_down) or enough of them (o_down)."""
        return not {"s_down", "o_down"}.isdisjoint(self.flags.split(","))
