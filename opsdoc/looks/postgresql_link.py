"""The way to a PostgreSQL replica as both sides see it: whether it is up, what came over it, and what is wrong."""

from __future__ import annotations

from typing import NamedTuple

from opsdoc.looks.postgresql_behind import NEEDS_MONITOR, NO_WINDOW, SLACK, Behind, is_alive, silence_expected
from opsdoc.looks.postgresql_pairs import Link, Server
from opsdoc.model import Unknown, known
from opsdoc.parsers.lsn import gap
from opsdoc.signals.replica_lag_facts import Link as State
from opsdoc.signals.replica_lag_facts import Teller

STATUS_INTERVAL = 10.0  # seconds: the default of wal_receiver_status_interval, which only the replica knows


class Seen(NamedTuple):
    """A replica with all that is known of it."""

    link: Link
    top: Server
    behind: Behind

    @property
    def replica(self) -> Server | None:
        """The replica, where it was asked."""
        return self.link.replica

    @property
    def told_by(self) -> Teller:
        """Whose words these are."""
        if self.replica is None:
            return "primary"
        return "replica" if self.link.upstream is None and self.top is self.replica else "both"

    @property
    def window(self) -> float | None:
        """The seconds between the two looks at it, or at who tells of it; None without a window."""
        of = self.replica or self.top
        return None if of.first is None else round(of.side.at - of.first.side.at, 3)

    @property
    def is_lost(self) -> bool:
        """Whether the log that was kept for it is gone, and it does not receive."""
        streams = self.replica is not None and is_alive(self.replica.side)
        return self.link.slot is not None and self.link.slot.status == "lost" and not streams


def state(seen: Seen) -> State | Unknown:
    """Whether it is up: the replica knows best, where it may be asked."""
    sender, replica = seen.link.sender, seen.replica
    if replica is None or (replica.side.receiver is not None and replica.side.receiver.status is None):
        return _state_of_sender(seen)
    if is_alive(replica.side):
        return "streaming"
    if replica.side.receiver is not None or sender is not None:
        return "connecting"
    applied = (known(seen.behind.applied) or 0) > 0
    return "archive" if replica.side.archive and (replica.side.follows is False or applied) else "down"


def _state_of_sender(seen: Seen) -> State | Unknown:
    sender = seen.link.sender
    if sender is None and seen.replica is None:
        return "down"
    if sender is None or sender.state is None:
        return Unknown(NEEDS_MONITOR)
    return "streaming" if sender.state in ("streaming", "catchup") else "connecting"


def error(seen: Seen) -> str | None:
    """What keeps it from receiving, as far as positions, slots and settings tell: its log alone has the message."""
    replica = seen.replica
    if replica is None or replica.side.receiver is not None or seen.is_lost:  # which says it all
        return None
    return _not_there(replica, seen) or _not_told(replica)


def _not_there(replica: Server, seen: Seen) -> str | None:
    """What the server that it should follow lacks."""
    upstream = seen.link.upstream
    if upstream is None:
        return None
    if replica.slot and seen.link.slot is None:
        return f"{upstream.name} has no slot {replica.slot}, which it means to read from"
    if seen.top is upstream and (more := gap(replica.side.replayed, upstream.side.end)):
        return f"it has {more} bytes of log that {upstream.name} never wrote"
    return f"it is told to follow {replica.upstream}" if replica.upstream not in (None, upstream.name) else None


def _not_told(replica: Server) -> str | None:
    side = replica.side
    if side.follows is False:
        return None if side.archive else "it is told to follow nobody: primary_conninfo is empty"
    return "it falls back on its archive (restore_command)" if side.archive else None


def moved(seen: Seen) -> bool | Unknown:
    """Whether a message or log came over it in the window."""
    link, window = seen.link, seen.window
    if window is None:
        return Unknown(NO_WINDOW)
    receiver = seen.replica.side.receiver if seen.replica else None
    told = [one.heard for one in (receiver, link.sender) if one is not None and one.heard is not None]
    positions = link.sender is not None and link.before is not None and link.sender.sent != link.before.sent
    return positions or any(0 <= heard < window for heard in told)


def silence(seen: Seen) -> tuple[float | Unknown | None, float | None]:
    """How long nothing came over the link, in the direction that is the more overdue, and how long it may be so."""
    replica, sender = seen.replica, seen.link.sender
    told: list[tuple[float, float | None]] = []
    if replica is not None and replica.side.receiver is not None and replica.side.receiver.heard is not None:
        told.append((max(0.0, replica.side.receiver.heard), silence_expected(replica.side)))
    if sender is not None and sender.heard is not None:
        interval = replica.side.seconds_of("wal_receiver_status_interval", 1.0) if replica else STATUS_INTERVAL
        told.append((max(0.0, sender.heard), interval + SLACK if interval else None))
    if told:
        return max(((round(heard, 3), expected) for heard, expected in told), key=_overdue)
    return (None if state(seen) != "streaming" else Unknown("it does not tell when it last heard something")), None


def _overdue(told: tuple[float, float | None]) -> float:
    heard, expected = told
    return heard / expected if expected else 0.0
