"""The statements that ask a MySQL or MariaDB server of replication, in the words of its version.

Ages are computed by the server, with its own clock and zone, so that none of ours is in them.
"""

from __future__ import annotations

from opsdoc.clients.sql import Statement

Version = tuple[int, ...]

SERVER, REPLICA, LINKS, APPLIERS = "replication", "replica", "links", "appliers"
BINLOGS, HEARTBEAT = "binlogs", "heartbeat"

_SERVER = """
SELECT @@global.server_id AS server_id, @@global.port AS port, @@global.log_bin AS log_bin, {}
"""
_MARIADB = """@@global.gtid_slave_pos AS applied, @@global.gtid_binlog_pos AS written,
 @@global.gtid_binlog_state AS state"""
_MYSQL = "@@global.server_uuid AS uuid, @@global.gtid_executed AS executed"

# What came last over a link, and when; 5.7 has no times of transactions.
_LINKS = """
SELECT s.CHANNEL_NAME AS channel, s.COUNT_RECEIVED_HEARTBEATS AS heartbeats, c.HEARTBEAT_INTERVAL AS period,
 TIMESTAMPDIFF(MICROSECOND, s.LAST_HEARTBEAT_TIMESTAMP, NOW(6)) / 1e6 AS heartbeat_age{}
FROM performance_schema.replication_connection_status s
JOIN performance_schema.replication_connection_configuration c ON c.CHANNEL_NAME = s.CHANNEL_NAME
"""
_QUEUED = """,
 TIMESTAMPDIFF(MICROSECOND, s.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP, NOW(6)) / 1e6 AS queued_age,
 s.LAST_QUEUED_TRANSACTION AS queued"""
_APPLIERS = """
SELECT CHANNEL_NAME AS channel, LAST_APPLIED_TRANSACTION AS applied, APPLYING_TRANSACTION AS applying,
 TIMESTAMPDIFF(MICROSECOND, LAST_APPLIED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, NOW(6)) / 1e6 AS applied_age,
 TIMESTAMPDIFF(MICROSECOND, APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, NOW(6)) / 1e6 AS applying_age
FROM performance_schema.replication_applier_status_by_worker LIMIT 1000
"""
TABLES = Statement(
    "heartbeat tables",
    """
SELECT TABLE_SCHEMA AS place FROM information_schema.COLUMNS
WHERE TABLE_NAME = 'heartbeat' AND COLUMN_NAME IN ('ts', 'server_id')
GROUP BY TABLE_SCHEMA HAVING COUNT(*) = 2 LIMIT 5
""",
)
# pt-heartbeat writes `2026-11-28T14:03:33.001230`, in its own zone or, with --utc, in UTC.
_HEARTBEAT = """
SELECT server_id, TIMESTAMPDIFF(MICROSECOND, REPLACE(ts, 'T', ' '), NOW(6)) / 1e6 AS age,
 TIMESTAMPDIFF(MICROSECOND, REPLACE(ts, 'T', ' '), UTC_TIMESTAMP(6)) / 1e6 AS age_utc
FROM {}.heartbeat ORDER BY ts DESC LIMIT 20
"""


def first(version: Version, place: str | None, *, mariadb: bool) -> tuple[Statement, ...]:
    """What is asked at the beginning of the window; `place` is the schema of a table of heartbeats, if there is one."""
    return (*_standing(version, mariadb=mariadb), *_heartbeat(place))


def last(version: Version, place: str | None, *, mariadb: bool) -> tuple[Statement, ...]:
    """What is asked at its end."""
    asked = [*first(version, place, mariadb=mariadb), Statement(BINLOGS, "SHOW BINARY LOGS")]
    if not mariadb:
        asked.append(Statement(LINKS, _LINKS.format(_QUEUED if version >= (8,) else "")))
    return tuple(asked)


def _heartbeat(place: str | None) -> tuple[Statement, ...]:
    """The rows of a table of heartbeats. The name of its schema is quoted: whoever made it chose it."""
    if place is None:
        return ()
    return (Statement(HEARTBEAT, _HEARTBEAT.format(f"`{place.replace('`', '``')}`")),)


def status(version: Version, *, mariadb: bool) -> str:
    """The statement for the state of all channels."""
    if mariadb:
        return "SHOW ALL SLAVES STATUS"
    return "SHOW REPLICA STATUS" if version >= (8, 0, 22) else "SHOW SLAVE STATUS"


def _standing(version: Version, *, mariadb: bool) -> tuple[Statement, ...]:
    asked = [
        Statement(SERVER, _SERVER.format(_MARIADB if mariadb else _MYSQL)),
        Statement(REPLICA, status(version, mariadb=mariadb)),
    ]
    if not mariadb and version >= (8,):
        asked.append(Statement(APPLIERS, _APPLIERS))
    return tuple(asked)
