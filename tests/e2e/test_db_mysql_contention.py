"""`opsdoc db mysql` on real MariaDB servers that are held: by locks, by connections, by transactions left open."""

from __future__ import annotations

import contextlib
import threading

import pymysql
import pytest
from servers import mariadb
from servers.cli import Meanwhile
from servers.mariadb import BARE, SECURE, WATCHER
from servers.programs import wait_until

pytestmark = pytest.mark.xdist_group("mariadb")

SECRET = "hunter2hunter2"
QUICK = ("--window", "500ms")
MOST_STATEMENTS = 20  # of ours on a server in one run, as its description says
INSTRUMENT = "--performance-schema-instrument=wait/lock/metadata/sql/mdl=ON"


@pytest.fixture
def look(opsdoc):
    """`look(server, …)`: a run on servers; what is no server is a word of the command line."""

    def run(*servers, user=WATCHER, **options):
        words = [
            word
            for one in servers
            for word in (("--dsn", one.dsn(user)) if isinstance(one, mariadb.Mariadb) else (one,))
        ]
        return opsdoc.json("db", "mysql", *words, *(() if "--window" in words else QUICK), **options)

    return run


@pytest.fixture
def primary(mariadb_pair):
    """A server as it comes: it tells nobody who holds metadata locks, and measures no statements."""
    return mariadb_pair.primary


@pytest.fixture(scope="module")
def _telling():
    with mariadb.server("--plugin-load-add=metadata_lock_info") as made:
        yield made


@pytest.fixture
def telling(_telling):
    """A server with the plugin that tells who holds metadata locks."""
    yield _telling
    _telling.rest()


@pytest.fixture(scope="module")
def _measuring():
    with mariadb.server("--performance-schema=ON", INSTRUMENT, "--default-time-zone=+05:00") as made:
        yield made


@pytest.fixture
def measuring(_measuring):
    """A server that measures statements and locks, and whose clock shows another time than that of its machine."""
    yield _measuring
    _measuring.rest()


def rules(run):
    return {finding["rule"] for finding in run.findings if finding["severity"] != "ok"}


def node(run, one):
    (found,) = [node for node in run.of("db_node") if node["node"] == one.address]
    return found


def waits(one, session, state):
    """Return once a session of the server is in a state that begins so."""
    sql = f"SELECT id FROM information_schema.processlist WHERE id = {session.id} AND state LIKE '{state}%'"
    wait_until(lambda: one.sql(sql), f"session {session.id} to be {state}")


def waits_for_a_row(one, count=1):
    wait_until(lambda: int(one.status("Innodb_row_lock_current_waits")) >= count, "a wait for a row")


def hold(one):
    """Four sessions: an update that is left open, one of the same row, an ALTER TABLE, a reader."""
    root, update, alter, reader = (one.session() for _ in range(4))
    root.sql("CREATE TABLE orders (id INT PRIMARY KEY, card VARCHAR(40))")
    root.sql(f"INSERT INTO orders VALUES (1, '{SECRET}'), (2, '{SECRET}')")
    root.sql("BEGIN", f"UPDATE orders SET card = '{SECRET}-1' WHERE id = 1")
    update.wait_with(f"UPDATE orders SET card = '{SECRET}-2' WHERE id = 1")
    waits_for_a_row(one)
    alter.wait_with(f"ALTER TABLE orders ADD COLUMN note VARCHAR(40) DEFAULT '{SECRET}'")
    waits(one, alter, "Waiting for table metadata lock")
    reader.wait_with(f"SELECT * FROM orders WHERE card = '{SECRET}-3'")
    waits(one, reader, "Waiting for table metadata lock")
    return root, update, alter, reader


# ── locks ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["telling", "measuring"])
def test_a_lock_chain_of_four_names_the_root_and_the_amplifier(look, request, kind):
    one = request.getfixturevalue(kind)
    root, update, alter, reader = hold(one)
    run = look(one)
    (chain,) = run.of("lock_chain")
    assert (chain["root"], chain["waiting"], chain["object"]) == (root.id, 3, "app.orders")
    assert (chain["root_state"], chain["root_user"]) == ("idle in transaction", "app")
    assert [one["session"] for one in chain["sessions"]] == [root.id, update.id, alter.id, reader.id]
    assert [one["depth"] for one in chain["sessions"]] == [0, 1, 2, 3]
    assert [one["session"] for one in chain["sessions"] if one["amplifier"]] == [alter.id]
    assert chain["sessions"][2]["blocked_by"] == [root.id, update.id]
    assert chain["sessions"][3]["blocked_by"] == [alter.id]
    assert chain["sessions"][1]["wants"] == "row lock X"
    assert f"KILL {root.id}" in chain["end_root"]
    assert 0 <= chain["root_open"] < 60
    assert all(0 < one["waits"] < 60 for one in chain["sessions"][1:])
    assert node(run, one)["waiting"] == 3
    finding = run.finding("db.lock-chain")
    assert f"session {root.id}" in finding["summary"]
    assert f"session {alter.id}" in finding["summary"]
    assert SECRET not in run.stdout + run.stderr
    assert "WHERE card = ?" in run.stdout


