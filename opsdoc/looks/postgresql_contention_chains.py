"""Who waits for whom in PostgreSQL: its sessions and prepared transactions as chains, the root first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsdoc.looks.db_chains import PREPARED as NO_SESSION
from opsdoc.looks.db_chains import Chain, Session, Wait, chains
from opsdoc.looks.postgresql_contention_sql import PREPARED, WAITS
from opsdoc.looks.postgresql_watch import Watched
from opsdoc.signals.contention_facts import LockChain

STRONGEST = "AccessExclusiveLock"  # readers wait for it, too, and so for one who waits for it: table 13.2 of the manual
_APPLIERS = ("startup", "logical replication")
_HIDDEN = "not shown to us"
_BY_HAND = """select pid, pg_blocking_pids(pid), usename, state, now() - query_start as waits, query
from pg_stat_activity where wait_event_type = 'Lock' order by query_start"""

Row = Mapping[str, Any]


def lock_chains(one: Watched) -> Iterator[LockChain]:
    """The chains of the last look, those with most waiting sessions first."""
    look = one.told[-1]
    rows = look.rows(WAITS) or []
    prepared = {-number: row for number, row in enumerate(look.rows(PREPARED) or (), 1)}
    waits = [Wait(row["pid"], _blockers(row, prepared)) for row in rows if row["blockers"]]
    sessions = [_session(row) for row in rows if row["pid"] != NO_SESSION]
    sessions += [_prepared(number, row) for number, row in prepared.items()]
    for chain in chains(waits, sessions):
        yield chain.observed(one.name, "postgresql", _end(one, chain, prepared), one.by_hand(_BY_HAND))


def _blockers(row: Row, prepared: Mapping[int, Row]) -> tuple[int, ...]:
    """Whom a session waits for. A prepared transaction, which has no process, gets a number of its own below 0."""
    found: list[int] = []
    for pid in row["blockers"]:
        found += [pid] if pid != NO_SESSION else _which(row, prepared) or [NO_SESSION]
    return tuple(dict.fromkeys(found))


def _which(row: Row, prepared: Mapping[int, Row]) -> list[int]:
    """The prepared transactions that hold what a session wants: the end of their own, or a relation."""
    mine = [number for number, one in prepared.items() if row["xid"] is not None and one["xid"] == row["xid"]]
    return mine or [number for number, one in prepared.items() if row["relation"] in one["relations"]]


def _session(row: Row) -> Session:
    kind = row["kind"] or ""
    state = row["state"] or ("" if kind == "client backend" else kind) or _HIDDEN
    return Session(
        row["pid"],
        user=row["user"] or "",
        application=row["application"] or "",
        state=state,
        wants=_wants(row),
        waits=row["waits"],
        open=row["open"],
        amplifier=row["locktype"] == "relation" and row["mode"] == STRONGEST,
        statement=row["query"] or "",
        object=row["object"],
        applier=kind.startswith(_APPLIERS),
    )


def _wants(row: Row) -> str:
    """`AccessExclusiveLock on public.orders`, `a row of public.orders`; nothing where it has all that it wants."""
    kind, what = row["locktype"], row["object"]
    if kind is None:
        return ""
    if kind in ("transactionid", "tuple"):
        return f"a row of {what}" if what else f"the end of transaction {row['xid']}"
    return f"{row['mode']} on {what}" if what else f"{row['mode']} ({kind})"


def _prepared(number: int, row: Row) -> Session:
    return Session(number, user=row["owner"] or "", state="prepared", open=row["age"], prepared=row["gid"])


def _end(one: Watched, chain: Chain, prepared: Mapping[int, Row]) -> str:
    row = prepared.get(chain.root.id)
    if row is not None:
        return one.by_hand(f"rollback prepared {row['quoted']}", row["database"] or "")
    return one.by_hand(f"select pg_terminate_backend({chain.root.id})") if chain.root.id != NO_SESSION else ""
