"""`opsdoc db postgresql` on real servers that are held: by locks, by connections, by transactions left open."""

from __future__ import annotations

import contextlib
import threading
import time

import psycopg
import pytest
from servers import postgresql
from servers.cli import Meanwhile, under_way
from servers.postgresql import APP, OWNER, WATCHER
from servers.programs import wait_until

from opsdoc.clients import Live
from opsdoc.clients.postgresql import Ask, Target
from opsdoc.clients.sql import Statement, said
from opsdoc.redact import Redactor

SECRET = "hunter2hunter2"
QUICK = ("--window", "500ms")
MOST_STATEMENTS = 20  # of ours on a server in one run, as its description says


@pytest.fixture
def look(opsdoc):
    """`look(server, …)`: a run on servers, which are words of the command line where they are no servers of ours."""

    def run(*servers, user=OWNER, **options):
        words = [
            word
            for one in servers
            for word in (("--dsn", one.dsn(user)) if isinstance(one, postgresql.Postgresql) else (one,))
        ]
        return opsdoc.json("db", "postgresql", *words, *(() if "--window" in words else QUICK), **options)

    return run


@pytest.fixture
def primary(postgresql_pair):
    return postgresql_pair.primary


@pytest.fixture
def app(primary):
    """`app("orders")`: a session of an application, ended with the test."""
    with contextlib.ExitStack() as made:

        def connect(application, **parameters):
            session = primary.connect(application, **parameters)
            made.callback(session.close)
            return session

        yield connect


def rules(run):
    return {finding["rule"] for finding in run.findings if finding["severity"] != "ok"}


def node(run, one):
    (found,) = [node for node in run.of("db_node") if node["node"] == one.address]
    return found


def hold(app, primary):
    """Four sessions: an update that is left open, one of the same row, an ALTER TABLE, a reader."""
    primary.sql("create table orders (id int, card text)", f"insert into orders values (1, '{SECRET}')")
    root = app("billing")
    root.run(f"update orders set card = '{SECRET}-1' where id = 1")
    waiting = [
        app("orders").start(f"update orders set card = '{SECRET}-2' where id = 1").waits(),
        app("migration").start("alter table orders add column paid bool").waits(),
        app("shop").start(f"select * from orders where card = '{SECRET}-3'").waits(),
    ]
    return root, *waiting


# ── locks ────────────────────────────────────────────────────────────────────────────────────────


def test_a_lock_chain_of_four_names_the_root_and_the_amplifier(look, primary, app):
    root, update, alter, reader = hold(app, primary)
    run = look(primary)
    (chain,) = run.of("lock_chain")
    assert (chain["root"], chain["waiting"], chain["object"]) == (root.pid, 3, "public.orders")
    assert (chain["root_state"], chain["root_application"]) == ("idle in transaction", "billing")
    assert [one["session"] for one in chain["sessions"]] == [root.pid, update.pid, alter.pid, reader.pid]
    assert [one["depth"] for one in chain["sessions"]] == [0, 1, 2, 3]
    assert [one["session"] for one in chain["sessions"] if one["amplifier"]] == [alter.pid]
    assert chain["sessions"][3]["blocked_by"] == [alter.pid]
    assert chain["sessions"][1]["wants"] == "a row of public.orders"
    assert str(root.pid) in chain["end_root"]
    assert all(0 < one["waits"] < 60 for one in chain["sessions"][1:])
    assert node(run, primary)["waiting"] == 3
    finding = run.finding("db.lock-chain")
    assert f"session {root.pid}" in finding["summary"]
    assert f"session {alter.pid}" in finding["summary"]
    assert SECRET not in run.stdout + run.stderr
    assert "card = ?" in run.stdout


def test_others_locks_on_every_table_and_on_the_catalog_keep_nobody_waiting(look, primary, app):
    primary.sql("create table orders (id int)", "create extension pg_stat_statements")
    app("vacuum").run("lock table orders in access exclusive mode")
    app("ddl").run("lock table pg_stat_statements in access exclusive mode")
    run = look(primary)
    assert run.code in (0, 1), run.findings
    assert node(run, primary)["connections"] == 2
    assert not run.unseen, "the statistics are read without their view, which is locked"


def test_a_prepared_transaction_left_behind(look, primary, app):
    primary.sql("create table stock (id int)")
    for gid in ("transfer-1", "it's  odd"):
        session = app("coordinator")
        session.run("insert into stock values (1)")
        session.run(f"prepare transaction $${gid}$$")
    alter = app("migration").start("alter table stock add column a int").waits()
    run = look(primary)
    first, odd = run.of("prepared_transaction")
    assert (first["gid"], first["owner"], first["database"]) == ("transfer-1", OWNER, "postgres")
    assert 0 < first["age"] < 60
    assert first["locks"] == ["public.stock (RowExclusiveLock)"]
    assert [word for word in first["end"] if "rollback prepared" in word and "transfer-1" in word]
    assert (odd["gid"], odd["end"]) == ("it's  odd", [])
    (chain,) = run.of("lock_chain")
    assert (chain["root"], chain["root_state"]) == (0, "prepared")
    assert chain["root_prepared"] in ("transfer-1", "it's  odd")
    assert [one["session"] for one in chain["sessions"] if one["depth"]] == [alter.pid]
    assert "db.prepared" in rules(run)
    assert run.code == 2


