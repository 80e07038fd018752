"""The statements that ask a MySQL or MariaDB server who waits for whom, in the words of its version.

None of them reads a value of a row (`LOCK_DATA`). Ages are computed by the server, by its own clock.
"""

from __future__ import annotations

from opsdoc.clients.sql import Statement
from opsdoc.looks.mysql_watch import Watched

STATUS, SESSIONS, TRANSACTIONS, PREPARED, HOT = "status", "sessions", "transactions", "prepared", "hot statements"
ROW_WAITS, METADATA, METADATA_INFO = "row lock waits", "metadata locks", "metadata lock info"
HISTORY = "trx_rseg_history_len"  # the counter of innodb_metrics; MariaDB has it in its status

_STATUS = (
    "Aborted_connects Connection_errors_max_connections Connections Innodb_deadlocks Innodb_history_list_length"
    " Max_used_connections Questions Rpl_semi_sync_master_clients Rpl_semi_sync_master_status"
    " Rpl_semi_sync_master_wait_sessions Rpl_semi_sync_source_clients Rpl_semi_sync_source_status"
    " Rpl_semi_sync_source_wait_sessions Threads_connected Threads_running Uptime"
).split()
_SHOW_STATUS = "SHOW SESSION STATUS WHERE Variable_name IN ('{}')".format("', '".join(_STATUS))

_SESSIONS = """
SELECT id, user, host, db, command, state, {} AS seconds, LEFT(info, 1000) AS statement, CURRENT_USER() AS account
FROM information_schema.processlist ORDER BY command = 'Sleep', time DESC LIMIT 2000
"""
# Its times are in the zone of the machine, whatever that of the server and of our session is.
_TRANSACTIONS = """
SELECT trx_id AS trx, trx_mysql_thread_id AS session, trx_state AS state,
 TIMESTAMPDIFF(MICROSECOND, trx_started, CONVERT_TZ(NOW(6), @@time_zone, 'SYSTEM')) / 1e6 AS open_for,
 TIMESTAMPDIFF(MICROSECOND, trx_wait_started, CONVERT_TZ(NOW(6), @@time_zone, 'SYSTEM')) / 1e6 AS waits_for,
 trx_rows_locked AS locked, trx_rows_modified AS modified
FROM information_schema.innodb_trx ORDER BY trx_started LIMIT 500
"""
_HISTORY = """
SELECT t.*, NULL AS counter, NULL AS value FROM ({}) t
UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, name, count FROM information_schema.innodb_metrics
WHERE name = 'trx_rseg_history_len'
"""
_ROW_WAITS = """
SELECT 'transactions' AS kind, w.requesting_trx_id AS waiter, w.blocking_trx_id AS blocker, l.lock_mode AS mode,
 l.lock_table AS object, 'PENDING' AS status
FROM information_schema.innodb_lock_waits w JOIN information_schema.innodb_locks l ON l.lock_id = w.requested_lock_id
LIMIT 1000
"""
_ROW_WAITS_8 = """
SELECT 'transactions' AS kind, CAST(w.requesting_engine_transaction_id AS CHAR) AS waiter,
 CAST(w.blocking_engine_transaction_id AS CHAR) AS blocker, l.lock_mode AS mode,
 CONCAT_WS('.', l.object_schema, l.object_name) AS object, 'PENDING' AS status
FROM performance_schema.data_lock_waits w
JOIN performance_schema.data_locks l ON l.engine_lock_id = w.requesting_engine_lock_id
"""
_METADATA = """
SELECT 'metadata' AS kind, CAST(t.processlist_id AS CHAR) AS waiter, NULL AS blocker, m.lock_type AS mode,
 CONCAT_WS('.', m.object_type, m.object_schema, m.object_name) AS object, m.lock_status AS status
FROM performance_schema.metadata_locks m JOIN performance_schema.threads t ON t.thread_id = m.owner_thread_id
JOIN (
 SELECT DISTINCT object_type, object_schema, object_name FROM performance_schema.metadata_locks
 WHERE lock_status = 'PENDING'
) p ON p.object_type = m.object_type AND p.object_schema <=> m.object_schema AND p.object_name <=> m.object_name
LIMIT 1000
"""
_METADATA_INFO = """
SELECT thread_id AS session, lock_mode AS mode, lock_type AS type, table_schema AS place, table_name AS name
FROM information_schema.metadata_lock_info LIMIT 2000
"""
_HOT = """
SELECT schema_name AS place, digest, LEFT(digest_text, 1000) AS statement, count_star AS calls,
 sum_timer_wait / 1e12 AS seconds, TIMESTAMPDIFF(MICROSECOND, first_seen, NOW(6)) / 1e6 AS known_for
FROM performance_schema.events_statements_summary_by_digest
WHERE digest IS NOT NULL{} ORDER BY sum_timer_wait DESC LIMIT 300
"""
# What our own session took, as the server counts it, in the same columns; the statement itself is not over yet, but has
# taken from NOW to SYSDATE. Without an index it is looked for among all threads, at a tenth of a millisecond for each:
# there may not be many.
_OURS = """
({}) UNION ALL SELECT NULL, NULL, NULL, CAST(SUM(e.count_star) AS UNSIGNED),
 SUM(e.sum_timer_wait) / 1e12 + TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6)) / 1e6, NULL
FROM performance_schema.threads t STRAIGHT_JOIN performance_schema.events_statements_summary_by_thread_by_event_name e
 ON e.thread_id = t.thread_id
WHERE t.processlist_id = CONNECTION_ID(){}
"""
_FEW_THREADS = " AND (SELECT COUNT(*) FROM performance_schema.threads) < 200"
_LATELY = " AND last_seen >= NOW() - INTERVAL 1 MINUTE"


