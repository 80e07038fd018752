"""What holds MySQL servers, from answers: MySQL 8.0 and 5.7, whose answers were written by their documentation.

MySQL itself is not run by any test: the rows here are in the form of the reference manual (sections 26.4, 27.12.13 and
13.3.8). MariaDB is asked for real in tests/e2e/test_db_mysql_contention.py.
"""

from __future__ import annotations

import pytest

from opsdoc.clients.mysql import SESSION
from opsdoc.clients.mysql_target import Target
from opsdoc.clients.sql import Refusal, Said
from opsdoc.looks import mysql_contention, mysql_contention_sql, mysql_statements
from opsdoc.looks.mysql_contention_sql import HOT, PREPARED, ROW_WAITS, SESSIONS, STATUS, TRANSACTIONS
from opsdoc.looks.mysql_watch import Look, Watched
from opsdoc.model import Unknown, Unseen
from opsdoc.parsers.my_cnf import client_options
from opsdoc.signals.contention_facts import DbNode, HotStatement, LockChain, OpenTransaction, PreparedTransaction

MYSQL_8 = {
    "version": "8.0.36",
    "version_comment": "MySQL Community Server - GPL",
    "performance_schema": "ON",
    "max_connections": "151",
    "read_only": "OFF",
    "super_read_only": "OFF",
    "rpl_semi_sync_source_enabled": "ON",
    "rpl_semi_sync_source_wait_for_replica_count": "1",
}
OURS = {"id": 99, "version": "8.0.36", "statements": 11, "seconds": 0.02}


def session(number, command="Query", state="", seconds=5, statement=None, user="app"):
    return {
        "id": number,
        "user": user,
        "host": "10.0.0.7:41234",
        "db": "shop",
        "command": command,
        "state": state,
        "seconds": seconds,
        "statement": statement,
        "account": "monitor@10.0.0.%",
    }


def trx(number, thread, open_for=12.0, waits_for=None, state="RUNNING"):
    return {
        "trx": str(number),
        "session": thread,
        "state": state,
        "open_for": open_for,
        "waits_for": waits_for,
        "locked": 3,
        "modified": 1,
        "counter": None,
        "value": None,
    }


def counter(name, value):
    return {**dict.fromkeys(trx(1, 1)), "counter": name, "value": value}


def wait(kind, waiter, blocker, mode, object_, status):
    return {
        "kind": kind, "waiter": waiter, "blocker": blocker, "mode": mode, "object": object_, "status": status
    }  # fmt: skip


def status(**values):
    return [{"Variable_name": name, "Value": str(value)} for name, value in values.items()]


def digest(calls, seconds, text="SELECT * FROM `orders` WHERE `id` = ?", known_for=9000.0, name="d1"):
    return {
        "place": "shop", "digest": name, "statement": text, "calls": calls, "seconds": seconds, "known_for": known_for
    }  # fmt: skip


def watched(rows, errors=None, before=None, settings=MYSQL_8):
    one = Watched(Target.of("mysql://monitor@db1:3306/"), dict(settings))
    if before is not None:
        one.looks.append(Look(1.0, Said({SESSION: [OURS], **before}, {})))
    one.looks.append(Look(3.0, Said({SESSION: [OURS], **rows}, errors or {})))
    return one


def seen(one, kind):
    return [item for item in mysql_contention.items([one], 5) if isinstance(item, kind)]


CHAIN = {
    STATUS: status(Threads_connected=5, Threads_running=4, Uptime=1000, Connection_errors_max_connections=2),
    SESSIONS: [
        session(99, state="executing", user="monitor"),
        session(7, "Sleep", seconds=10),
        session(8, state="updating", statement="update orders set a = ?", seconds=9),
        session(9, state="Waiting for table metadata lock", statement="alter table orders add column b int", seconds=8),
        session(10, state="Waiting for table metadata lock", statement="select * from orders", seconds=2),
    ],
    TRANSACTIONS: [
        trx(421, 7),
        trx(422, 8, waits_for=9.0, state="LOCK WAIT"),
        counter("trx_rseg_history_len", 60_000),
    ],
    ROW_WAITS: [
        wait("transactions", "422", "421", "X,REC_NOT_GAP", "shop.orders", "PENDING"),
        wait("metadata", "7", None, "SHARED_WRITE", "TABLE.shop.orders", "GRANTED"),
        wait("metadata", "8", None, "SHARED_WRITE", "TABLE.shop.orders", "GRANTED"),
        wait("metadata", "9", None, "SHARED_UPGRADABLE", "TABLE.shop.orders", "GRANTED"),
        wait("metadata", "9", None, "EXCLUSIVE", "TABLE.shop.orders", "PENDING"),
        wait("metadata", "10", None, "SHARED_READ", "TABLE.shop.orders", "PENDING"),
    ],
    PREPARED: [],
    HOT: [],
}


