"""`opsdoc db mysql` on real servers: each way to be behind, told by the replica alone and by both sides."""

from __future__ import annotations

import contextlib
import threading

import pytest
from servers import mariadb
from servers.programs import wait_until

QUICK = ("--window", "500ms")
BEAT = 0.3  # seconds between two heartbeats of the link
LISTENING = ("--window", "1500ms")  # a link may be silent for two of them
SECRET = "secret-row-data"


@pytest.fixture
def look(opsdoc):
    """`look(server, …)`: a run on servers; what is no server is a word of the command line."""

    def run(*servers, user=mariadb.WATCHER, **options):
        words = [
            word
            for one in servers
            for word in (("--dsn", one.dsn(user)) if isinstance(one, mariadb.Mariadb) else (one,))
        ]
        window = () if "--window" in words else QUICK
        return opsdoc.json("db", "mysql", *words, *window, **options)

    return run


@pytest.fixture
def pair(mariadb_pair):
    """A primary and its replica with a table, over a link with quick heartbeats."""
    replica, primary = mariadb_pair.replica, mariadb_pair.primary
    for one in (primary, replica):
        one.sql("SET sql_log_bin = 0")
        one.sql(f"GRANT BINLOG MONITOR ON *.* TO {mariadb.WATCHER}@'%'")
        one.sql("SET sql_log_bin = 1")
    change(replica, master_heartbeat_period=BEAT)
    primary.sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(60))")
    primary.sql("INSERT INTO app.t VALUES (1, 'a')")
    mariadb_pair.in_step()
    return mariadb_pair


def change(replica, channel="", **options):
    """CHANGE MASTER, which takes numbers here."""
    said = ", ".join(f"{name} = {value}" for name, value in {"master_heartbeat_period": BEAT, **options}.items())
    replica.sql(f"STOP SLAVE '{channel}'")
    replica.sql(f"CHANGE MASTER '{channel}' TO {said}")
    replica.sql(f"START SLAVE '{channel}'")


def write(primary, rows=20):
    for _ in range(rows):
        primary.sql(f"INSERT INTO app.t (v) VALUES ('{SECRET}')")


@pytest.fixture(params=["replica alone", "both"])
def sides(request, pair):
    """Who is asked."""
    return [pair.replica] if request.param == "replica alone" else [pair.replica, pair.primary]


def lag_of(run, replica):
    (found,) = [lag for lag in run.of("replica_lag") if lag["replica"] == replica.address]
    return found


def bad(run):
    return {finding["rule"] for finding in run.findings if finding["severity"] != "ok"}


# ── the truth table: which number lies when ──────────────────────────────────────────────────────


def test_one_that_is_well(look, pair, sides):
    run = look(*sides, *LISTENING)
    lag = lag_of(run, pair.replica)
    assert bad(run) == set()
    assert (lag["seconds"], lag["bytes"], lag["link_moved"], lag["apply"]) == (0, 0, True, "idle")
    assert (lag["confidence"], lag["told_by"]) == ("proven", "both" if len(sides) == 2 else "replica")
    assert lag["primary"] == pair.primary.address
    assert lag["ask"] == (None if len(sides) == 2 else pair.primary.address)


def test_the_sql_thread_is_stopped(look, pair, sides):
    pair.replica.sql("STOP SLAVE SQL_THREAD")
    write(pair.primary)
    wait_until(lambda: str(pair.replica.slave()["Gtid_IO_Pos"]).endswith("-22"), "the replica to receive all")
    run = look(*sides)
    assert run.code == 2
    assert run.findings[0]["rule"] == "replica.sql-stopped"
    assert "20 transactions wait" in run.findings[0]["summary"]
    lag = lag_of(run, pair.replica)
    assert (lag["seconds"], lag["missing"], lag["stage"], lag["link"]) == (None, 20, "apply", "streaming")
    assert lag["bytes"] > 1000


def test_the_io_thread_is_stopped(look, pair, sides):
    pair.replica.sql("STOP SLAVE IO_THREAD")
    write(pair.primary)
    run = look(*sides)
    assert run.code == 2
    assert run.findings[0]["rule"] == "replica.io-stopped"
    lag = lag_of(run, pair.replica)
    assert (lag["link"], lag["apply"], lag["seconds"]) == ("down", "idle", None)
    if len(sides) == 2:
        assert (lag["missing"], lag["stage"], lag["confidence"]) == (20, "receive", "proven")
        assert lag["bytes"] > 1000
    else:
        assert (lag["missing"], lag["bytes"], lag["ask"]) == (None, None, pair.primary.address)


def test_one_that_is_late_by_design(look, pair, sides):
    change(pair.replica, master_delay=60)
    write(pair.primary)
    wait_until(lambda: "DELAY" in str(pair.replica.slave()["Slave_SQL_Running_State"]), "the delay")
    late = lambda: int(pair.replica.slave()["Seconds_Behind_Master"] or 0) >= 1  # noqa: E731 - it counts whole ones
    wait_until(late, "a second of it")
    run = look(*sides, *LISTENING)
    lag = lag_of(run, pair.replica)
    assert bad(run) == set()
    assert run.findings[0]["rule"] == "replica.delayed"
    assert (lag["seconds"], lag["delay"], lag["apply"]) == (0, 60, "delayed")
    assert lag["stages"][1]["seconds"] > 0


