"""How far a PostgreSQL replica is behind: in bytes, in seconds and by stage, from the positions that both sides tell.

Which number lies when, and what follows from it, are the rows A to G of tests/e2e/test_db_postgresql.py.
"""

from __future__ import annotations

from typing import NamedTuple

from opsdoc.looks.postgresql_pairs import Link, Server
from opsdoc.looks.postgresql_sides import Look, Sender, Side
from opsdoc.model import Unknown
from opsdoc.parsers.lsn import gap, latest
from opsdoc.signals.replica_lag_facts import Confidence, Stage

FRESH = 2.0  # seconds: a message so young is proof that the link is alive
YOUNG = 1.0  # seconds: a receiver counts its start as a message, and one that is refused ends at once
AT_ONCE = 0.05  # seconds: a message that is younger than the receiver by more is one of the sender
SLACK = 5.0  # seconds that a message may be late
NO_WINDOW = "without a window (--window 0) nothing is seen to move"
NEEDS_MONITOR = "the role that asks may not see it: GRANT pg_monitor to it"


class Head(NamedTuple):
    """Where the log ends that a replica should have; `at` is when we learned that, `as_of` how old it was then."""

    end: int | None
    at: float
    as_of: float = 0.0
    confidence: Confidence = "proven"
    why: str = ""  # it cannot be known


class Behind(NamedTuple):
    """What was measured of one replica. `applied` and `grows` are bytes a second."""

    bytes: int | Unknown
    seconds: float | Unknown
    stages: tuple[Stage, ...]
    head: Head
    applied: float | Unknown
    grows: float | Unknown

    @property
    def stage(self) -> str | None:
        """The one that most of it waits before."""
        waiting = [stage for stage in self.stages if stage.bytes]
        return max(waiting, key=lambda stage: stage.bytes or 0).name if waiting else None


def behind(link: Link, top: Server) -> Behind:
    """How far the replica of a link is behind the end of the log, as far up as somebody was asked."""
    head = _head(link, top, top.last, link.sender)
    replayed, at = _replayed(link.replica.last if link.replica else None, link.sender, link.upstream)
    waits = _waits(link, head, replayed)
    applied: float | Unknown = Unknown(NO_WINDOW)
    grows: float | Unknown = Unknown(NO_WINDOW)
    first = _first(link, top)
    at_most = None
    if first is not None:
        before, was, was_at = first
        passed = at - was_at
        if replayed is not None and was is not None and passed > 0:
            applied = max(0.0, (replayed - was) / passed)
            waited = gap(before.end, was)
            grows = (waits - waited) / passed if isinstance(waits, int) and waited is not None else Unknown(head.why)
        else:
            applied = grows = Unknown("its positions are not told")
        if replayed is not None and before.end is not None and replayed >= before.end:
            at_most = at - before.at + before.as_of
    seconds = _seconds(link, top, waits, at_most)
    return Behind(waits, seconds, _stages(link, top, head, replayed), head, applied, grows)


def silence_expected(side: Side) -> float | None:
    """How long a standby may hear nothing over a link that is well: either side asks after half of its time limit."""
    limits = [side.seconds_of(name) for name in ("wal_sender_timeout", "wal_receiver_timeout")]
    told = [limit for limit in limits if limit]
    return min(told) / 2 + SLACK if told else None


def is_alive(side: Side) -> bool:
    """Whether a standby has a receiver that is connected, and not only about to find out that it is not wanted."""
    receiver = side.receiver
    if receiver is None or receiver.status != "streaming":
        return False
    if receiver.started is None or receiver.heard is None or receiver.started >= YOUNG:
        return True
    return receiver.started - receiver.heard > AT_ONCE


def is_linked(link: Link) -> bool:
    """Whether something can arrive, by the replica's side, or else by the other."""
    receiver = link.replica.side.receiver if link.replica else None
    if link.replica is not None and (receiver is None or receiver.status is not None):
        return is_alive(link.replica.side)
    return link.sender is not None and link.sender.state in ("streaming", "catchup", None)


# ── the end of the log ───────────────────────────────────────────────────────────────────────────


def _head(link: Link, top: Server, look: Look, sender: Sender | None) -> Head:
    side = look.side
    if not side.standby:
        same_moment = sender.written if sender is not None and top is link.upstream else None
        return Head(latest(side.written, same_moment), side.at)
    return _heard_of(top, side)


def _heard_of(top: Server, side: Side) -> Head:
    """The end of the log as the sender told it to a standby, as far as that still counts."""
    receiver = side.receiver
    if receiver is not None and receiver.status is None:
        return Head(None, side.at, 0.0, "blind", NEEDS_MONITOR)
    if receiver is None or not is_alive(side) or receiver.heard is None or receiver.end is None:
        why = f"{top.name} has no receiver that is connected: it cannot know what was written since"
        return Head(None, side.at, 0.0, "blind", why)
    heard, expected = max(0.0, receiver.heard), silence_expected(side)
    if expected is not None and heard > expected:
        why = f"{top.name} heard nothing for {heard:.0f} s, where {expected:.0f} s are usual"
        return Head(None, side.at, heard, "blind", why)
    moved = top.first is not None and heard < side.at - top.first.side.at
    confidence: Confidence = "proven" if moved or heard <= FRESH else "one-sided" if expected is None else "likely"
    return Head(latest(receiver.end, side.end), side.at, heard, confidence)


