"""What holds PostgreSQL servers: connections, open and prepared transactions, commits that wait, hot statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from opsdoc.looks.postgresql_contention_chains import lock_chains
from opsdoc.looks.postgresql_contention_hot import hot_statements, spent_on_us
from opsdoc.looks.postgresql_contention_sql import CLIENTS, FIRST, LAST, NODE, PREPARED, TRANSACTIONS
from opsdoc.looks.postgresql_watch import Look, Watched
from opsdoc.model import Observation, Total, Unknown, Unseen
from opsdoc.signals.contention_facts import Client, DbNode, OpenTransaction, PreparedTransaction
from opsdoc.signals.db_words import who

__all__ = ["FIRST", "LAST", "items"]

FULL = "53300"  # too_many_connections
DENIED = "42501"  # insufficient_privilege
GID = 200  # characters of the global id of a prepared transaction, which has as many bytes at most
_UNTOLD = "connections max_connections active idle_in_transaction role read_only waiting commit_waits replicas".split()
_SESSIONS = """select pid, usename, application_name, state, now() - xact_start as open, pg_blocking_pids(pid)
from pg_stat_activity where state <> 'idle' order by xact_start"""
_OF_SESSION = "select * from pg_stat_activity where pid = "


def items(watched: Sequence[Watched], rows: int, writer: str | None = None) -> Iterator[Observation | Unseen | Total]:
    """Servers, then what holds each, and the `rows` hottest statements of each. What is judged is never cut.

    `writer` is the address of the server that is meant to take writes. Each server is there, also one that is dead.
    """
    for one in watched:
        node = _node(one) if one.told else _closed(one)
        if one.told and one.is_dead and one.error is not None:  # it went away within the window
            node = node.replaced(reachable=False, why=one.error.detail)
        yield node.replaced(claimed="primary" if one.name == writer else None)
    for one in watched:
        if one.told:
            yield from lock_chains(one)
            yield from _transactions(one)
            yield from _prepared(one)
            yield from hot_statements(one, rows)
    for one in watched:
        if one.error is not None:
            yield one.error.unseen(one.name)
        elif one.told:
            yield from _refused(one)


def _refused(one: Watched) -> Iterator[Unseen]:
    """The statements that a server did not answer at its last look."""
    look = one.told[-1]
    for statement in LAST:
        error = look.error(statement)
        if error is not None and statement is not NODE:  # without that one the server itself is unknown
            reason = "denied" if error.code == DENIED else "timeout" if error.code == "57014" else "unsupported"
            yield Unseen(f"{statement.name} of {one.name}", reason, error.text, _grant(one))  # type: ignore[arg-type]


# ── the server ───────────────────────────────────────────────────────────────────────────────────


def _node(one: Watched) -> DbNode:
    look, session, spent = one.told[-1], one.session, spent_on_us(one)
    row = look.row(NODE)
    base: dict[str, Any] = {
        "subject": one.name,
        "node": one.name,
        "version": session.version if session else None,
        "own_statements": session.statements if session else None,
        "own_seconds": spent if spent is not None else session.seconds if session else None,
        "own_seconds_by": "server" if spent is not None else "our clock" if session else None,
        "by_hand": (one.by_hand(_SESSIONS),),
    }
    if row is None:
        error = look.error(NODE)
        return DbNode(**base, **_untold(error.text if error else "it did not say"))
    sees_all = bool(row["sees_all"])
    hidden = Unknown("other users' sessions are not shown to us")
    standby = bool(row["standby"])
    return DbNode(
        **base,
        connections=row["connections"],
        max_connections=row["max_connections"],
        reserved=row["reserved"],
        active=row["active"] if sees_all else hidden,
        idle_in_transaction=row["idle_in_transaction"] if sees_all else hidden,
        waiting=row["waiting"] if sees_all else hidden,
        commit_waits=row["commit_waits"] if sees_all else hidden,
        commit_wait_seconds=row["commit_wait_seconds"] if sees_all else None,
        commit_waits_for=row["commit_waits_for"],
        role="replica" if standby else "primary",
        read_only=standby or bool(session and session.read_only),
        uptime=row["uptime"],
        replicas=row["replicas"],
        deadlocks=_deadlocks(one),
        xid_age=row["xid_age"],
        clients=_clients(look),
        sees_all=sees_all,
        grant="" if sees_all else _grant(one),
        window_seconds=_window(one),
    )


def _closed(one: Watched) -> DbNode:
    """A server that let us in at neither end: full, starting, or dead; as its machine shows it, where that is ours."""
    refused = one.refused
    why = refused.text if refused else one.error.detail if one.error else "it was not asked"
    known: dict[str, Any] = {"reachable": False, "why": why, "full": bool(refused and refused.code == FULL)}
    if one.outside is not None:
        if refused and not known["full"]:  # before it is up, its processes do not tell what it will be
            known["role"] = Unknown(why)
        return one.outside.replaced(**known)
    return DbNode(subject=one.name, node=one.name, **known, **_untold(why), by_hand=(one.by_hand(_SESSIONS),))


def _untold(why: str) -> dict[str, Any]:
    return dict.fromkeys(_UNTOLD, Unknown(why))


def _clients(look: Look) -> tuple[Client, ...]:
    return tuple(
        Client(who(row["user"] or "", row["application"] or ""), row["connections"], row["state"] or "")
        for row in look.rows(CLIENTS) or ()
    )


def _deadlocks(one: Watched) -> int | Unknown:
    """Those of the window; after a reset of the statistics, all that were counted since."""
    looks = [row["deadlocks"] or 0 for look in one.told if (row := look.row(NODE)) is not None]
    if len(looks) < 2:
        return Unknown("it takes a window to see deadlocks")
    return int(looks[-1] - looks[0] if looks[-1] >= looks[0] else looks[-1])


def _window(one: Watched) -> float | None:
    return round(one.told[-1].at - one.told[0].at, 3) if len(one.told) > 1 else None


def _grant(one: Watched) -> str:
    """What lets our role see what others do."""
    row = one.told[-1].row(NODE)
    return f"GRANT pg_monitor TO {row['role']}" if row else "GRANT pg_monitor TO the role that asks"


# ── transactions ─────────────────────────────────────────────────────────────────────────────────


def _transactions(one: Watched) -> Iterator[OpenTransaction]:
    for row in one.told[-1].rows(TRANSACTIONS) or ():
        yield OpenTransaction(
            subject=f"{one.name} session {row['pid']}",
            node=one.name,
            session=row["pid"],
            open=row["open"],
            idle=row["idle"],
            state=row["state"] or "",
            user=row["user"] or "",
            application=row["application"] or "",
            client=row["client"] or "",
            statement=row["query"] or "",
            locks=row["locks"],
            holds_back=row["holds_back"],
            end=one.by_hand(f"select pg_terminate_backend({row['pid']})"),
            by_hand=(one.by_hand(_OF_SESSION + str(row["pid"])),),
        )


def _prepared(one: Watched) -> Iterator[PreparedTransaction]:
    for row in one.told[-1].rows(PREPARED) or ():
        gid, database = str(row["gid"])[:GID], row["database"] or ""
        pasted = gid.isprintable() and "  " not in gid  # else it does not survive a command line
        ends = [one.by_hand(f"{what} prepared {row['quoted']}", database) for what in ("commit", "rollback")]
        yield PreparedTransaction(
            subject=f"{one.name} prepared {gid}",
            node=one.name,
            gid=gid,
            age=row["age"],
            owner=row["owner"],
            database=database or None,
            locks=tuple(row["locks"]),
            holds_back=row["holds_back"],
            end=tuple(ends) if pasted else (),
            by_hand=(one.by_hand("select * from pg_prepared_xacts"),),
        )
