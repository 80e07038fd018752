"""A replica and how far it is behind what it follows, as either side tells it, and slots that keep log for replicas."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from opsdoc.model import Observation, Unknown, known, measure

Product = Literal["postgresql", "mysql", "mariadb"]
Teller = Literal["primary", "replica", "both"]
Link = Literal["streaming", "connecting", "down", "archive"]
Apply = Literal["running", "idle", "paused", "stopped", "error", "delayed", "locked"]
Confidence = Literal["proven", "likely", "one-sided", "blind"]


class Stage(NamedTuple):
    """One step of the way from the primary's log to a reader, with what is still before it; None is unknown.

    In order: PostgreSQL has `send`, `write`, `flush` and `replay`, MySQL `receive` and `apply`.
    """

    name: str
    bytes: int | None = None
    seconds: float | None = None
    note: str = ""


class ReplicaLag(Observation):
    """How far a replica, or one channel of it, is behind what it follows, and what each side says of the way.

    `seconds` is how old the last change that readers see is, by design (`delay`) subtracted; `bytes` is log that was
    written and is not applied, never negative. Both are Unknown where nobody who was asked can know. `as_of` is how
    long ago the other side was last heard of, in seconds: the lag is of then. `confidence` is `proven` where both
    sides, or one that cannot be wrong, say so; `likely` where the last word is some seconds old; `one-sided` where the
    other side could say otherwise; `blind` where this side cannot know. `ask` is the other side, where it was not
    asked. `applied_per_second` and `grows` are bytes of log a second over the window; `grows` is below zero where it
    catches up.
    """

    kind: ClassVar[str] = "replica_lag"
    seconds: float | Unknown | None = measure("behind", "seconds", "main")
    bytes: int | Unknown | None = measure("not applied", "bytes", "line")
    stage: str | None = measure("most of it before", show="line")
    as_of: float | Unknown | None = measure("age of the last word", "seconds", "line")
    confidence: Confidence = measure("confidence", show="line", default="blind")
    replica: str = measure("replica", default="")
    primary: str | None = measure("follows")
    product: Product = measure("product", default="postgresql")
    channel: str | None = measure("channel")
    told_by: Teller = measure("told by", default="replica")
    ask: str | None = measure("who could say more")
    stages: tuple[Stage, ...] = measure(
        "still before each stage", default=(), columns={"name": "step", "bytes": "bytes", "seconds": "seconds"}
    )
    link: Link | Unknown | None = measure("link")
    link_error: str | None = measure("the link's last error")
    link_moved: bool | Unknown | None = measure("something came over the link in the window")
    silence: float | Unknown | None = measure("nothing came over the link for", "seconds")
    silence_expected: float | None = measure("the link may be silent for", "seconds")
    apply: Apply | Unknown | None = measure("applying")
    apply_error: str | None = measure("the applier's last error")
    apply_errno: int | None = measure("its number", "id")
    applied_per_second: float | Unknown | None = measure("applied", "per_second")
    grows: float | Unknown | None = measure("bytes that it falls behind by", "per_second")
    delay: float | None = measure("delayed by design", "seconds")
    blocked_by: str | None = measure("what holds the applier")
    conflicts: int | Unknown | None = measure("queries cancelled by replay, in the window", "count")
    conflicts_total: int | Unknown | None = measure("queries cancelled by replay, in total", "count")
    missing: int | Unknown | None = measure("transactions that it has not applied", "count")
    errant: int | Unknown | None = measure("transactions that only it has", "count")
    slot_lost: bool | None = measure("its slot is lost")
    sync: str | None = measure("synchronous")
    heartbeat_table: float | Unknown | None = measure("behind by the heartbeat table", "seconds")
    window_seconds: float | None = measure("window", "seconds")
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())

    @property
    def name(self) -> str:
        """What it is called in findings, and their keys."""
        name = self.replica or self.subject
        return f"{name} ({self.channel})" if self.channel else name

    @property
    def behind(self) -> float | None:
        """Seconds behind, by a heartbeat table where there is one, or None where nobody knows."""
        table = known(self.heartbeat_table)
        return known(self.seconds) if table is None else max(0.0, table - (self.delay or 0.0))


class ReplicationSlot(Observation):
    """A slot of PostgreSQL: the log that it keeps for whoever reads it; `retained` is None where it keeps none.

    `status` is `wal_status`: `reserved`, `extended`, `unreserved` (about to be lost) or `lost`. `safe` is how much may
    still be written before it is lost, None where nothing limits it.
    """

    kind: ClassVar[str] = "replication_slot"
    retained: int | Unknown | None = measure("kept", "bytes", "main")
    slot: str = measure("slot", default="")
    node: str = measure("server", show="line", default="")
    type: Literal["physical", "logical"] = measure("type", show="line", default="physical")
    active: bool | Unknown = measure("in use", show="line", default=False)
    status: str | Unknown | None = measure("state of what it keeps", show="line")
    safe: int | Unknown | None = measure("until it is lost", "bytes")
    disk_free: int | Unknown | None = measure("free on its disk", "bytes")
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())

    @property
    def name(self) -> str:
        """What it is called in findings, and their keys."""
        return f"{self.node} slot {self.slot}"