def test_a_lock_chain_of_mysql_8():
    (chain,) = seen(watched(CHAIN), LockChain)
    assert (chain.product, chain.root, chain.root_state, chain.waiting) == ("mysql", 7, "idle in transaction", 3)
    assert [(one.session, one.depth, one.blocked_by) for one in chain.sessions] == [
        (7, 0, ()),
        (8, 1, (7,)),
        (9, 2, (7, 8)),
        (10, 3, (9,)),
    ]
    assert [one.session for one in chain.amplifiers] == [9]
    assert chain.object == "shop.orders"
    assert (chain.longest, chain.root_open) == (9.0, 12.0)
    assert chain.end_root == "mysql -h db1 -P 3306 -u monitor -p -e 'KILL 7'"


def test_a_server_of_mysql_8():
    (node,) = seen(watched(CHAIN, before={}), DbNode)
    assert (node.connections, node.max_connections, node.running, node.rejected_total) == (5, 151, 4, 2)
    assert (node.waiting, node.idle_in_transaction, node.active) == (3, 1, 3)
    assert node.history_length == 60_000
    assert isinstance(node.deadlocks, Unknown)
    assert (node.own_statements, node.window_seconds) == (11, 2.0)
    assert node.commit_waits_for is not None
    assert node.clients[0].client == "app (10.0.0.7)"
    (opened, waiting) = seen(watched(CHAIN), OpenTransaction)
    assert (opened.session, opened.idle, opened.changed, waiting.session) == (7, 10.0, 1, 8)


@pytest.mark.parametrize(
    ("calls", "seconds", "by"), [(10, 0.007, "server"), (None, 0.02, "our clock"), (3, 0.02, "our clock")]
)
def test_what_our_session_took(calls, seconds, by):
    ours = {**dict.fromkeys(("place", "digest", "statement", "known_for")), "calls": calls, "seconds": 0.007}
    one = watched({**CHAIN, HOT: [ours]})
    (node,) = seen(one, DbNode)
    assert (node.own_seconds, node.own_seconds_by) == (seconds, by)
    assert not list(seen(one, HotStatement))


def test_commits_that_wait_for_a_replica():
    rows = {
        STATUS: status(Threads_connected=5, Rpl_semi_sync_source_wait_sessions=2, Rpl_semi_sync_source_clients=0),
        SESSIONS: [session(n, state="Waiting for semi-sync ACK from replica", seconds=n) for n in (3, 4)],
    }
    (node,) = seen(watched(rows), DbNode)
    assert (node.commit_waits, node.commit_wait_seconds) == (2, 4.0)
    assert node.commit_waits_for == "1 semi-synchronous, of 0 connected"


@pytest.mark.parametrize(
    ("row", "gid"),
    [
        ({"formatID": 1, "gtrid_length": 8, "bqual_length": 0, "data": "0x6f726465722d3137"}, "'order-17'"),
        ({"formatID": 1, "gtrid_length": 2, "bqual_length": 2, "data": "0x61626364"}, "'ab','cd'"),
        ({"formatID": 7, "gtrid_length": 2, "bqual_length": 0, "data": "0x6162"}, "'ab','',7"),
        ({"formatID": 1, "gtrid_length": 2, "bqual_length": 0, "data": "0x27ff"}, "X'27ff'"),
        ({"formatID": 1, "gtrid_length": 9, "bqual_length": 0, "data": "0x6"}, "X'6'"),
    ],
)
def test_the_ids_of_prepared_transactions(row, gid):
    rows = {TRANSACTIONS: [trx(421, 0, open_for=400.0)], PREPARED: [row], SESSIONS: []}
    (prepared,) = seen(watched(rows), PreparedTransaction)
    assert (prepared.gid, prepared.age, prepared.locks) == (gid, 400.0, ("3 rows",))
    assert prepared.end[1].count(f"XA ROLLBACK {gid}") == 1