def _replayed(look: Look | None, sender: Sender | None, upstream: Server | None) -> tuple[int | None, float]:
    """How far it has replayed by either side, and when that was: positions only go forward, so the furthest is true."""
    told = latest(look.side.replayed if look else None, sender.replay if sender else None)
    sides = [one.at for one in (look.side if look else None, upstream.side if upstream else None) if one is not None]
    return told, max(sides, default=0.0)


def _first(link: Link, top: Server) -> tuple[Head, int | None, float] | None:
    """The end of the log and the position of the replica at the first look."""
    own = link.replica.first if link.replica else None
    if top.first is None or (link.replica is not None and own is None):
        return None
    was = latest(own.side.replayed if own else None, link.before.replay if link.before else None)
    at = own.side.at if own else top.first.side.at
    return _head(link, top, top.first, link.before), was, at


# ── bytes, by stage ──────────────────────────────────────────────────────────────────────────────


def _waits(link: Link, head: Head, replayed: int | None) -> int | Unknown:
    if link.slot is not None and link.slot.status == "lost" and link.replica is None:
        return Unknown("its slot is lost, which kept its position")
    if head.end is None:
        return Unknown(head.why or "where the log ends is not told")
    reached = replayed
    if link.replica is None and link.sender is None:  # its slot at least kept what it had not got
        reached = link.slot.restart if link.slot else link.before.replay if link.before else None
    if reached is not None and reached > head.end and not is_linked(link):
        return Unknown("it has log that its primary never wrote: it followed another")
    waits = gap(head.end, reached)
    if waits is None:
        return Unknown(NEEDS_MONITOR if link.sender is not None else "its position is not told")
    return waits


def _stages(link: Link, top: Server, head: Head, replayed: int | None) -> tuple[Stage, ...]:
    """What is before each stage. Where the server that it follows lacks some itself, that comes first."""
    sender, side = link.sender, link.replica.side if link.replica else None
    receiver = side.receiver if side else None
    own_end = (sender.written if sender else None) or (link.upstream.side.end if link.upstream else None)
    flushed = latest(sender.flush if sender else None, side.end if side else None)
    written = latest(sender.write if sender else None, receiver.written if receiver else None, flushed)
    sent = latest(sender.sent, written) if sender else written if link.upstream else head.end
    if sender is None and side is None:
        sent = link.slot.restart if link.slot else link.before.sent if link.before else None
    seconds = _seconds_by_stage(link)
    steps = {"write": (sent, written), "flush": (written, flushed), "replay": (flushed, replayed)}
    if link.upstream is not None:
        steps = {"send": (own_end, sent), **steps}
    if link.upstream is not None and top is not link.upstream:
        steps = {"upstream": (head.end, own_end), **steps}
    return tuple(Stage(name, gap(*positions), *seconds.get(name, (None,))) for name, positions in steps.items())


def _seconds_by_stage(link: Link) -> dict[str, tuple[float | None, str]]:
    """The sender's own samples: of now while the replica moves on, of some time ago while it does not."""
    sender, before = link.sender, link.before
    if sender is None:
        return {}
    total = 0.0
    each: dict[str, tuple[float | None, str]] = {}
    for name, lag, now, was in (
        ("write", sender.write_lag, sender.write, before.write if before else None),
        ("flush", sender.flush_lag, sender.flush, before.flush if before else None),
        ("replay", sender.replay_lag, sender.replay, before.replay if before else None),
    ):
        if lag is None:
            continue
        if now is not None and was is not None and now > was:
            each[name] = (round(max(0.0, lag - total), 6), "")
        else:
            each[name] = (None, f"{max(0.0, lag - total):.3g} s when it last moved")
        total = max(total, lag)
    return each


# ── seconds ──────────────────────────────────────────────────────────────────────────────────────


def _seconds(link: Link, top: Server, waits: int | Unknown, at_most: float | None) -> float | Unknown:
    """How old the last change is that readers see, of which a delay by design is none.

    The age of the last commit that was replayed counts the time in which nothing was written, too, so that what is
    known to be replayed bounds it: all that had been written at the first look.
    """
    if isinstance(waits, Unknown):
        return waits
    if waits == 0:
        return 0.0 if is_linked(link) else Unknown("nothing arrives any more: it lacks whatever is written next")
    side = link.replica.side if link.replica else None
    sender, before = link.sender, link.before
    told = [at_most] if at_most is not None else []
    if side is not None and side.last_commit is not None and side.now is not None:
        told.append(_clock(side, top.side) - side.last_commit)
    elif side is None and sender and before and sender.replay_lag is not None and sender.replay != before.replay:
        told.append(sender.replay_lag)
    if told:
        return round(max(0.0, min(told) - (side.seconds_of("recovery_min_apply_delay") or 0.0 if side else 0.0)), 3)
    if side is not None:
        return Unknown("it has replayed no transaction since it was started")
    if sender is None:
        return Unknown("only the replica knows the time of what it replayed last")
    return Unknown(
        "replay did not move, so that replay_lag is of before; the replica knows the time of what it replayed"
    )


def _clock(side: Side, top: Side) -> float:
    """What time it was at a standby by the clock that its commits were stamped with, if that was asked."""
    if not top.standby and top.now is not None:
        return top.now + side.at - top.at
    return side.now or 0.0
