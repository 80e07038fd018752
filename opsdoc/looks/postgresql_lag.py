"""Replicas and slots of PostgreSQL servers: what each side says of them, as one fact for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsdoc.looks.postgresql_behind import FRESH, NO_WINDOW, behind
from opsdoc.looks.postgresql_disk import Free
from opsdoc.looks.postgresql_link import Seen, error, moved, silence, state
from opsdoc.looks.postgresql_pairs import Server, called, links, top_of
from opsdoc.looks.postgresql_sides import Slot
from opsdoc.looks.postgresql_sides import look as read
from opsdoc.looks.postgresql_statements import FIRST, LAST
from opsdoc.looks.postgresql_watch import Watched
from opsdoc.model import Malformed, Unknown, Unseen, known
from opsdoc.parsers.lsn import gap
from opsdoc.signals.replica_lag_facts import Apply, Confidence, ReplicaLag, ReplicationSlot

__all__ = ["FIRST", "LAST", "different", "items"]

SOON_REPLAYED = 1 << 20  # bytes: what a replica has replayed by the time that anybody looks

_RECEIVER = "select pid, status, latest_end_lsn, last_msg_receipt_time, now() from pg_stat_wal_receiver"
_REPLAY = (
    "select pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), pg_is_wal_replay_paused(), "
    "now() - pg_last_xact_replay_timestamp()"
)
_REPLICAS = (
    "select application_name, client_addr, state, pg_current_wal_lsn(), sent_lsn, write_lsn, flush_lsn, replay_lsn, "
    "now() - reply_time from pg_stat_replication"
)
_SLOTS = "select slot_name, active, restart_lsn, wal_status, safe_wal_size from pg_replication_slots"


def different(watched: Sequence[Watched]) -> dict[str, Watched]:
    """Each server by the names that it was given, of which it may have several: its own, an alias, a number."""
    found: dict[str, Watched] = {}
    first: dict[object, Watched] = {}
    for one in watched:
        try:
            server = _server(one)
        except Malformed:
            server = None
        itself = server.side.itself if server is not None else None
        found[one.name] = one if itself is None else first.setdefault(itself, one)
    return found


def items(watched: Sequence[Watched], free: Free) -> Iterator[ReplicaLag | ReplicationSlot | Unseen]:
    """Each replica once, whichever side tells of it, those that were asked first; all slots; and what was not told.

    `free` is the space on the disk of the log, by server.
    """
    servers: list[Server] = []
    unseen: list[Unseen] = []
    for one in watched:
        try:
            server = _server(one)
        except Malformed as error:
            unseen.append(error.unseen(f"replication of {one.name}"))
            continue
        unseen += _refused(one)
        if server is not None:
            servers.append(server)
    yield from lags(servers)
    yield from slots(servers, free)
    yield from unseen


def lags(servers: Sequence[Server]) -> Iterator[ReplicaLag]:
    """Each replica once; `servers` are different ones."""
    made = links(servers)
    for link in made:
        top = top_of(link, made, servers)
        yield _lag(Seen(link, top, behind(link, top)), called(link, made))


def slots(servers: Sequence[Server], free: Free) -> Iterator[ReplicationSlot]:
    """All slots but temporary ones, with what each keeps."""
    for server in servers:
        for slot in server.last.slots:
            yield _slot(server, slot, free.get(server.name))


def _server(one: Watched) -> Server | None:
    """What a server said of replication; None where it said nothing."""
    looks = [told for look in one.told if (told := read(look.at, look.said)) is not None]
    return Server(one.name, looks[0] if len(looks) > 1 else None, looks[-1], one.by_hand) if looks else None


def _refused(one: Watched) -> Iterator[Unseen]:
    """The statements that a server did not answer at its last look."""
    for statement in LAST:
        error = one.told[-1].error(statement) if one.told else None
        if error is not None:
            denied = error.code == "42501"
            hint = "GRANT pg_monitor TO the role that asks" if denied else ""
            yield Unseen(f"{statement.name} of {one.name}", "denied" if denied else "unsupported", error.text, hint)


# ── replicas ─────────────────────────────────────────────────────────────────────────────────────


def _lag(seen: Seen, name: str) -> ReplicaLag:
    link, replica = seen.link, seen.replica
    side = replica.side if replica else None
    silent, expected = silence(seen)
    conflicts, conflicts_total = _conflicts(replica)
    return ReplicaLag(
        subject=name,
        replica=name,
        primary=link.upstream.name if link.upstream else replica.upstream if replica else None,
        product="postgresql",
        seconds=seen.behind.seconds,
        bytes=seen.behind.bytes,
        stage=seen.behind.stage,
        stages=seen.behind.stages,
        as_of=_as_of(seen),
        confidence=_confidence(seen),
        told_by=seen.told_by,
        ask=_ask(seen),
        link=state(seen),
        link_error=error(seen),
        link_moved=moved(seen),
        silence=silent,
        silence_expected=expected,
        apply=_apply(seen),
        applied_per_second=seen.behind.applied,
        grows=seen.behind.grows,
        delay=(side.seconds_of("recovery_min_apply_delay") or None) if side else None,
        blocked_by=side.blocked_by if side else None,
        conflicts=conflicts,
        conflicts_total=conflicts_total,
        slot_lost=seen.is_lost if link.slot else None,
        sync=link.sender.sync if link.sender else None,
        window_seconds=seen.window,
        by_hand=_by_hand(seen),
    )


def _confidence(seen: Seen) -> Confidence:
    head, sender = seen.behind.head, seen.link.sender
    if seen.replica is not None or head.confidence != "proven":
        return head.confidence
    if sender is None or isinstance(seen.behind.bytes, Unknown):
        return "one-sided"
    if seen.behind.bytes == 0:
        return "proven"  # it said that it has all that there is, whenever that was
    if seen.behind.stage == "replay":
        return "blind" if _stands(seen) else "one-sided"  # one that is late by design looks the same
    return "proven" if moved(seen) is True or (sender.heard or FRESH) < FRESH else "likely"


def _stands(seen: Seen) -> bool:
    """Whether the primary alone sees replay stand still, and not only that it was not told of the last bytes yet.

    A replica tells what it wrote at once, and what it replayed of that at its next reply, which may be 10 s later.
    """
    sender, window = seen.link.sender, seen.window
    if sender is None or window is None or known(seen.behind.applied) != 0:
        return False
    replied = sender.heard is not None and sender.heard < window
    waits = next((stage.bytes or 0 for stage in seen.behind.stages if stage.name == "replay"), 0)
    return replied or waits >= SOON_REPLAYED


def _as_of(seen: Seen) -> float | Unknown | None:
    head = seen.behind.head
    if seen.replica is not None:
        return round(head.as_of, 3) if head.end is not None or head.as_of else Unknown(head.why)
    if seen.link.sender is None:
        return None
    heard = seen.link.sender.heard
    return Unknown("PostgreSQL tells it from version 12 on") if heard is None else round(max(0.0, heard), 3)


def _ask(seen: Seen) -> str | None:
    """The other side, where it was not asked."""
    link = seen.link
    if seen.replica is not None:
        return None if seen.told_by == "both" else seen.replica.upstream
    sender = link.sender or link.before
    return (sender.address if sender else None) or (f"the reader of slot {link.slot.name}" if link.slot else None)


# ── replay ───────────────────────────────────────────────────────────────────────────────────────


def _apply(seen: Seen) -> Apply | Unknown:
    waits = next((stage.bytes for stage in seen.behind.stages if stage.name == "replay"), None)
    moves = (known(seen.behind.applied) or 0.0) > 0
    if seen.replica is None:
        if moves or waits == 0:
            return "running" if moves else "idle"
        return Unknown("only the replica tells whether replay is paused, late by design or held up")
    side = seen.replica.side
    if side.paused:
        return "paused"
    if side.blocked_by is not None:
        return "locked"
    if waits and side.seconds_of("recovery_min_apply_delay") and side.waits_for in (None, "RecoveryApplyDelay"):
        return "delayed"
    return "running" if waits or moves else "idle"


def _conflicts(replica: Server | None) -> tuple[int | Unknown | None, int | None]:
    """Queries that replay cancelled, in the window and since the statistics began; the replica alone counts them."""
    if replica is None or replica.side.conflicts is None:
        return None, None
    total = replica.side.conflicts
    if replica.first is None or replica.first.side.conflicts is None:
        return Unknown(NO_WINDOW), total
    return max(0, total - replica.first.side.conflicts), total


def _by_hand(seen: Seen) -> tuple[str, ...]:
    upstream = seen.link.upstream or (seen.top if seen.top is not seen.replica else None)
    asked = [seen.replica.by_hand(statement) for statement in (_RECEIVER, _REPLAY)] if seen.replica else []
    return (*asked, *([upstream.by_hand(_REPLICAS)] if upstream else []))


# ── slots ────────────────────────────────────────────────────────────────────────────────────────


def _slot(server: Server, slot: Slot, free: int | Unknown | None) -> ReplicationSlot:
    never = slot.restart is None and slot.status != "lost"
    status: str | Unknown | None = slot.status
    if slot.status is None and not never:
        status = Unknown("PostgreSQL tells it from version 13 on")
    return ReplicationSlot(
        subject=f"{server.name} slot {slot.name}",
        slot=slot.name,
        node=server.name,
        type="logical" if slot.type == "logical" else "physical",
        active=Unknown("it is not told") if slot.active is None else slot.active,
        status=status,
        retained=gap(slot.written, slot.restart),
        safe=slot.safe,
        disk_free=free,
        by_hand=(server.by_hand(_SLOTS),),
    )
