"""What waits for a consumer, as it was measured: how much, how old, how fast it comes and goes, and in which queues."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from opsdoc.model import Observation, Unknown, known, measure

Trend = Literal["drained", "draining", "steady", "growing", "stalled", "unknown"]
Where = Literal["main", "retry", "dead-letter"]

STALLED = "did not move"  # the note of a part that nothing was consumed from, though something waited there


class Part(NamedTuple):
    """One queue or partition: what waits there, and the consumer that has it. `depth` is None where that is unknown."""

    name: str
    depth: int | None
    owner: str | None = None
    note: str = ""


class DrainTime(NamedTuple):
    """How long until nothing waits any more, at the rates of the window: between `low` and `high` seconds."""

    low: float
    high: float


class Backlog(Observation):
    """What a consumer group has not consumed of a topic, or what waits among its retries or dead letters.

    `depth` counts from the first message that is both kept and not consumed, and is never negative: what expired unread
    is `lost`, an offset beyond the end is `ahead`. Queues without any commit count with all that they keep, and beside
    that in `never_consumed`. `by_hand` holds the commands of its broker that show the same.
    """

    kind: ClassVar[str] = "backlog"
    depth: int | Unknown = measure("waiting", "count", "main")
    trend: Trend = measure("trend", show="line", default="unknown")
    in_rate: float | Unknown | None = measure("in", "per_second", "line")
    out_rate: float | Unknown | None = measure("out", "per_second", "line")
    oldest_age: float | Unknown | None = measure("oldest", "seconds", "line")
    drain_seconds: DrainTime | Unknown | None = measure("drains in", "seconds")
    members: int | Unknown | None = measure("members", "count", "line")
    part: Where = measure("part", default="main")
    broker: str = measure("broker", default="")
    consumer: str = measure("consumer", default="")
    topic: str = measure("topic", default="")
    parts: tuple[Part, ...] = measure("queues, the deepest", default=(), columns={"depth": "count"})
    queue_count: int = measure("queues", "count", default=1)
    stalled_parts: int | None = measure("queues that did not move", "count")
    lost: int | Unknown = measure("expired unread", "count", default=0)
    ahead: int = measure("committed beyond the end", "count", default=0)
    never_consumed: int | Unknown = measure("waiting where nothing was ever committed", "count", default=0)
    rewound: int = measure("set back in the window", "count", default=0)
    in_backoff: int | Unknown | None = measure("waiting for their next delivery", "count")
    recent: int | Unknown | None = measure("of the last 10 minutes", "count")
    unread_queues: int = measure("messages in queues that nobody reads", "count", default=0)
    redelivered: float | Unknown | None = measure("delivered again", "ratio")
    mode: Literal["clustering", "broadcast"] | None = measure("mode")
    filter: str | None = measure("filter")
    ordered: bool | None = measure("in order")
    enabled: bool = measure("may be consumed", default=True)
    disabled_by: str | None = measure("consuming disabled by")
    consume_from: Literal["earliest", "latest"] | None = measure("a new consumer starts from")
    idle_members: int | None = measure("members without a queue", "count")
    idle: float | Unknown | None = measure("nothing consumed for", "seconds")
    retention: float | None = measure("messages are kept for", "seconds")
    source_age: float | None = measure("offsets are from a slave, up to so old", "seconds")
    depth_before: int | None = measure("waiting at the first look", "count")
    window: float | None = measure("time between the looks", "seconds")
    commit_interval: float | None = measure("offsets are committed every", "seconds")
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())

    @property
    def waiting(self) -> int:
        """How much waits; 0 where that is unknown."""
        return known(self.depth) or 0

    @property
    def stalled(self) -> tuple[Part, ...]:
        """Its queues that did not move, of those that are listed."""
        return tuple(part for part in self.parts if part.note == STALLED)

    @property
    def uncommitted(self) -> bool:
        """Whether something waits and nothing was ever committed in any of the queues where it does."""
        return 0 < self.waiting <= (known(self.never_consumed) or 0)
