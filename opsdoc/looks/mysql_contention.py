"""What holds MySQL and MariaDB servers: connections, open and prepared transactions, commits that wait, statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opsdoc.clients.mysql import SESSION
from opsdoc.clients.sql import Refusal
from opsdoc.looks import mysql_contention_sql as asked
from opsdoc.looks.mysql_contention_chains import lock_chains, without_holder
from opsdoc.looks.mysql_contention_hot import hot_statements, spent_on_us
from opsdoc.looks.mysql_contention_sql import first, last
from opsdoc.looks.mysql_sessions import IDLE, Client, Transaction, state_of, whole
from opsdoc.looks.mysql_statements import REPLICA
from opsdoc.looks.mysql_waits import Moment, moment
from opsdoc.looks.mysql_watch import Look, Watched
from opsdoc.model import Observation, Total, Unknown, Unseen
from opsdoc.signals import contention_facts as facts
from opsdoc.signals.amounts import number as words
from opsdoc.signals.contention_facts import DbNode, DbRole, OpenTransaction, PreparedTransaction
from opsdoc.signals.db_words import who

__all__ = ["first", "items", "last"]

FULL = ("1040", "1203")  # all connections are used: of the server, or of a user as the server limits each
MISSING = {"1109", "1146", "1193"}  # no such table, or setting: the server does not have it
DENIED = {"1044", "1142", "1143", "1227", "1370", "1401"}
TIMED_OUT = {"1205", "1969", "3024"}
LONG = 1.0  # seconds from which on a transaction is shown that is at work
_UNTOLD = "connections max_connections active idle_in_transaction role read_only waiting commit_waits replicas".split()
_OTHERS = Unknown("other users' sessions are not shown to us")
_SESSIONS = "show full processlist"
_OF_SESSION = "select * from information_schema.innodb_trx where trx_mysql_thread_id = "
_TRX = "select * from information_schema.innodb_trx order by trx_started"


def items(watched: Sequence[Watched], rows: int, writer: str | None = None) -> Iterator[Observation | Unseen | Total]:
    """Servers, then what holds each, and the `rows` hottest statements of each. What is judged is never cut.

    `writer` is the address of the server that is meant to take writes. Each server is there, also one that is dead.
    """
    seen = [(one, moment(one.last) if one.last is not None and one.answers else None) for one in watched]
    for one, now in seen:
        yield _node(one, now).replaced(claimed="primary" if one.name == writer else None)
    for one, now in seen:
        if now is not None:
            yield from lock_chains(one, now)
            yield from _transactions(one, now)
            yield from _prepared(one, now)
            yield from hot_statements(one, rows)
            yield from without_holder(one, now)
            yield from _refused(one)
    for one in watched:
        if one.error is not None:
            yield one.error.unseen(one.name)


def _refused(one: Watched) -> Iterator[Unseen]:
    """The statements that a server did not answer at its last look; what it does not have is no blind spot."""
    assert one.last is not None
    for statement in last(one):
        error = one.last.error(statement.name)
        if error is not None and error.code not in MISSING:
            reason = "denied" if error.code in DENIED else "timeout" if error.code in TIMED_OUT else "unsupported"
            hint = _grant(one, statement.name) if reason == "denied" else ""
            yield Unseen(f"{statement.name} of {one.name}", reason, error.text, hint)  # type: ignore[arg-type]


def _grant(one: Watched, name: str = asked.TRANSACTIONS) -> str:
    """What lets our account see what others do."""
    rows = one.last.rows(asked.SESSIONS) if one.last is not None else []
    user, _, machine = str(rows[0].get("account") if rows else one.target.login.user or "opsdoc").rpartition("@")
    account = f"'{user or machine}'@'{machine if user else '%'}'"
    if name == asked.PREPARED:
        return f"GRANT XA_RECOVER_ADMIN ON *.* TO {account}"
    if name in (asked.HOT, asked.METADATA) or (name == asked.ROW_WAITS and not one.mariadb and one.version >= (8,)):
        return f"GRANT SELECT ON performance_schema.* TO {account}"
    return f"GRANT PROCESS, {'REPLICA MONITOR' if one.mariadb else 'REPLICATION CLIENT'} ON *.* TO {account}"


# ── the server ───────────────────────────────────────────────────────────────────────────────────


def _node(one: Watched, now: Moment | None) -> DbNode:
    if one.last is None or now is None or not one.answers:
        return _closed(one)
    look, told = one.last, _status(one.last)
    session: Mapping[str, Any] = next(iter(look.rows(SESSION)), {})
    spent = spent_on_us(look, whole(session.get("statements")))
    hidden = _hidden(look)
    sees_all = hidden is not _OTHERS
    states = [state_of(client, now.transaction(client)) for client in now.clients]
    commits = [client.seconds for client in now.clients if client.waits_for_replica]
    return DbNode(
        subject=one.name,
        node=one.name,
        product=one.product,
        version=one.settings.get("version"),
        connections=_counted(told, "Threads_connected"),
        max_connections=one.number("max_connections") or Unknown("its settings were not told"),
        reserved=0,  # the one for administrators comes on top
        active=hidden or sum(_is_active(client) for client in now.clients),
        idle_in_transaction=hidden or states.count(IDLE),
        running=_counted(told, "Threads_running"),
        waiting=hidden or now.waiting,
        commit_waits=_commit_waits(told, len(commits)),
        commit_wait_seconds=max((seconds for seconds in commits if seconds is not None), default=None),
        commit_waits_for=_commit_waits_for(one, told),
        role=_role(look),
        read_only=any(map(one.is_on, ("read_only", "super_read_only", "innodb_read_only"))),
        uptime=_counted(told, "Uptime"),
        replicas=hidden or sum(client.command.startswith("Binlog Dump") for client in now.clients),
        rejected_total=_counted(told, "Connection_errors_max_connections"),
        deadlocks=_deadlocks(one),
        history_length=_history(look, told),
        own_statements=whole(session.get("statements")),
        own_seconds=session.get("seconds") if spent is None else spent,
        own_seconds_by="our clock" if spent is None else "server",
        clients=_clients(now),
        sees_all=sees_all,
        grant="" if sees_all else _grant(one),
        window_seconds=None if one.first is None else round(look.at - one.first.at, 3),
        by_hand=(one.by_hand(_SESSIONS), one.by_hand(_TRX)),
    )


def _hidden(look: Look) -> Unknown | None:
    """Why sessions and what they wait for are not known, if that is so."""
    for name in (asked.TRANSACTIONS, asked.SESSIONS):
        error = look.error(name)
        if error is not None:
            return _OTHERS if error.code in DENIED else Unknown(error.text)
    return None if asked.SESSIONS in look.said.rows else Unknown("the run ended before its sessions were asked for")


def _closed(one: Watched) -> DbNode:
    """A server that lets us in not: full, stopping, or dead; as its machine shows it, where that is ours."""
    why = one.refused.text if one.refused else one.error.detail if one.error else "it was not asked"
    known: dict[str, Any] = {"reachable": False, "why": why, "full": _is_full(one.refused)}
    if one.outside is not None:
        return one.outside.replaced(**known, by_hand=one.outside.by_hand or (one.by_hand(_SESSIONS),))
    untold: dict[str, Any] = dict.fromkeys(_UNTOLD, Unknown(why))
    return DbNode(
        subject=one.name, node=one.name, product=one.product, **known, **untold, by_hand=(one.by_hand(_SESSIONS),)
    )


def _is_full(refused: Refusal | None) -> bool:
    return refused is not None and refused.code in FULL


def _status(look: Look | None) -> dict[str, str]:
    rows = look.rows(asked.STATUS) if look is not None else []
    return {str(row.get("Variable_name")): str(row.get("Value")) for row in rows}


def _counted(told: Mapping[str, str], name: str) -> int | Unknown:
    value = whole(told.get(name))
    return Unknown(f"its status has no {name}") if value is None else value


def _is_active(client: Client) -> bool:
    return client.command in ("Query", "Execute") and not client.is_applier


def _commit_waits(told: Mapping[str, str], seen: int) -> int | Unknown:
    """Semi-synchronous replication counts those that wait; where it is not there, nobody does."""
    if not told:
        return Unknown("its status was not told")
    names = ("Rpl_semi_sync_master_wait_sessions", "Rpl_semi_sync_source_wait_sessions")
    return max(seen, *(whole(told.get(name)) or 0 for name in names))


def _commit_waits_for(one: Watched, told: Mapping[str, str]) -> str | None:
    for kind, word in (("master", "slave"), ("source", "replica")):
        if one.is_on(f"rpl_semi_sync_{kind}_enabled"):
            count = one.number(f"rpl_semi_sync_{kind}_wait_for_{word}_count") or 1
            there = whole(told.get(f"Rpl_semi_sync_{kind}_clients"))
            return f"{count} semi-synchronous, of {'an unknown number' if there is None else there} connected"
    return None


def _role(look: Look) -> DbRole | Unknown:
    """By what it follows; a server that follows nobody is a primary, also where nobody follows it."""
    rows = look.said.rows.get(REPLICA)
    if rows is None:
        error = look.error(REPLICA)
        return Unknown(error.text if error else "it was not asked what it follows")
    return "replica" if rows else "primary"


def _deadlocks(one: Watched) -> int | Unknown:
    known = [count for look in one.looks if (count := whole(_status(look).get("Innodb_deadlocks"))) is not None]
    if len(known) < 2:
        return Unknown("it takes a window to see deadlocks" if one.mariadb else "it counts deadlocks of all time only")
    return known[-1] - known[0] if known[-1] >= known[0] else known[-1]


def _history(look: Look, told: Mapping[str, str]) -> int | Unknown:
    """As MySQL has it in a table, and MariaDB in its status."""
    rows = [row for row in look.rows(asked.TRANSACTIONS) if row.get("counter") == asked.HISTORY]
    length = whole(rows[0].get("value") if rows else told.get("Innodb_history_list_length"))
    return Unknown("its counters do not tell how many old row versions there are") if length is None else length


def _clients(now: Moment) -> tuple[facts.Client, ...]:
    counts: Counter[tuple[str, str]] = Counter()
    for client in now.clients:
        if not client.is_applier and client.command != "Daemon":
            state = state_of(client, now.transaction(client))
            short = state if client.command == "Sleep" else "active"
            counts[who(client.user, client.host), short] += 1
    return tuple(facts.Client(name, count, state) for (name, state), count in counts.most_common())


# ── transactions ─────────────────────────────────────────────────────────────────────────────────


def _transactions(one: Watched, now: Moment) -> Iterator[OpenTransaction]:
    """Those of sessions that do nothing, and those that are at work for long."""
    for trx in now.transactions:
        client = now.client(trx.session)
        if trx.session <= 0 or client is None:
            continue
        idle = client.seconds if client.command == "Sleep" else None
        if idle is None and (trx.open or 0.0) < LONG:
            continue
        yield OpenTransaction(
            subject=f"{one.name} session {trx.session}",
            node=one.name,
            product=one.product,
            session=trx.session,
            open=trx.open,
            idle=idle,
            state=state_of(client, trx),
            user=client.user,
            client=client.host,
            statement=client.statement,
            locks=trx.locked,
            changed=trx.modified,
            end="" if client.is_applier else one.by_hand(f"KILL {trx.session}"),
            by_hand=(one.by_hand(f"{_OF_SESSION}{trx.session}"),),
        )


def _prepared(one: Watched, now: Moment) -> Iterator[PreparedTransaction]:
    """What XA RECOVER lists. InnoDB tells of their transactions, but not which is which, nor of one begun anew."""
    left = now.left
    mine = left[0] if len(now.prepared) == len(left) == 1 else None
    for prepared in now.prepared:
        ends = [one.by_hand(f"XA {what} {prepared.gid}") for what in ("COMMIT", "ROLLBACK")]
        yield PreparedTransaction(
            subject=f"{one.name} prepared {prepared.gid}",
            node=one.name,
            product=one.product,
            gid=prepared.gid,
            age=_age(one, now),
            locks=_locks(now, mine),
            end=tuple(ends) if prepared.gid.isprintable() else (),
            by_hand=(one.by_hand("XA RECOVER FORMAT='SQL'" if one.mariadb else "XA RECOVER CONVERT XID"),),
        )


def _age(one: Watched, now: Moment) -> float | Unknown:
    """How long the youngest of those it can be is open or, where its session is still there, idle: at least that."""
    if one.last is None or one.last.error(asked.TRANSACTIONS) is not None:
        return Unknown("innodb_trx is not shown to us")
    if len(now.left) == len(now.prepared):
        ages = [trx.open for trx in now.left]
    elif not now.left:
        ages = [client.seconds for client in now.clients if client.command == "Sleep" and now.transaction(client)]
    else:
        return Unknown(f"of {len(now.prepared)} some have a session, and innodb_trx does not tell which")
    return min((age for age in ages if age is not None), default=Unknown("innodb_trx does not tell of it"))


def _locks(now: Moment, mine: Transaction | None) -> tuple[str, ...] | Unknown:
    """The tables that others wait for it on, and how many rows it locked: which ones is in no table of MariaDB."""
    if mine is None:
        return Unknown("innodb_trx does not tell which transaction it is")
    rows = (words(mine.locked, "row"),) if mine.locked else ()
    return (*now.objects.get(mine.id, ()), *rows)
