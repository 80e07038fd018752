"""How far MySQL and MariaDB replicas are behind: one observation a channel, by what either side says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from opsdoc.looks.mysql_heartbeat import behind_by_table
from opsdoc.looks.mysql_late import Own, in_all, own
from opsdoc.looks.mysql_pairs import Link, Server
from opsdoc.looks.mysql_signs import Gap, Signs, gap, signs
from opsdoc.looks.mysql_statements import status
from opsdoc.model import Unknown, known
from opsdoc.parsers import gtid
from opsdoc.parsers.mysql_replication import Channel
from opsdoc.signals.contention_facts import LockChain
from opsdoc.signals.replica_lag_facts import Apply, Confidence, Product, ReplicaLag, Stage

MOST_UNASKED = 10  # replicas of one server


def lags(servers: Sequence[Server], links: Sequence[Link], chains: Sequence[LockChain] = ()) -> Iterator[ReplicaLag]:
    """Every channel of every server, and the replicas of a server of which none was asked."""
    each = own(links)
    for link in links:
        chain = next((one for one in chains if one.blocks_applier and one.node == link.replica.name), None)
        yield _lag(link, links, each, chain)
    for server in servers:
        if server.last.untold is not None and _may_follow(server):
            yield _untold(server)
        if not any(link.source is server for link in links):
            yield from _unasked(server)


def _lag(link: Link, links: Sequence[Link], each: Own, chain: LockChain | None) -> ReplicaLag:
    channel, missing, seen = link.channel, gap(link), signs(link)
    seconds = in_all(link, links, each)
    size = _bytes(missing, seen, seconds)
    apply = _apply(channel, chain)
    told = link.source is not None and missing.is_known
    return ReplicaLag(
        **_names(link),
        seconds=seconds,
        bytes=size,
        stage=_stage(missing, seconds),
        as_of=0.0 if told else _heard(seen, seconds),
        confidence=_confidence(link, missing, seen, seconds, size),
        told_by="both" if told else "replica",
        ask=None if link.source is not None else channel.primary,
        stages=(Stage("receive", missing.receive), Stage("apply", missing.apply, _applying(link, each))),
        link=channel.link or Unknown("its status does not tell of its connection"),
        link_error=channel.link_error or None,
        link_moved=seen.moved,
        silence=seen.silence,
        silence_expected=seen.expected,
        apply=apply,
        apply_error=channel.apply_error or None,
        apply_errno=channel.apply_errno,
        applied_per_second=_applied(link),
        grows=_grows(link, missing),
        delay=channel.delay,
        blocked_by=_holder(chain) if apply == "locked" else None,
        missing=_missing(link, missing, seen),
        errant=_errant(link),
        heartbeat_table=behind_by_table(link),
        window_seconds=link.elapsed,
        by_hand=_by_hand(link),
    )


def _applying(link: Link, each: Own) -> float | None:
    """How late the applier is, by design or not; a 0 that nothing proves is none."""
    late = known(each[link.replica.name, link.channel.name])
    return link.channel.behind or None if late is None else max(late, link.channel.behind or 0.0)


def _names(link: Link) -> dict[str, Any]:
    channel, replica = link.channel, link.replica
    return {
        "subject": f"{replica.name} ({channel.name})" if channel.name else replica.name,
        "replica": replica.name,
        "primary": link.primary,
        "product": _product(replica),
        "channel": channel.name or None,
    }


def _product(server: Server) -> Product:
    return "mariadb" if server.mariadb else "mysql"


# ── how sure, and how much ───────────────────────────────────────────────────────────────────────


def _confidence(link: Link, missing: Gap, seen: Signs, seconds: float | Unknown, size: int | Unknown) -> Confidence:
    """A heartbeat proves that the source had nothing more; an event does not, nor does a source that is late itself."""
    if isinstance(seconds, Unknown) and (missing.is_none or (isinstance(size, Unknown) and not missing.is_known)):
        return "blind"
    if link.source is not None and missing.is_known:
        return "proven"
    if isinstance(seconds, Unknown) or not seen.is_live:
        return "one-sided"
    if seen.moved is not True:
        return "likely"
    return "proven" if seen.rests and not _is_chained(link) else "one-sided"


def _heard(seen: Signs, seconds: float | Unknown) -> float | Unknown | None:
    """How long ago the source was heard of; where that is unknown, it is for the same reason as the rest."""
    return seconds if isinstance(seen.heard, Unknown) and isinstance(seconds, Unknown) else seen.heard


def _is_chained(link: Link) -> bool:
    """Whether what came last was written by another server than the one it came from, which is a replica itself."""
    channel, uuid = link.channel, link.times.came.partition(":")[0]
    if not link.replica.mariadb:
        return bool(uuid and channel.primary_uuid and uuid.lower() != channel.primary_uuid.lower())
    writers = gtid.mariadb_writers(channel.gtid_received)
    return bool(writers) and channel.primary_id not in writers


def _bytes(missing: Gap, seen: Signs, seconds: float | Unknown) -> int | Unknown:
    if missing.is_none:
        return 0  # what follows the last transaction is no change: a rotation, a checkpoint
    if missing.total is not None:
        return missing.total
    if missing.apply is not None and (missing.apply or missing.has_all_come or (seen.is_live and not missing.is_known)):
        return missing.apply
    if isinstance(seconds, Unknown):
        return seconds
    return Unknown("how much of the log of its source has not come it does not know")


def _missing(link: Link, missing: Gap, seen: Signs) -> int | Unknown | None:
    """Transactions: of all that the source has, or else of those that came, where more would have come."""
    if missing.missing is not None:
        return missing.missing
    queued = link.replica.last.queued(link.channel)
    return queued if queued or (queued is not None and seen.is_live) else None


def _errant(link: Link) -> int | None:
    """As it was at the first look, against the source as it is at the last, so that none is counted on its way."""
    if link.source is None:
        return None
    replica = link.replica.first or link.replica.last
    return replica.errant(link.source.last, only_source=len(replica.channels) == 1)


def _stage(missing: Gap, seconds: float | Unknown) -> str | None:
    """Before which stage most of it waits; None where nothing does, or nobody knows."""
    receive, apply = missing.receive, missing.apply or 0
    if missing.is_none:
        return None
    if receive is None:
        if missing.unreceived:
            return None  # so much is known, and not how much that is
        return "apply" if apply or (not isinstance(seconds, Unknown) and seconds > 0) else None
    if not receive and not apply:
        return None
    return "receive" if receive > apply else "apply"


def _applied(link: Link) -> float | None:
    """Bytes of log a second, where they are of one file."""
    before, now, elapsed = link.before, link.channel, link.elapsed
    if before is None or not elapsed or before.executed is None or now.executed is None:
        return None
    if before.executed.file != now.executed.file:
        return None
    return max(0, now.executed.position - before.executed.position) / elapsed


def _grows(link: Link, missing: Gap) -> float | None:
    """By what came and was not applied; None where that is not all that there is."""
    before, now, elapsed = link.before, link.channel, link.elapsed
    if before is None or not elapsed or now.link != "streaming" or missing.receive:
        return None
    was, is_now = before.backlog, now.backlog
    return None if was is None or is_now is None else (is_now - was) / elapsed


# ── what it does ─────────────────────────────────────────────────────────────────────────────────


def _apply(channel: Channel, chain: LockChain | None) -> Apply | Unknown:
    if channel.applies is None:
        return Unknown("its status does not tell of its SQL thread")
    if not channel.applies:
        return "error" if channel.apply_errno else "stopped"
    if channel.is_delaying:
        return "delayed"
    if channel.is_idle:
        return "idle"
    return "locked" if chain is not None or channel.waits_for_lock else "running"


def _holder(chain: LockChain | None) -> str | None:
    if chain is None:
        return None
    if chain.root_prepared:
        return f"the prepared transaction {chain.root_prepared}"
    return f"session {chain.root} of {chain.root_user or 'nobody known'}" + (
        f" ({chain.root_state})" if chain.root_state else ""
    )


# ── those that say nothing ───────────────────────────────────────────────────────────────────────


def _may_follow(server: Server) -> bool:
    """Whether a server that does not tell what it follows may follow something: of MariaDB everybody sees where."""
    return bool(server.last.applied) or not server.mariadb


def _untold(server: Server) -> ReplicaLag:
    why = server.last.untold
    unknown = Unknown(f"it does not tell: {why.text if why else ''}")
    return ReplicaLag(
        subject=server.name,
        replica=server.name,
        product=_product(server),
        seconds=unknown,
        bytes=unknown,
        link=unknown,
        apply=unknown,
        by_hand=(server.by_hand(status(server.version, mariadb=server.mariadb)),),
    )


def _unasked(server: Server) -> Iterator[ReplicaLag]:
    """Replicas that fetch from a server, which does not learn what they apply."""
    for client in dict.fromkeys(server.last.dumps[:MOST_UNASKED]):
        host = client.rpartition(":")[0] or client
        yield ReplicaLag(
            subject=f"replica at {client}",
            replica=f"the replica at {client}",
            primary=server.name,
            product=_product(server),
            told_by="primary",
            seconds=Unknown("a source does not learn what its replicas have applied"),
            bytes=Unknown("a source does not learn what its replicas have applied"),
            ask=f"the replica on {host}",
            link="streaming",
            by_hand=(server.by_hand("SHOW SLAVE HOSTS" if server.mariadb else "SHOW REPLICAS"),),
        )


def _by_hand(link: Link) -> tuple[str, ...]:
    replica, source = link.replica, link.source
    asked = replica.by_hand(f"{status(replica.version, mariadb=replica.mariadb)}\\G")
    if source is None:
        return (asked,)
    return asked, source.by_hand(f"SELECT {'@@gtid_binlog_pos' if source.mariadb else '@@gtid_executed'}")
