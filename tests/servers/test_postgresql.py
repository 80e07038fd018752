"""The PostgreSQL servers of the tests: they follow, they fail as told, and all is undone."""

from __future__ import annotations

import contextlib

from servers import postgresql
from servers.postgresql import Pair
from servers.programs import wait_until


def test_a_standby_follows_and_faults_are_undone(postgresql_pair: Pair):
    primary, standby = postgresql_pair
    primary.sql("create table t as select 1 as a")
    before = standby.pid
    standby.sql("select pg_wal_replay_pause()")
    standby.reload(primary_conninfo="host=127.0.0.1 port=1 user=postgres")
    session = primary.connect()
    session.run("select 1")
    with primary.frozen("checkpointer"):
        postgresql_pair.restore()
    assert (standby.pid, standby.streams()) == (before, True)
    assert primary.value("select to_regclass('t') is null")
    assert not primary.sql("select 1 from pg_stat_activity where application_name = 'shop'")
    session.close()


def test_a_cascade_and_a_pooler(postgresql_pair: Pair):
    with postgresql.server(postgresql_pair.standby) as second:
        wait_until(second.streams, "the second standby to stream")
        with postgresql.pgbouncer(second) as port, contextlib.closing(second.connect(port=port, user="app")) as app:
            assert app.run("select pg_is_in_recovery()") == [(True,)]