def test_idle_in_a_transaction(look, primary, app):
    primary.sql("create table orders (id int)")
    session = app("billing", user=OWNER)
    session.run(f"insert into orders select 1 where 'x' <> '{SECRET}'")
    run = look(primary, "--limit", "contention.idle_transaction=0:99")
    (opened,) = run.of("open_transaction")
    assert (opened["session"], opened["application"], opened["state"]) == (
        session.pid,
        "billing",
        "idle in transaction",
    )
    assert opened["statement"] == "insert into orders select ? where ? <> ?"
    assert opened["locks"] > 0
    assert 0 < opened["idle"] <= opened["open"] < 60
    assert f"session {session.pid}" in run.finding("db.idle-transaction")["summary"]
    assert SECRET not in run.stdout


# ── connections ──────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def full(primary, **parameters):
    """All connections used, those of administrators too."""
    with contextlib.ExitStack() as made:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                made.callback(primary.connect("pool", **parameters).close)
        yield


def test_all_connections_used(look, primary):
    with full(primary):
        run = look(primary)
    assert run.code == 2
    seen = node(run, primary)
    assert seen["full"] is True
    assert seen["counted_by"] == "operating system"
    assert seen["connections"] == 30
    finding = run.finding("db.connections")
    assert "30" in finding["summary"]
    assert "postgres" in finding["summary"]
    assert "too many clients" in finding["summary"]


def test_only_the_connections_of_administrators_are_left(look, primary):
    with full(primary, user=APP):
        by_watcher, by_owner = look(primary, user=WATCHER), look(primary)
    assert by_watcher.code == by_owner.code == 2
    assert node(by_watcher, primary)["full"] is True
    seen = node(by_owner, primary)
    assert (seen["full"], seen["connections"], seen["max_connections"], seen["reserved"]) == (False, 27, 30, 3)
    assert seen["clients"] == [{"client": "app (pool)", "connections": 27, "state": "idle"}]
    assert "27 of 30" in by_owner.finding("db.connections")["summary"]


# ── what waits for replicas, and what runs ───────────────────────────────────────────────────────


def test_commits_that_wait_for_a_replica_that_is_not_there(look, postgresql_pair, app):
    primary = postgresql_pair.primary
    primary.sql("create table orders (id int)")
    primary.reload(synchronous_standby_names="nosuch")
    session = app("orders")
    session.autocommit()
    session.start("insert into orders values (1)").waits("SyncRep")
    run = look(primary, postgresql_pair.standby)
    seen = node(run, primary)
    assert (seen["commit_waits"], seen["commit_waits_for"]) == (1, "nosuch")
    assert run.finding("db.commit-waits")["severity"] == "critical"
    assert run.code == 2


def test_the_hottest_statements_of_the_window_without_their_values(look, primary, app):
    primary.sql("create extension pg_stat_statements", "select pg_stat_statements_reset()")
    session = app("report")
    session.autocommit()
    over = threading.Event()

    def work():
        while not over.is_set():
            session.run(f"select count(*) from generate_series(1, 20000) where '{SECRET}' <> 'x'")

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        run = look(primary)
    finally:
        over.set()
        worker.join(10)
    hottest = run.of("statement")[0]
    assert hottest["statement"].startswith("select count(*) from generate_series(")
    assert hottest["lifetime"] is False
    assert hottest["calls"] > 0
    assert hottest["share"] > 0.3
    assert "db.hot-statement" in {finding["rule"] for finding in run.findings}
    assert not [one for one in run.of("statement") if "opsdoc" in one["statement"] or "pg_locks" in one["statement"]]
    assert SECRET not in run.stdout


def test_without_the_statistics_of_statements_it_says_so(look, primary):
    run = look(primary)
    assert run.of("statement") == []
    (unseen,) = [one for one in run.unseen if one["subject"] == f"statements of {primary.address}"]
    assert "CREATE EXTENSION pg_stat_statements" in unseen["hint"]
    assert run.code == 0, run.findings


def test_the_writer_is_read_only(look, postgresql_pair):
    primary, standby = postgresql_pair
    run = look(primary, standby, "--writer", standby.address)
    assert run.finding("db.read-only-writer")["severity"] == "critical"
    primary.reload(default_transaction_read_only="on")
    run = look(primary, "--writer", primary.address)
    assert node(run, primary)["read_only"] is True
    assert run.finding("db.read-only-writer")["severity"] == "critical"


# ── who we are there ─────────────────────────────────────────────────────────────────────────────


