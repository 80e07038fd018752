"""The hit rate of one node of a cache over a window, as it was counted, with what tells why it is so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple

from opsdoc.model import Observation, Point, Unknown, known, measure

Role = Literal["master", "replica"]

FEW = 100  # reads: of fewer the rate of a window is chance, five misses more or less are 5 %
SLOW = 10.0  # reads per second: that a cache answers a handful says little about how it does under load
MANY = 1000  # reads: enough to judge by, however slowly they came
YOUNG = 1800.0  # seconds: netdata's guide does not judge the hit rate of the first 30 minutes


class MissPart(NamedTuple):
    """The misses that one cause accounts for, at most; `counted` is of how many keys or reads."""

    cause: str
    misses: int | Unknown
    counted: int | None = None


class HitRate(Observation):
    """One node of a cache, or one part of it, over the window; counts are differences of two looks unless they say so.

    A look that was not found is a miss, also where it had expired or was told to go round the cache. `hits` and
    `misses` are Unknown where the counters were reset between the looks (`reset`) or could not be read. A part, such as
    a URL prefix of a zone, names in `part_of` the node that counts it too. `by_hand` holds the commands of its product
    that show the same. `course` has looks in between, and the misses by cause never add up to more than there were.
    """

    kind: ClassVar[str] = "hit_rate"
    ratio: float | Unknown | None = measure("hit rate", "ratio", "main")
    hits: int | Unknown = measure("hits", "count", "line", default=Unknown("not looked at"))
    misses: int | Unknown = measure("misses", "count", "line", default=Unknown("not looked at"))
    lifetime_ratio: float | Unknown | None = measure("over its lifetime", "ratio", "line")
    evicted: int | Unknown | None = measure("evicted", "count", "line")
    expired: int | Unknown | None = measure("expired", "count", "line")
    fill_ratio: float | Unknown | None = measure("fills for each miss", "ratio", "line")
    node: str = measure("node", default="")
    product: str = measure("product", default="cache")
    role: Role | Unknown | None = measure("role")
    asked: bool = measure("named by the user", default=True)
    part_of: str | None = measure("part of")
    window_seconds: float = measure("window", "seconds", default=0.0)
    reset: bool = measure("counters were reset in the window", default=False)
    uptime: float | Unknown | None = measure("runs for", "seconds")
    lifetime_reads: int | Unknown | None = measure("reads over its lifetime", "count")
    reads_per_second: float | Unknown | None = measure("reads", "per_second")
    sets: int | Unknown | None = measure("fills: writes of whole values", "count")
    checks: int | Unknown | None = measure("reads that only ask whether a key exists", "count")
    bypassed: int | Unknown | None = measure("misses that were told to go round the cache", "count")
    stale: int | Unknown | None = measure("hits on what was over its time", "count")
    missed_again: int | Unknown | None = measure("misses of what had been missed before in the window", "count")
    evicted_unread: int | Unknown | None = measure("evicted before they were ever read", "count")
    keys: int | Unknown | None = measure("keys", "count")
    keys_before: int | Unknown | None = measure("keys at the first look", "count")
    expires: int | Unknown | None = measure("keys with a time to live", "count")
    avg_ttl: float | Unknown | None = measure("average time to live", "seconds")
    avg_ttl_before: float | Unknown | None = measure("average time to live at the first look", "seconds")
    expired_total: int | Unknown | None = measure("expired over its lifetime", "count")
    expired_stale: float | Unknown | None = measure("keys that have expired and are still held", "ratio")
    expire_capped: int | Unknown | None = measure("times that expiring ran out of time", "count")
    ops: int | Unknown | None = measure("commands", "count")
    ops_share: float | Unknown | None = measure("of the commands of all nodes", "ratio")
    cpu: float | Unknown | None = measure("main thread", "cores")
    course: tuple[Point, ...] = measure("over the window", "ratio", default=())
    misses_by_cause: tuple[MissPart, ...] = measure(
        "misses by cause", default=(), columns={"misses": "count", "counted": "count"}
    )
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())

    @property
    def name(self) -> str:
        """What it is called in findings, and their keys."""
        return self.node or self.subject

    @property
    def reads(self) -> int | None:
        """Hits and misses of the window, or None where they are not known."""
        hits, misses = known(self.hits), known(self.misses)
        return None if self.reset or hits is None or misses is None else hits + misses

    @property
    def miss_share(self) -> float | None:
        """Misses of all reads of the window, 0 to 1, or None where there were none or they are not known."""
        misses = known(self.misses)
        return None if not self.reads or misses is None else misses / self.reads

    @property
    def per_second(self) -> float | None:
        """Reads per second of the window."""
        told = known(self.reads_per_second)
        if told is not None or self.reads is None or not self.window_seconds:
            return told
        return self.reads / self.window_seconds

    @property
    def slow(self) -> bool:
        """Whether so little is read that no rate of it says how the cache does under load."""
        return (self.reads or 0) < MANY and (self.per_second or 0.0) < SLOW

    @property
    def young(self) -> bool:
        """Whether it started a short time ago, and may still be filling."""
        uptime = known(self.uptime)
        return uptime is not None and uptime < YOUNG

    @property
    def unread(self) -> str:
        """Why hits and misses are not known, or nothing."""
        if self.reset:
            return "its counters were reset in the window, or it was restarted"
        return next((one.reason for one in (self.hits, self.misses) if isinstance(one, Unknown)), "")

    @property
    def filled(self) -> float | None:
        """How many misses were followed by a fill, told by writes and by how many keys there are; 1 and more is all.

        Writes that fill no miss are among them, so it is never too low by those; None where nothing tells.
        """
        return max(self._fills(), default=None)

    def _fills(self) -> Iterator[float]:
        if (told := known(self.fill_ratio)) is not None:
            yield told
        now, before, misses = known(self.keys), known(self.keys_before), known(self.misses)
        if now is not None and before is not None and misses:
            gone = (known(self.evicted) or 0) + (known(self.expired) or 0)
            yield max(0, now - before + gone) / misses
