"""What came over the link of a MySQL replica, and what has not: signs of life, and the gap to its source."""

from __future__ import annotations

from typing import NamedTuple

from opsdoc.looks.mysql_pairs import Link
from opsdoc.model import Unknown

MISSED = 2  # heartbeats: one may be on its way
NO_WINDOW = "there was one look only: a window would tell"


class Gap(NamedTuple):
    """What lies between a source and readers of its replica, in bytes and transactions; None where nobody knows."""

    receive: int | None = None
    apply: int | None = None
    total: int | None = None
    unreceived: int | None = None  # transactions
    missing: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether the source tells how far it is ahead."""
        return self.total is not None or self.missing is not None

    @property
    def is_none(self) -> bool:
        """Whether the source says that nothing is missing."""
        return self.missing == 0 if self.missing is not None else self.total == 0

    @property
    def has_all_come(self) -> bool:
        """Whether the source says that all it has was received."""
        return self.unreceived == 0 if self.unreceived is not None else self.receive == 0


class Signs(NamedTuple):
    """Signs of life of a link: whether one came in the window, and for how long none did, in seconds.

    `expected` is how long a link that is well may be silent, `heard` how long ago the last sign came, at most. `rests`
    says that it was one that the source sends when it has nothing else to send.
    """

    moved: bool | Unknown | None
    silence: float | Unknown | None
    expected: float | None
    heard: float | Unknown | None
    rests: bool = False

    @property
    def is_live(self) -> bool:
        """Whether what the replica knows of its source is new."""
        if self.moved is True:
            return True
        return isinstance(self.heard, float) and self.expected is not None and self.heard <= self.expected


def gap(link: Link) -> Gap:
    """What is missing, as far as whoever was asked tells; without the source that is what came and is not applied."""
    channel, source = link.channel, link.source
    if source is None:
        return Gap(apply=channel.backlog)
    side = source.last
    return Gap(
        side.beyond(channel.received),
        channel.backlog,
        side.beyond(channel.executed),
        side.written_beyond(channel, channel.gtid_received, channel.gtid_applied),
        side.written_beyond(channel, channel.gtid_applied),
    )


def signs(link: Link) -> Signs:
    """What came in the window: events, or heartbeats, which a source sends where it has had no events for a period."""
    channel, before, times, elapsed = link.channel, link.before, link.times, link.elapsed
    period = period_of(link)
    expected = MISSED * period if period else None
    if channel.link != "streaming":
        return Signs(None, None, expected, None)
    if before is None or elapsed is None:
        one_look = Unknown(NO_WINDOW)
        last = one_look if times.heard is None else times.heard
        return Signs(one_look, last, expected, last)
    events = (before.received, before.gtid_received) != (channel.received, channel.gtid_received)
    beat = _beats(link) or (not events and times.heard is not None and times.heard < elapsed)
    if events or beat:
        at_most = min(elapsed, period) if beat and not events and period else elapsed
        return Signs(True, None, expected, at_most if times.heard is None else times.heard, beat)
    silent = Unknown(f"nothing came over its link in {elapsed:.1f} s")
    return Signs(False, max(elapsed, times.heard or 0.0), expected, silent if times.heard is None else times.heard)


def period_of(link: Link) -> float | None:
    """Seconds between two heartbeats; 0 where none come, None where that is not told."""
    return link.channel.period if link.channel.period is not None else link.times.period


def _beats(link: Link) -> bool:
    """Whether heartbeats were counted in the window; a count that went down is one of a new connection."""
    before, now = link.before, link.channel
    if now.heartbeats is None:
        return link.times_before.heartbeats not in (None, link.times.heartbeats)
    return before is not None and before.heartbeats != now.heartbeats
