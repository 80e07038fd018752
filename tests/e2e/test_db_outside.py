"""Databases of this machine that let nobody in: real servers, all connections used, counted without asking them."""

from __future__ import annotations

import contextlib
import os
import time

import psycopg
import pymysql
import pytest
from servers import mariadb, postgresql
from servers.programs import wait_until

from opsdoc.clients import Live
from opsdoc.host import LiveHost
from opsdoc.looks.db_outside import seen_from_outside
from opsdoc.model import Unknown
from opsdoc.redact import Redactor

FULL = 10
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="who holds the sockets of others is seen by root only")


@pytest.fixture
def host():
    live = Live(time.monotonic() + 60, Redactor())
    yield LiveHost(live, "2026-01-01T00:00:00+00:00")
    live.stop()


@pytest.fixture(scope="module")
def full_postgresql():
    """All connections used: idle, idle in a transaction, at work, waiting for a lock, one by the unix socket."""
    with contextlib.ExitStack() as ended, postgresql.server(max_connections=FULL, cluster_name="main") as one:
        one.sql("create table t (a int)", "create database shop")
        sessions = [one.connect() for _ in range(4)]
        sessions += [one.connect(user=postgresql.APP, dbname="shop") for _ in range(2)]
        sessions += [one.connect(host=str(one.folder))]
        for session in sessions:
            ended.callback(session.close)
        for session in sessions[3:]:
            session.autocommit()
        sessions[0].run("lock table t")
        sessions[1].start("lock table t").waits()
        sessions[2].start("select pg_sleep(60)").waits("PgSleep")
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                session = one.connect()
                session.autocommit()
                sessions.append(session)
                ended.callback(session.close)
        assert len(sessions) == FULL
        yield one


@pytest.fixture(scope="module")
def full_mariadb():
    with mariadb.server(f"--max-connections={FULL}") as one:
        sessions = []
        with contextlib.suppress(pymysql.err.OperationalError):
            while True:
                sessions.append(one.session())
        yield one, len(sessions)


def test_a_full_postgresql_is_counted_by_the_titles_of_its_processes(host, full_postgresql):
    with pytest.raises(psycopg.OperationalError, match="too many clients"):
        full_postgresql.connect(user=postgresql.APP)
    node = wait_until(lambda: counted(host, full_postgresql.address, FULL), "the refused one to be gone")
    assert (node.counted_by, node.reachable, node.name) == ("operating system", False, full_postgresql.address)
    assert (node.idle_in_transaction, node.active, node.waiting) == (1, 2, 1)
    assert (node.role, node.replicas) == ("primary", 0)
    by_state = {(one.client, one.state): one.connections for one in node.clients}
    assert by_state["postgres postgres from 127.0.0.1", "idle in transaction"] == 1
    assert by_state["postgres postgres from 127.0.0.1", "LOCK TABLE waiting"] == 1
    assert by_state["postgres postgres from 127.0.0.1", "SELECT"] == 1
    assert by_state["app shop from 127.0.0.1", "idle"] == 2
    assert by_state["postgres postgres from [local]", "idle"] == 1
    assert node.by_hand == (f"ps -o pid,etime,args --ppid {full_postgresql.pid}",)


def counted(host, address, number, product="postgresql"):
    node = seen_from_outside(host, address, product)
    return node if node is not None and node.connections == number else None


@as_root
def test_it_is_the_same_by_its_unix_socket_and_not_another_server(host, full_postgresql):
    address = f"unix:{full_postgresql.folder}:{full_postgresql.port}"
    with postgresql.server() as other:
        assert wait_until(lambda: counted(host, address, FULL), "all connections").name == address
        assert wait_until(lambda: counted(host, other.address, 0), "no connection of the other one").clients == ()


@as_root
def test_a_standby_is_a_replica_and_its_sender_no_connection(host, postgresql_pair):
    primary, standby = postgresql_pair.primary, postgresql_pair.standby
    with contextlib.closing(standby.connect()):
        node = wait_until(lambda: counted(host, standby.address, 1), "one connection")
    assert node.role == "replica"
    node = wait_until(lambda: counted(host, primary.address, 0), "no connection")
    assert (node.role, node.replicas) == ("primary", 1)


@as_root
def test_a_full_mariadb_is_counted_by_its_sockets(host, full_mariadb):
    one, sessions = full_mariadb
    assert sessions == FULL - 1
    node = wait_until(lambda: counted(host, one.address, FULL, "mariadb"), "all connections, one by the unix socket")
    assert isinstance(node.active, Unknown)
    by_client = {one.client: one.connections for one in node.clients}
    assert by_client == {"from 127.0.0.1": sessions, "from [local]": 1}
    assert f"sport = :{one.port}" in node.by_hand[0]


@pytest.mark.parametrize("address", ["192.0.2.7:5432", "127.0.0.1:1", "unix:/nowhere:5432", "nosuch.invalid:5432"])
@pytest.mark.parametrize("product", ["postgresql", "mysql"])
def test_what_is_not_this_machines_is_nothing(host, address, product):
    assert seen_from_outside(host, address, product) is None


def test_a_socket_of_another_program_is_no_database(host, full_mariadb):
    assert seen_from_outside(host, full_mariadb[0].address, "postgresql") is None