def test_a_server_that_does_not_tell_who_holds_metadata_locks(look, primary):
    root, _, alter, reader = hold(primary)
    (chain,) = look(primary).of("lock_chain")
    assert chain["root"] == root.id
    assert "may hold the metadata lock" in chain["root_state"]
    assert [one["session"] for one in chain["sessions"] if one["amplifier"]] == [alter.id]
    assert chain["sessions"][-1]["session"] == reader.id


def test_nobody_is_blamed_where_nothing_tells_who_holds_a_table(look, primary):
    holder, reader = primary.session(), primary.session()
    holder.sql("CREATE TABLE parts (id INT PRIMARY KEY)", "LOCK TABLES parts WRITE")
    reader.wait_with("SELECT * FROM parts")
    waits(primary, reader, "Waiting for table metadata lock")
    run = look(primary)
    assert run.of("lock_chain") == []
    assert node(run, primary)["waiting"] == 1
    (unseen,) = [one for one in run.unseen if "metadata lock" in one["subject"]]
    assert f"session {reader.id}" in unseen["subject"]
    assert "INSTALL SONAME 'metadata_lock_info'" in unseen["hint"]


def test_a_table_that_is_locked_as_a_whole(look, telling):
    holder, reader = telling.session(), telling.session()
    holder.sql("CREATE TABLE parts (id INT PRIMARY KEY)", "LOCK TABLES parts WRITE")
    reader.wait_with("SELECT * FROM parts")
    waits(telling, reader, "Waiting for table metadata lock")
    (chain,) = look(telling).of("lock_chain")
    assert (chain["root"], chain["waiting"], chain["object"]) == (holder.id, 1, "app.parts")


def test_the_applier_of_replication_in_a_chain(look, mariadb_pair):
    primary, replica = mariadb_pair.primary, mariadb_pair.replica
    writer, local, behind = primary.session(), replica.session(user="root", database="app"), replica.session()
    writer.sql("CREATE TABLE stock (id INT PRIMARY KEY, v INT)", "INSERT INTO stock VALUES (1, 1)")
    mariadb_pair.in_step()
    local.sql("BEGIN", "SELECT * FROM stock FOR UPDATE")
    writer.sql("UPDATE stock SET v = 2")
    waits_for_a_row(replica)
    behind.wait_with("UPDATE stock SET v = 3")
    waits_for_a_row(replica, 2)
    run = look(replica)
    (chain,) = run.of("lock_chain")
    assert (chain["root"], chain["blocks_applier"], chain["root_is_applier"]) == (local.id, True, False)
    assert chain["sessions"][1]["user"] == "system user"


def test_our_session_is_done_under_an_exclusive_lock_on_the_tables(look, primary):
    holder = primary.session()
    holder.sql("CREATE TABLE heartbeat (ts VARCHAR(30), server_id INT)", "LOCK TABLES heartbeat WRITE")
    run = look(primary)
    assert node(run, primary)["reachable"] is True
    assert run.report["elapsed_seconds"] < 10


# ── transactions ─────────────────────────────────────────────────────────────────────────────────


def prepare(one, *gids):
    """Two-phase transactions whose sessions are gone."""
    one.session().sql("CREATE TABLE stock (id INT PRIMARY KEY, v INT)", "INSERT INTO stock VALUES (1, 1), (2, 2)")
    for row, gid in enumerate(gids, 1):
        session = one.session()
        session.sql(f"XA START {gid}", f"UPDATE stock SET v = 5 WHERE id = {row}", f"XA END {gid}", f"XA PREPARE {gid}")
        session.close()
    sql = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = 0"
    wait_until(lambda: one.value(sql) == len(gids), "the sessions to be gone")


def test_a_prepared_transaction_left_behind(look, primary):
    prepare(primary, "'transfer-1','branch',7")
    waiter = primary.session().wait_with("UPDATE stock SET v = 6")
    waits_for_a_row(primary)
    run = look(primary)
    (prepared,) = run.of("prepared_transaction")
    assert prepared["gid"] == "'transfer-1','branch',7"
    assert 0 <= prepared["age"] < 60
    assert prepared["locks"] == ["app.stock", "1 row"]
    assert any("XA ROLLBACK 'transfer-1','branch',7" in word for word in prepared["end"])
    (chain,) = run.of("lock_chain")
    assert (chain["root"], chain["root_prepared"]) == (0, prepared["gid"])
    assert chain["sessions"][1]["session"] == waiter.id
    assert run.finding("db.prepared")["severity"] == "critical"
    assert run.code == 2