def test_what_may_not_be_asked_is_unknown_with_the_grant_for_it():
    denied = Refusal("1227", "Access denied; you need (at least one of) the PROCESS privilege(s) for this operation")
    no_table = Refusal("1142", "SELECT command denied to user 'monitor'@'10.0.0.1' for table 'data_lock_waits'")
    no_xa = Refusal("1401", "XAER_RMERR: Fatal error occurred in the transaction branch")
    errors = {TRANSACTIONS: denied, ROW_WAITS: no_table, PREPARED: no_xa}
    one = watched({STATUS: status(Threads_connected=1), SESSIONS: [session(99)]}, errors)
    (node,) = seen(one, DbNode)
    assert not node.sees_all
    assert isinstance(node.waiting, Unknown)
    assert node.grant == "GRANT PROCESS, REPLICATION CLIENT ON *.* TO 'monitor'@'10.0.0.%'"
    hints = {item.hint for item in seen(one, Unseen)}
    assert "GRANT SELECT ON performance_schema.* TO 'monitor'@'10.0.0.%'" in hints
    assert "GRANT XA_RECOVER_ADMIN ON *.* TO 'monitor'@'10.0.0.%'" in hints


def test_what_was_never_asked_is_not_0():
    (node,) = seen(watched({}), DbNode)
    unknown = (node.connections, node.waiting, node.active, node.commit_waits, node.replicas, node.history_length)
    assert all(isinstance(value, Unknown) for value in unknown)


def test_hot_statements_of_the_window():
    before = {HOT: [digest(100, 50.0), digest(10, 1.0, "SELECT 1", name="d2")]}
    rows = {
        HOT: [
            digest(160, 53.0),
            digest(10, 1.0, "SELECT 1", name="d2"),
            digest(5, 1.0, "INSERT INTO `new` VALUES (...)", known_for=1.0, name="d3"),
            digest(9_000, 90.0, "SELECT 2", name="d4"),  # was not among those looked at before
            digest(1, 0.5, "SELECT * FROM `performance_schema` . `data_locks`", known_for=1.0, name="d5"),  # ours
        ]
    }
    first, second = seen(watched(rows, before=before), HotStatement)
    assert (first.calls, first.seconds, first.mean, first.share) == (60, 3.0, 0.05, 0.75)
    assert (second.calls, second.lifetime) == (5, False)
    assert seen(watched({HOT: [digest(160, 53.0)]}), HotStatement)[0].lifetime is True


@pytest.mark.parametrize(
    ("settings", "product", "version", "asked"),
    [
        (MYSQL_8, "mysql", (8, 0, 36), "performance_schema.data_lock_waits"),
        ({**MYSQL_8, "version": "5.7.44-log"}, "mysql", (5, 7, 44), "information_schema.innodb_lock_waits"),
        ({"version": "10.11.6-MariaDB-log"}, "mariadb", (10, 11, 6), "information_schema.metadata_lock_info"),
        ({"version": "5.5.5-10.5.8-MariaDB"}, "mariadb", (10, 5, 8), "time_ms"),
        ({"version": "8.4.0"}, "mysql", (8, 4, 0), "XA RECOVER CONVERT XID"),
    ],
)
def test_statements_are_in_the_words_of_the_version(settings, product, version, asked):
    one = watched({}, settings=settings)
    assert (one.product, one.version) == (product, version)
    said = " ".join(statement.sql for statement in mysql_contention_sql.last(one))
    assert asked in said
    assert "LOCK_DATA" not in said.upper()


def test_without_performance_schema_row_locks_of_mysql_8_are_not_seen():
    one = watched(CHAIN, settings={**MYSQL_8, "performance_schema": "OFF"})
    names = [statement.name for statement in mysql_contention_sql.last(one)]
    assert ROW_WAITS not in names
    assert any("performance_schema" in item.detail for item in seen(one, Unseen))


def test_option_files():
    text = """
!includedir /etc/mysql
[mysqld]
user = mysql
[client]
user = "watcher"   # who
password='a#b\\sc'
ssl_ca = ~/ca.pem # where
port=3307
[client-mariadb]
port=3308
"""
    told = {"user": "watcher", "password": "a#b c", "ssl-ca": "~/ca.pem", "port": "3308"}
    assert client_options(text) == told


@pytest.mark.parametrize("version", ["5.7.44", "8.0.36", "8.4.0", "10.5.8-MariaDB", "11.4.2-MariaDB"])
def test_few_statements_are_asked_of_any_server(version):
    one = watched({}, settings={**MYSQL_8, "version": version})
    one.looks.clear()
    asked = [*mysql_contention_sql.first(one), *mysql_statements.first(one.version, "shop", mariadb=one.mariadb)]
    one.looks.append(Look(1.0, Said({}, {})))
    asked += [*mysql_contention_sql.last(one), *mysql_statements.last(one.version, "shop", mariadb=one.mariadb)]
    before = 3  # the settings of our session and of the server, and where a table of heartbeats is
    assert before + len(asked) <= 20, [statement.name for statement in asked]