def test_a_duplicate_key_and_no_row_data_anywhere(look, pair, sides, tmp_path):
    replica = pair.replica
    replica.sql("SET sql_log_bin = 0")
    replica.sql("INSERT INTO app.t VALUES (7777, 'of the replica')")
    replica.sql("SET sql_log_bin = 1")
    pair.primary.sql(f"INSERT INTO app.t VALUES (7777, '{SECRET}')")
    wait_until(lambda: replica.slave()["Last_SQL_Errno"], "the error")
    page = tmp_path / "report.html"
    run = look(*sides, "--record", tmp_path / "case", "-o", page)
    assert run.code == 2
    assert run.findings[0]["rule"] == "replica.apply-error"
    lag = lag_of(run, replica)
    assert (lag["apply"], lag["apply_errno"]) == ("error", 1062)
    assert "Duplicate entry '?' for key 'PRIMARY'" in lag["apply_error"]
    for text in (run.stdout, page.read_text(), (tmp_path / "case/recording.json").read_text()):
        assert SECRET not in text
        assert "7777" not in text
    again = look("--replay", tmp_path / "case")
    for report in (run.report, again.report):
        report.pop("cost")
    assert run.report == again.report


def test_the_primary_is_frozen(look, pair, sides):
    with pair.primary.frozen():
        run = look(*sides, *LISTENING)
    assert run.code == 2
    found = run.finding("replica.stalled")
    assert found["severity"] == "critical"
    lag = lag_of(run, pair.replica)
    assert pair.replica.slave()["Seconds_Behind_Master"] == 0  # which is what everybody else is told
    assert (lag["seconds"], lag["bytes"], lag["link"], lag["link_moved"]) == (None, None, "streaming", False)
    assert lag["silence"] > lag["silence_expected"] == pytest.approx(2 * BEAT)


def test_a_row_lock_on_the_replica(look, pair, sides):
    reader = pair.replica.session()
    reader.sql("BEGIN", "SELECT * FROM t WHERE id = 1 FOR UPDATE")
    pair.primary.sql(f"UPDATE app.t SET v = '{SECRET}' WHERE id = 1")
    wait_until(lambda: (pair.replica.slave()["Seconds_Behind_Master"] or 0) >= 1, "the lag")
    run = look(*sides)
    found = run.finding("replica.apply-locked")
    lag = lag_of(run, pair.replica)
    assert lag["apply"] == "locked"
    assert str(reader.id) in lag["blocked_by"]
    assert str(reader.id) in found["summary"]
    assert lag["seconds"] >= 1
    assert SECRET not in run.stdout
    (chain,) = run.of("lock_chain")
    assert (chain["root"], chain["blocks_applier"]) == (reader.id, True)


# ── what else makes a number lie ─────────────────────────────────────────────────────────────────


def test_a_window_too_short_for_the_heartbeats(look, pair):
    change(pair.replica, master_heartbeat_period=30)
    pair.in_step()
    run = look(pair.replica)
    assert run.code == 3
    assert "--window 61s would tell" in run.findings[0]["summary"]
    assert lag_of(run, pair.replica)["confidence"] == "blind"
    run = look(pair.replica, pair.primary)
    lag = lag_of(run, pair.replica)
    assert bad(run) == set()
    assert (lag["seconds"], lag["confidence"]) == (0, "proven")


def test_a_window_of_0_proves_nothing_by_one_side(look, pair):
    assert look(pair.replica, "--window", "0").code == 3
    run = look(pair.replica, pair.primary, "--window", "0")
    assert run.code == 0
    assert lag_of(run, pair.replica)["seconds"] == 0


def test_one_that_cannot_connect(look, pair, sides):
    change(pair.replica, master_port=1)
    wait_until(lambda: pair.replica.slave()["Last_IO_Errno"], "the error")
    run = look(*sides)
    assert run.code == 2
    assert lag_of(run, pair.replica)["link"] == "connecting"
    assert mariadb.REPLICATOR_PASSWORD not in run.stdout


def test_a_write_on_the_replica(look, pair):
    pair.replica.sql("INSERT INTO app.t VALUES (5000, 'mine')")
    run = look(pair.replica, pair.primary)
    assert lag_of(run, pair.replica)["errant"] == 1
    assert run.finding("replica.diverged")["severity"] == "warning"