def test_two_that_are_left_behind_are_not_taken_for_one_another(look, primary):
    prepare(primary, "'transfer-1'", "'transfer-2'")
    run = look(primary)
    assert [one["gid"] for one in run.of("prepared_transaction")] == ["'transfer-1'", "'transfer-2'"]
    for one in run.of("prepared_transaction"):
        assert 0 <= one["age"] < 60
        assert "which" in one["unknown"]["locks"]


def test_between_the_phases_nothing_is_in_doubt(look, primary):
    session = primary.session()
    session.sql("CREATE TABLE stock (id INT PRIMARY KEY)", "XA START 'now'", "INSERT INTO stock VALUES (1)")
    session.sql("XA END 'now'", "XA PREPARE 'now'")
    run = look(primary, "--limit", "contention.prepared=60:300")
    (prepared,) = run.of("prepared_transaction")
    assert prepared["age"] < 60
    assert "db.prepared" not in rules(run)


def test_idle_in_a_transaction(look, primary):
    session = primary.session()
    session.sql("CREATE TABLE orders (id INT PRIMARY KEY)", "BEGIN", "INSERT INTO orders VALUES (1)")
    run = look(primary, "--limit", "contention.idle_transaction=0:99")
    (opened,) = run.of("open_transaction")
    assert (opened["session"], opened["state"], opened["changed"]) == (session.id, "idle in transaction", 1)
    assert 0 < opened["idle"] < 60
    assert f"KILL {session.id}" in opened["end"]
    assert f"session {session.id}" in run.finding("db.idle-transaction")["summary"]
    assert node(run, primary)["idle_in_transaction"] == 1


# ── connections ──────────────────────────────────────────────────────────────────────────────────


def test_all_connections_used(look, primary):
    with contextlib.suppress(pymysql.err.OperationalError):
        while True:
            primary.session(user=BARE)
    run = look(primary)
    assert run.code == 2
    seen = node(run, primary)
    assert (seen["full"], seen["counted_by"]) == (True, "operating system")
    assert seen["connections"] >= mariadb.MAX_CONNECTIONS
    finding = run.finding("db.connections")
    assert str(seen["connections"]) in finding["summary"]
    assert "Too many connections" in finding["summary"]
    assert run.report["elapsed_seconds"] < 3


def test_nearly_all_connections_used(look, primary):
    for _ in range(mariadb.MAX_CONNECTIONS - 5):
        primary.session(user=BARE)
    run = look(primary)
    seen = node(run, primary)
    assert seen["clients"][0]["client"] == "bare (127.0.0.1)"
    assert seen["connections"] > 0.8 * mariadb.MAX_CONNECTIONS
    assert "bare" in run.finding("db.connections")["summary"]


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────


def test_the_hottest_statements_of_the_window_without_their_values(look, measuring):
    session = measuring.session()
    over = threading.Event()

    def work():
        while not over.is_set():
            session.sql(f"SELECT BENCHMARK(50000, MD5('{SECRET}'))")

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        run = look(measuring)
    finally:
        over.set()
        worker.join(30)
    hottest = run.of("statement")[0]
    assert hottest["statement"].startswith("SELECT `BENCHMARK` ( ? , `MD5` (?)")
    assert hottest["lifetime"] is False
    assert hottest["calls"] > 0
    assert hottest["share"] > 0.3
    assert not [one for one in run.of("statement") if "performance_schema" in one["statement"]]
    assert SECRET not in run.stdout


def test_without_the_statistics_of_statements_it_says_so(look, telling):
    run = look(telling)
    assert run.of("statement") == []
    assert [one for one in run.unseen if one["subject"] == f"statements of {telling.address}"]
    assert run.code == 0, run.findings


def test_deadlocks_of_the_window(look, primary):
    first, second = primary.session(), primary.session()
    first.sql("CREATE TABLE pairs (id INT PRIMARY KEY, v INT)", "INSERT INTO pairs VALUES (1, 1), (2, 2)")
    counted = int(primary.status("Innodb_deadlocks"))

    def embrace():
        for session, row in ((first, 1), (second, 2)):
            session.sql("BEGIN", f"UPDATE pairs SET v = 3 WHERE id = {row}")
        first.wait_with("UPDATE pairs SET v = 4 WHERE id = 2")
        waits_for_a_row(primary)
        second.wait_with("UPDATE pairs SET v = 4 WHERE id = 1")
        wait_until(lambda: int(primary.status("Innodb_deadlocks")) > counted, "a deadlock")

    asked = f"SELECT id FROM information_schema.processlist WHERE user = '{WATCHER}' AND command = 'Sleep'"
    meanwhile = Meanwhile(lambda _pid: primary.sql(asked), embrace)
    run = look(primary, "--window", "3s", when=meanwhile)
    assert meanwhile.done
    assert node(run, primary)["deadlocks"] in (0, 1)  # 0 where it came before the first look
    assert node(run, primary)["history_length"] is not None


