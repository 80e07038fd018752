"""A database server and what holds it: connections, locks, open transactions and prepared ones, hot statements."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from opsdoc.model import Observation, Unknown, known, measure
from opsdoc.signals.replica_lag_facts import Product

DbRole = Literal["primary", "replica"]


class Client(NamedTuple):
    """Connections of one user, application and machine, in one state."""

    client: str
    connections: int
    state: str = ""


class DbNode(Observation):
    """A server as it tells of itself, or, where it lets nobody in, as the operating system shows it (`counted_by`).

    `why` is why it gave no answer. `full` says that it refused us because all connections are used. `claimed` is the
    role that the user gave it. Counts without `total` are of this moment or of the window. `own_seconds` is what the
    server's own statistics say that our statements took (PostgreSQL: without planning, unless it tracks that) or, by
    `our clock`, how long we waited for the answers, which is more.
    """

    kind: ClassVar[str] = "db_node"
    connections: int | Unknown | None = measure("connections", "count", "main")
    max_connections: int | Unknown | None = measure("allowed", "count", "line")
    active: int | Unknown | None = measure("at work", "count", "line")
    idle_in_transaction: int | Unknown | None = measure("idle in a transaction", "count", "line")
    role: DbRole | Unknown | None = measure("role", show="line")
    node: str = measure("server", default="")
    product: Product = measure("product", default="postgresql")
    version: str | None = measure("version")
    reachable: bool = measure("reachable", default=True)
    why: str | None = measure("because")
    full: bool = measure("refuses connections, for all are used", default=False)
    reserved: int | Unknown | None = measure("connections kept for administrators", "count")
    counted_by: Literal["server", "operating system"] = measure("counted by", default="server")
    clients: tuple[Client, ...] = measure("connections by client", default=(), columns={"connections": "count"})
    claimed: DbRole | None = measure("role that it was said to have")
    read_only: bool | Unknown | None = measure("refuses writes")
    uptime: float | Unknown | None = measure("runs for", "seconds")
    waiting: int | Unknown | None = measure("sessions that wait for a lock", "count")
    commit_waits: int | Unknown | None = measure("commits that wait for a replica", "count")
    commit_waits_for: str | None = measure("replicas that a commit waits for")
    commit_wait_seconds: float | Unknown | None = measure("the longest of them waits for", "seconds")
    replicas: int | Unknown | None = measure("replicas connected", "count")
    running: int | Unknown | None = measure("threads running", "count")
    rejected_total: int | Unknown | None = measure("connections refused, in total", "count")
    deadlocks: int | Unknown | None = measure("deadlocks in the window", "count")
    history_length: int | Unknown | None = measure("old row versions not purged", "count")
    xid_age: int | Unknown | None = measure("transactions until wraparound, used", "count")
    own_statements: int | None = measure("statements of ours", "count")
    own_seconds: float | Unknown | None = measure("time of ours on the server", "seconds")
    own_seconds_by: Literal["server", "our clock"] | None = measure("time of ours, told by")
    sees_all: bool = measure("may see other users' sessions", default=True)
    grant: str = measure("what would let it", default="")
    window_seconds: float | None = measure("window", "seconds")
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())

    @property
    def name(self) -> str:
        """What it is called in findings, and their keys."""
        return self.node or self.subject

    @property
    def used(self) -> float | None:
        """Connections of those that users may have, 0 to 1 and more; None where one of the two is unknown."""
        taken, most = known(self.connections), known(self.max_connections)
        left = (most or 0) - (known(self.reserved) or 0)
        return taken / left if taken is not None and left > 0 else None


class Waiter(NamedTuple):
    """A session in a lock chain. `depth` is 0 for the root; `blocked_by` holds ids of sessions of the chain.

    `amplifier` marks a waiting request for so strong a lock that all later ones queue behind it, readers included.
    `session` comes first and is the server's own id (a pid in PostgreSQL). `waits` and `open` are seconds.
    """

    session: int
    depth: int
    blocked_by: tuple[int, ...] = ()
    user: str = ""
    application: str = ""
    state: str = ""
    wants: str = ""
    waits: float | None = None
    open: float | None = None
    amplifier: bool = False
    statement: str = ""


class LockChain(Observation):
    """Sessions that wait for each other, the root first, then depth first; `waiting` counts all but the root.

    `root_prepared` is the global id where the root is a prepared transaction, which has no session.
    """

    kind: ClassVar[str] = "lock_chain"
    waiting: int = measure("wait", "count", "main", default=0)
    longest: float | Unknown | None = measure("the longest for", "seconds", "line")
    root: int = measure("root session", "id", "line", default=0)
    root_state: str = measure("the root is", show="line", default="")
    root_open: float | Unknown | None = measure("its transaction is open for", "seconds", "line")
    node: str = measure("server", default="")
    product: Product = measure("product", default="postgresql")
    root_user: str = measure("user of the root", default="")
    root_application: str = measure("application of the root", default="")
    root_prepared: str | None = measure("prepared transaction")
    root_is_applier: bool = measure("the root applies replication", default=False)
    blocks_applier: bool = measure("the applier of replication waits in it", default=False)
    object: str | None = measure("what the first waits for")
    sessions: tuple[Waiter, ...] = measure(
        "who waits for whom",
        default=(),
        columns={"session": "id", "blocked_by": "id", "waits": "seconds", "open": "seconds"},
    )
    end_root: str = measure("what would end the root", "command", default="")
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())

    @property
    def amplifiers(self) -> tuple[Waiter, ...]:
        """The waiting requests that all others queue behind."""
        return tuple(one for one in self.sessions if one.amplifier)


class OpenTransaction(Observation):
    """A transaction that is open for long, or whose session is idle in it. `statement` is its last, masked."""

    kind: ClassVar[str] = "open_transaction"
    open: float | Unknown | None = measure("open for", "seconds", "main")
    idle: float | Unknown | None = measure("idle for", "seconds", "line")
    state: str = measure("state", show="line", default="")
    user: str = measure("user", show="line", default="")
    application: str = measure("application", show="line", default="")
    session: int = measure("session", "id", "line", default=0)
    node: str = measure("server", default="")
    product: Product = measure("product", default="postgresql")
    client: str = measure("client", default="")
    statement: str = measure("last statement", default="")
    locks: int | Unknown | None = measure("locks", "count")
    changed: int | Unknown | None = measure("rows changed", "count")
    holds_back: int | Unknown | None = measure("transactions that cannot be cleaned up", "count")
    end: str = measure("what would end it", "command", default="")
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())


class PreparedTransaction(Observation):
    """A two-phase transaction that was prepared and neither committed nor rolled back. `gid` is escaped and cut."""

    kind: ClassVar[str] = "prepared_transaction"
    age: float | Unknown | None = measure("prepared", "seconds", "main")
    gid: str = measure("global id", show="line", default="")
    owner: str | None = measure("owner", show="line")
    database: str | None = measure("database", show="line")
    node: str = measure("server", default="")
    product: Product = measure("product", default="postgresql")
    locks: tuple[str, ...] | Unknown = measure("holds locks on", default=())
    holds_back: int | Unknown | None = measure("transactions that cannot be cleaned up", "count")
    end: tuple[str, ...] = measure("what would end it", "command", default=())
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())


class HotStatement(Observation):
    """A statement without its values, by the server's own statistics: of the window, or of all time (`lifetime`)."""

    kind: ClassVar[str] = "statement"
    seconds: float | Unknown = measure("time", "seconds", "main", default=0.0)
    share: float | Unknown | None = measure("of all statements", "ratio", "line")
    calls: int | Unknown = measure("calls", "count", "line", default=0)
    mean: float | Unknown | None = measure("each", "seconds", "line")
    statement: str = measure("statement", show="line", default="")
    node: str = measure("server", default="")
    product: Product = measure("product", default="postgresql")
    lifetime: bool = measure("over the lifetime of the statistics", default=False)
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())