@contextlib.contextmanager
def heartbeats(primary):
    """What pt-heartbeat does, faster."""
    with contextlib.closing(primary.session()) as session:
        session.sql("CREATE TABLE heartbeat (ts VARCHAR(26) NOT NULL, server_id INT UNSIGNED PRIMARY KEY)")
        primary.sql(f"GRANT SELECT ON app.heartbeat TO {mariadb.WATCHER}@'%'")
        over = threading.Event()

        def run():
            while not over.is_set():
                now = "DATE_FORMAT(NOW(6), '%Y-%m-%dT%H:%i:%s.%f')"
                session.sql(f"REPLACE INTO heartbeat VALUES ({now}, {primary.port})")
                over.wait(0.1)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(10)


def test_a_table_of_heartbeats(look, pair):
    with heartbeats(pair.primary):
        wait_until(lambda: pair.replica.sql("SHOW TABLES IN app LIKE 'heartbeat'"), "the table")
        run = look(pair.replica)
        assert lag_of(run, pair.replica)["heartbeat_table"] < 2
        pair.replica.sql("STOP SLAVE SQL_THREAD")
        age = "SELECT TIMESTAMPDIFF(MICROSECOND, MAX(ts), NOW(6)) AS age FROM app.heartbeat"
        wait_until(lambda: int(pair.replica.sql(age)[0]["age"]) > 2_100_000, "the last row to be old")
        run = look(pair.replica, pair.primary)
        assert lag_of(run, pair.replica)["heartbeat_table"] >= 2
        assert run.findings[0]["rule"] == "replica.sql-stopped"


@pytest.fixture(scope="module")
def third():
    """A server that follows whom a test wants."""
    with mariadb.server() as made:
        yield made


@pytest.fixture
def leaf(third):
    yield third
    third.rest()


def test_a_chain_is_as_late_as_its_middle(look, pair, leaf):
    leaf.follow(pair.replica, master_heartbeat_period=BEAT)
    pair.replica.sql("STOP SLAVE SQL_THREAD")
    write(pair.primary, 3)
    alone = lag_of(look(leaf, *LISTENING), leaf)
    assert (alone["seconds"], alone["confidence"], alone["ask"]) == (0, "one-sided", pair.replica.address)
    run = look(leaf, pair.replica, pair.primary, *LISTENING)
    lag = lag_of(run, leaf)
    assert lag["seconds"] is None
    assert pair.replica.address in lag["unknown"]["seconds"]
    assert run.findings[0]["rule"] == "replica.sql-stopped"


def test_each_of_several_sources(look, pair, leaf):
    with mariadb.server("--gtid-domain-id=7") as other:
        leaf.follow(pair.primary, "near", master_heartbeat_period=BEAT)
        leaf.follow(other, "far", master_heartbeat_period=BEAT)
        leaf.sql("STOP SLAVE 'far'")
        run = look(leaf, pair.primary, *LISTENING)
    lags = {lag["channel"]: lag for lag in run.of("replica_lag")}
    assert lags["near"]["told_by"] == "both"
    assert lags["near"]["seconds"] == 0
    assert lags["far"]["link"] == "down"
    assert lags["far"]["primary"] == other.address
    assert run.finding("replica.io-stopped")["subject"] == f"{leaf.address} (far)"


def test_a_primary_alone_says_whom_to_ask(look, pair):
    run = look(pair.primary)
    assert run.code == 3
    (lag,) = run.of("replica_lag")
    assert (lag["told_by"], lag["primary"], lag["confidence"]) == ("primary", pair.primary.address, "blind")


# ── getting in ───────────────────────────────────────────────────────────────────────────────────


def test_without_the_right_to_see_it(look, pair):
    run = look(pair.replica, user=mariadb.BARE)
    assert run.code == 3
    (unseen,) = [one for one in run.report["results"][0]["unseen"] if "state of replication" in one["subject"]]
    assert unseen["hint"] == f"on {pair.replica.address}: GRANT REPLICA MONITOR ON *.* TO 'bare'@'%'"


def test_a_wrong_password_and_none_in_the_report(opsdoc, pair):
    dsn = pair.replica.dsn(password="wr0ng-passw0rd")
    run = opsdoc.json("db", "mysql", "--dsn", dsn, *QUICK)
    assert run.code == 3
    assert "does not accept user and password" in run.report["summary"]
    assert "wr0ng" not in run.stdout


def test_a_writer_that_refuses_writes(look, pair):
    run = look(pair.replica, pair.primary, "--writer", pair.primary.address)
    assert bad(run) == set()
    pair.primary.set_global("read_only", 1)
    run = look(pair.replica, "--writer", pair.primary.address)
    assert run.code == 2
    (node,) = [node for node in run.of("db_node") if node["node"] == pair.primary.address]
    assert (node["claimed"], node["read_only"]) == ("primary", True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "missing --dsn"),
        (("--dsn", "postgresql://h/"), "opsdoc db postgresql"),
        (("--dsn", "mysql://h:0/"), "port"),
        (("--dsn", "mysql://h/", "--writer", "h:x"), "bad --writer"),
    ],
)
def test_what_is_wrong_before_anything_is_asked(opsdoc, words, said):
    run = opsdoc("db", "mysql", *words)
    assert run.code == 64
    assert said in run.stderr