def test_our_session_has_a_name_no_transaction_and_few_statements(look, postgresql_pair):
    primary, standby = postgresql_pair
    primary.reload(log_statement="all", log_line_prefix="%a|%d|")
    before = len(primary.log)
    seen = []

    sql = """select application_name, state, xact_start is null from pg_stat_activity
        where query like '/* opsdoc%' and state <> 'active' and application_name <> 'tests'"""

    def ours():
        wait_until(lambda: seen or seen.extend(primary.sql(sql)), "our session")

    run = look(primary, standby, when=Meanwhile(under_way(0.3), ours))
    assert seen == [("opsdoc", "idle", True)]
    lines = [line for line in primary.log[before:].splitlines() if line.startswith("opsdoc|")]
    said = [line for line in lines if "statement: " in line]
    assert 0 < len(said) <= MOST_STATEMENTS
    assert all("/* opsdoc */" in line for line in said)
    assert node(run, primary)["own_statements"] == len(said)
    assert 0 < node(run, primary)["own_seconds"] < 10
    assert node(run, primary)["own_seconds_by"] == "our clock"
    wait_until(
        lambda: not primary.sql("select 1 from pg_stat_activity where application_name = 'opsdoc'"),
        "our session to end",
    )


def test_the_time_of_ours_is_that_of_the_servers_own_statistics(look, primary):
    usage = f"grant usage on schema odd to {WATCHER}"
    primary.sql("create schema odd", usage, "create extension pg_stat_statements schema odd")
    ours = f"""select query, calls, total_exec_time / 1000 from odd.pg_stat_statements s
        join pg_roles r on r.oid = s.userid where query like '/* opsdoc */%' and rolname = '{WATCHER}'"""
    try:
        for window in (*QUICK[1:], "0"):
            before = {query: (calls, seconds) for query, calls, seconds in primary.sql(ours)}
            told = node(look(primary, "--window", window, user=WATCHER), primary)
            spent = {}
            for query, calls, seconds in primary.sql(ours):
                had = before.get(query, (0, 0.0))
                spent[query] = (calls - had[0], seconds - had[1])
            assert told["own_seconds_by"] == "server"
            assert told["own_statements"] == sum(calls for calls, _ in spent.values()) <= MOST_STATEMENTS
            # the first is not counted, which asks who it is, and the last of those that read the statistics is timed
            counted = [
                seconds for query, (_, seconds) in spent.items() if "version()" not in query and "xpath" not in query
            ]
            assert 0 < sum(counted) <= told["own_seconds"] + 0.001 < 10
    finally:
        primary.sql("drop schema odd cascade")


def test_what_is_asked_cannot_write_nor_wait_for_long(primary, app):
    primary.sql("create table orders (id int)")
    app("ddl").run("lock table orders in access exclusive mode")
    asked = {
        "writes": "create table t (id int)",
        "locked": "select * from orders",
        "slow": "select pg_sleep(60)",
        "hidden": "select * from only_in_public",
    }
    live = Live(deadline=time.monotonic() + 60, redactor=Redactor())
    try:
        statements = tuple(Statement(name, sql.replace("orders", "public.orders")) for name, sql in asked.items())
        told = said(Ask(Target.of(primary.dsn()), statements, within=30).answer(live))
    finally:
        live.stop(0)
    assert {name: error.code for name, error in told.errors.items()} == {
        "writes": "25006", "locked": "55P03", "slow": "57014", "hidden": "42P01",
    }  # fmt: skip


def test_a_role_that_may_see_nothing_of_others(look, primary, app):
    hold(app, primary)
    run = look(primary, user=APP)
    assert run.code == 3
    seen = node(run, primary)
    assert (seen["sees_all"], seen["grant"]) == (False, "GRANT pg_monitor TO app")
    assert (seen["waiting"], seen["commit_waits"]) == (None, None)
    assert "GRANT pg_monitor TO app" in run.finding("db.blind")["next_step"]
    assert look(primary, user=WATCHER).finding("db.lock-chain")


def test_no_secret_in_any_output(opsdoc, primary, app, tmp_path):
    primary.sql("create role shut login password 'hunter2hunter2'", "create extension pg_stat_statements")
    session = app(f"shop password={SECRET}")
    session.run(f"select '{SECRET}', $tag${SECRET}$tag$, E'\\'{SECRET}' as a /* {SECRET} */")
    files = [tmp_path / f"report.{suffix}" for suffix in ("html", "md", "json")]
    dsn = f"postgresql://postgres:{SECRET}@{primary.address}/postgres?sslpassword={SECRET}"
    words = [word for file in files for word in ("-o", file)]
    run = opsdoc("db", "postgresql", "--dsn", dsn, *QUICK, *words, "--record", tmp_path / "recorded", "-vv")
    assert run.code in (0, 1), run.stderr
    kept = [file.read_text() for file in (*files, *(tmp_path / "recorded").rglob("*")) if file.is_file()]
    assert len(kept) > len(files)
    assert not [text for text in (run.stdout, run.stderr, *kept) if SECRET in text]
    primary.sql("drop role shut")