def first(watched: Watched) -> tuple[Statement, ...]:
    """What is asked at the beginning of the window: what is only known as a difference.

    The deadlocks of MySQL would take a statement of their own, of which there are few.
    """
    counted = (Statement(STATUS, _SHOW_STATUS),) if watched.mariadb else ()
    return (*counted, *_hot(watched, _LATELY))


def last(watched: Watched) -> tuple[Statement, ...]:
    """What is asked at its end; without a window the hot statements are those of all time."""
    return (
        Statement(STATUS, _SHOW_STATUS),
        Statement(SESSIONS, _SESSIONS.format("time_ms / 1000" if watched.mariadb else "time")),
        Statement(TRANSACTIONS, _TRANSACTIONS if watched.mariadb else _HISTORY.format(_TRANSACTIONS)),
        *_locks(watched),
        Statement(PREPARED, "XA RECOVER FORMAT='SQL'" if watched.mariadb else "XA RECOVER CONVERT XID"),
        *_hot(watched, _LATELY if watched.looks else "", ours=True),
    )


def _locks(watched: Watched) -> tuple[Statement, ...]:
    measured = watched.is_on("performance_schema")
    if not watched.mariadb and watched.version >= (8,):
        return (Statement(ROW_WAITS, f"({_ROW_WAITS_8} LIMIT 1000) UNION ALL ({_METADATA})"),) if measured else ()
    return (
        Statement(ROW_WAITS, _ROW_WAITS),
        *((Statement(METADATA, _METADATA),) if measured else ()),
        *((Statement(METADATA_INFO, _METADATA_INFO),) if watched.mariadb else ()),
    )


def _hot(watched: Watched, lately: str, *, ours: bool = False) -> tuple[Statement, ...]:
    if not watched.is_on("performance_schema"):
        return ()
    text = _HOT.format(lately)
    has_index = not watched.mariadb and watched.version >= (8,)
    return (Statement(HOT, _OURS.format(text, "" if has_index else _FEW_THREADS) if ours else text),)