def test_the_writer_is_read_only(look, primary):
    primary.set_global("read_only", 1)
    run = look(primary, "--writer", primary.address)
    assert node(run, primary)["read_only"] is True
    assert run.finding("db.read-only-writer")["severity"] == "critical"


def aborted(one):
    return [one.status(f"Aborted_{name}") for name in ("clients", "connects")]


def test_our_session_only_reads_and_is_one_of_few_statements(look, mariadb_pair, measuring):
    primary, replica = mariadb_pair.primary, mariadb_pair.replica
    for one in (primary, replica, measuring):
        one.set_global("general_log", 1)
    servers = (primary, replica, measuring)
    before = [aborted(one) for one in servers]
    run = look(*servers)
    for one in (primary, replica, measuring):
        log = (one.folder / "data" / str(one.value("SELECT @@general_log_file"))).read_text(errors="replace")
        said = [line for line in log.splitlines() if "/* opsdoc */" in line or "SET NAMES utf8mb4, SESSION" in line]
        assert 0 < len(said) <= MOST_STATEMENTS, said
        assert node(run, one)["own_statements"] == len(said)
        assert "tx_read_only = 1" in log
        assert 0 < node(run, one)["own_seconds"] < 10
        assert node(run, one)["own_seconds_by"] == ("server" if one is measuring else "our clock")
        wait_until(
            lambda one=one: not one.sql(f"SELECT 1 FROM information_schema.processlist WHERE user = '{WATCHER}'"),
            "our session to end",
        )
    assert [aborted(one) for one in servers] == before, "we said goodbye"


def test_the_time_of_ours_is_that_of_the_servers_own_statistics(look, measuring):
    sql = f"""SELECT SUM(count_star) AS calls, SUM(sum_timer_wait) / 1e12 AS seconds
        FROM performance_schema.events_statements_summary_by_user_by_event_name
        WHERE user = '{WATCHER}' AND event_name <> 'statement/com/Quit'"""
    (before,) = measuring.sql(sql)
    told = node(look(measuring), measuring)
    (now,) = measuring.sql(sql)
    assert told["own_seconds_by"] == "server"
    assert told["own_statements"] == now["calls"] - (before["calls"] or 0) <= MOST_STATEMENTS
    spent = float(now["seconds"]) - float(before["seconds"] or 0)
    assert 0 < told["own_seconds"] <= spent + 0.001 < 10


def test_a_user_that_may_see_nothing_of_others(look, primary):
    hold(primary)
    run = look(primary, user=BARE)
    assert run.code == 3
    seen = node(run, primary)
    assert (seen["sees_all"], seen["waiting"]) == (False, None)
    assert seen["grant"] == "GRANT PROCESS, REPLICA MONITOR ON *.* TO 'bare'@'%'"
    assert seen["grant"] in run.finding("db.blind")["next_step"]
    assert look(primary).finding("db.lock-chain")


def test_no_secret_in_any_output(opsdoc, telling, tmp_path):
    root, *_ = hold(telling)
    assert root
    files = [tmp_path / f"report.{suffix}" for suffix in ("html", "md", "json")]
    words = [word for file in files for word in ("-o", file)]
    dsn = telling.dsn(SECURE, password=SECRET)
    opsdoc("db", "mysql", "--dsn", dsn, *QUICK, "-vv")
    run = opsdoc("db", "mysql", "--dsn", telling.dsn(), *QUICK, *words, "--record", tmp_path / "recorded", "-vv")
    assert run.code in (1, 2), run.stderr
    kept = [file.read_text() for file in (*files, *(tmp_path / "recorded").rglob("*")) if file.is_file()]
    assert len(kept) > len(files)
    for secret in (SECRET, mariadb.WATCHER_PASSWORD):
        assert not [text for text in (run.stdout, run.stderr, *kept) if secret in text]


def test_a_recording_is_judged_alike(opsdoc, telling, tmp_path):
    hold(telling)
    run = opsdoc.json("db", "mysql", "--dsn", telling.dsn(), *QUICK, "--record", tmp_path / "case")
    again = opsdoc.json("db", "mysql", "--replay", tmp_path / "case")
    for report in (run.report, again.report):
        report.pop("cost")
    assert run.report == again.report
