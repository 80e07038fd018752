"""Sessions, transactions and locks of one MySQL or MariaDB server at one moment, and the chains of those that wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from opsdoc.clients.mysql import SESSION
from opsdoc.looks import mysql_contention_sql as asked
from opsdoc.looks.db_chains import Chain, Session, Wait, chains
from opsdoc.looks.mysql_metadata_locks import STRONG, Blocked, Lock, Waiting, blocked, guessed, wanted
from opsdoc.looks.mysql_sessions import (
    Client,
    Prepared,
    Transaction,
    client_of,
    gid_of,
    mode_of,
    object_of,
    state_of,
    text_of,
    transactions_of,
    whole,
)
from opsdoc.looks.mysql_watch import Look

_MAYBE = "may hold the metadata lock (the server does not tell who does)"


class Moment(NamedTuple):
    """All of it, and what follows: who waits, in chains, and for what nobody tells the holder of."""

    clients: tuple[Client, ...]
    by_session: Mapping[int, Transaction]
    prepared: tuple[Prepared, ...]
    objects: Mapping[str, tuple[str, ...]]  # what others wait for a transaction on
    chains: tuple[Chain, ...]
    waiting: int
    without_holder: tuple[int, ...]

    @property
    def transactions(self) -> tuple[Transaction, ...]:
        """All of them, the oldest first."""
        return tuple(self.by_session.values())

    def transaction(self, client: Client) -> Transaction | None:
        """What a session has open."""
        return self.by_session.get(client.id)

    def client(self, session: int) -> Client | None:
        """The session of that id."""
        return next((client for client in self.clients if client.id == session), None)

    @property
    def left(self) -> tuple[Transaction, ...]:
        """Transactions without a session that nobody rolls back: the prepared ones."""
        return tuple(one for one in self.transactions if one.session <= 0 and "ROLLING" not in one.state)


def moment(look: Look) -> Moment:
    """What a server told at the end of the window."""
    ours = {row.get("id") for row in look.rows(SESSION)}
    clients = tuple(client_of(row) for row in look.rows(asked.SESSIONS) if row.get("id") not in ours)
    gids = sorted(gid for row in look.rows(asked.PREPARED) if (gid := gid_of(row)))
    prepared = tuple(map(Prepared, gids))
    transactions = transactions_of(look.rows(asked.TRANSACTIONS))
    by_trx = {one.id: one for one in transactions}
    rows = [row for row in look.rows(asked.ROW_WAITS) if row.get("kind") == "transactions"]
    row_waits = [(by_trx.get(text_of(row, "waiter")), by_trx.get(text_of(row, "blocker")), row) for row in rows]
    objects: dict[str, list[str]] = {}
    for _, blocker, row in row_waits:
        if blocker is not None:
            objects.setdefault(blocker.id, []).append(object_of(row))
    metadata = _metadata(look, clients, transactions)
    waits = [
        *(Wait(one.session, (other.session,)) for one, other, _ in row_waits if one and other),
        *(Wait(one.session, one.blockers) for one in metadata),
    ]
    wants = {one.session: (mode_of(row), object_of(row)) for one, _, row in row_waits if one is not None}
    told = {one.session for one in metadata if one.blockers}
    stuck = [client.id for client in clients if client.waits_for_metadata]
    return Moment(
        clients,
        {one.session: one for one in transactions},
        prepared,
        {trx: tuple(dict.fromkeys(found)) for trx, found in objects.items()},
        tuple(chains(waits, _sessions(clients, transactions, prepared, wants, metadata))),
        len({wait.session for wait in waits} | set(stuck)),
        tuple(one for one in stuck if one not in told),
    )


# ── locks ────────────────────────────────────────────────────────────────────────────────────────


def _metadata(look: Look, clients: Sequence[Client], transactions: Sequence[Transaction]) -> list[Blocked]:
    """Who waits for whom for metadata locks, by the best source that there is."""
    told = [
        row for name in (asked.METADATA, asked.ROW_WAITS) for row in look.rows(name) if row.get("kind") == "metadata"
    ]
    locks = [
        Lock(session, text_of(row, "mode").upper(), object_of(row), granted=row.get("status") == "GRANTED")
        for row in told
        if (session := whole(row.get("waiter"))) is not None
    ]
    if any(not lock.granted for lock in locks):
        return blocked(locks)
    waiting = [
        Waiting(one.id, one.statement, one.database, one.seconds or 0.0) for one in clients if one.waits_for_metadata
    ]
    held = [
        Lock(
            session,
            text_of(row, "mode").upper().removeprefix("MDL_"),
            f"{text_of(row, 'place')}.{text_of(row, 'name')}",
            granted=True,
        )
        for row in look.rows(asked.METADATA_INFO)
        if row.get("type") == "Table metadata lock" and (session := whole(row.get("session"))) is not None
    ]
    if held:
        return blocked([*held, *wanted(waiting, held)])
    opened = {one.session: one.open or 0.0 for one in transactions if one.session > 0}
    return guessed(waiting, opened, {client.id: client.database for client in clients})


def _sessions(
    clients: Sequence[Client],
    transactions: Sequence[Transaction],
    prepared: Sequence[Prepared],
    wants: Mapping[int, tuple[str, str]],
    metadata: Sequence[Blocked],
) -> list[Session]:
    """All sessions, and the transactions that have none, as chains are made of."""
    open_by = {one.session: one for one in transactions}
    blocked_by = {one.session: one for one in metadata}
    maybe = {blocker for one in metadata if one.guessed and one.mode in STRONG for blocker in one.blockers}
    left = [one for one in transactions if one.session <= 0]
    gids = " or ".join(one.gid for one in prepared)
    found = [Session(one.session, state="prepared", open=one.open, prepared=gids or one.id) for one in left]
    for client in clients:
        mine, on = open_by.get(client.id), blocked_by.get(client.id)
        want, what = wants.get(client.id, ("", ""))
        if on is not None:
            want, what = f"metadata lock {on.mode}", on.object
        state = state_of(client, mine)
        waits = _shorter(mine.waits if mine else None, client.seconds) if want else None
        found.append(
            Session(
                client.id,
                client.user,
                client.host,
                f"{state}; {_MAYBE}" if client.id in maybe else state,
                want,
                waits,
                mine.open if mine else None,
                on is not None and on.mode in STRONG,
                client.statement,
                what or None,
                client.is_applier,
            )
        )
    return found


def _shorter(first: float | None, second: float | None) -> float | None:
    """InnoDB counts from the begin of a second, the list of sessions from the begin of the statement."""
    return min((value for value in (first, second) if value is not None), default=None)
