"""`opsdoc db postgresql` on real servers: each way to be behind, told by the standby, by the primary and by both."""

from __future__ import annotations

import contextlib
import os

import pytest
from servers import postgresql
from servers.cli import Meanwhile
from servers.programs import wait_until

QUICK = ("--window", "500ms")
FILL = "insert into filled select n, repeat('x', 40) from generate_series(1, {}) n"


@pytest.fixture
def look(opsdoc):
    """`look(server, …)`: a run on servers; what is no server is a word of the command line."""

    def run(*servers, role="postgres", **options):
        words = [
            word
            for one in servers
            for word in (("--dsn", one.dsn(role)) if isinstance(one, postgresql.Postgresql) else (one,))
        ]
        window = () if "--window" in words else QUICK
        return opsdoc.json("db", "postgresql", *words, *window, **options)

    return run


@contextlib.contextmanager
def writing(primary):
    """A small transaction every 50 ms."""
    with contextlib.closing(primary.connect()) as session:
        session.autocommit()
        each = "insert into filled values (n, 'x'); commit; perform pg_sleep(0.05)"
        session.start(f"do $$ begin for n in 1..2000 loop {each}; end loop; end $$")
        wait_until(lambda: primary.value("select count(*) from filled"), "a first row")
        yield


def between_looks(server):
    """A condition: opsdoc has asked a server once, and lets the window pass."""
    rests = "application_name = 'opsdoc' and state = 'idle' and state_change < clock_timestamp() - interval '0.3 s'"
    return lambda _pid: server.value(f"select count(*) from pg_stat_activity where {rests}") > 0


@contextlib.contextmanager
def slot_of(server, name):
    """A slot that goes away with the block that made it."""
    yield
    drop = (
        f"select pg_drop_replication_slot('{name}') from pg_replication_slots where slot_name = '{name}' and not active"
    )
    wait_until(lambda: server.sql(drop), f"the slot {name} to be free")


@pytest.fixture
def pair(postgresql_pair):
    postgresql_pair.primary.sql("create table if not exists filled (n int, t text)")
    wait_until(postgresql_pair.standby.caught_up, "the standby to have the table")
    return postgresql_pair


def lag(run):
    """The one replica that a run tells of."""
    (found,) = run.of("replica_lag")
    return found


def rules(run):
    return {finding["rule"] for finding in run.findings if finding["severity"] != "ok"}


def replayed_age(standby):
    return standby.value("select extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8")


def heard(standby):
    return standby.value(
        "select extract(epoch from clock_timestamp() - last_msg_receipt_time)::float8 from pg_stat_wal_receiver"
    )


# ── the truth table: which number lies when ──────────────────────────────────────────────────────


def test_a_standby_that_keeps_up(look, pair):
    pair.primary.sql(FILL.format(10))
    wait_until(pair.standby.caught_up, "the standby to catch up")
    for servers, told_by in ((pair, "both"), ([pair.primary], "primary")):
        run = look(*servers)
        seen = lag(run)
        assert (seen["bytes"], seen["seconds"], seen["confidence"], seen["told_by"]) == (0, 0, "proven", told_by)
        assert seen["link"] == "streaming"
        assert not {rule for rule in rules(run) if rule.startswith("replica.")}
        assert all(0 < node["own_statements"] <= 20 for node in run.of("db_node"))
    with writing(pair.primary):  # so that the standby hears of it just now
        seen = lag(look(pair.standby))
    assert (seen["link_moved"], seen["confidence"]) == (True, "proven")
    assert seen["seconds"] < 5
    assert seen["ask"] == pair.primary.address


def test_b_an_idle_primary_is_no_lag(look, pair):
    pair.primary.sql(FILL.format(10))
    wait_until(lambda: pair.standby.caught_up() and replayed_age(pair.standby) > 6, "the primary to be idle for 6 s")
    for servers in (pair, [pair.primary], [pair.standby]):
        run = look(*servers)
        seen = lag(run)
        assert seen["seconds"] < 5, servers  # no 0 where the server itself writes something in between
        assert seen["bytes"] < 100_000
        assert seen["confidence"] in ("likely", "proven")
        assert not {rule for rule in rules(run) if rule.startswith("replica.")}


def test_c_replay_that_is_paused(look, pair):
    pair.standby.sql("select pg_wal_replay_pause()")
    pair.primary.sql(FILL.format(20_000))
    wait_until(lambda: pair.standby.value("select pg_last_wal_receive_lsn() - '0/0'") > 0, "log to arrive")
    for servers in (pair, [pair.standby]):
        run = look(*servers)
        seen = lag(run)
        assert run.findings[0]["rule"] == "replica.paused"
        assert run.code == 2
        assert "pg_wal_replay_resume" in run.findings[0]["next_step"]
        assert seen["apply"] == "paused"
        assert seen["stage"] == "replay"
        assert seen["bytes"] > 1_000_000
        assert seen["seconds"] > 0
    run = look(pair.primary, "--window", "2s")  # in which the standby replies
    seen = lag(run)
    assert seen["bytes"] > 1_000_000
    assert seen["seconds"] is None  # replay_lag of the primary is of before
    assert seen["confidence"] == "blind"
    assert run.finding("replica.cannot-know")["severity"] == "unknown"
    assert run.code == 3


def test_d_a_receiver_that_is_dead(look, pair):
    pair.standby.reload(primary_conninfo=f"host=127.0.0.1 port={postgresql.free_ports(1)[0]} password=hunter2secret")
    pair.primary.sql("select pg_terminate_backend(active_pid) from pg_replication_slots")
    wait_until(lambda: not pair.standby.streams(), "the receiver to be gone")
    pair.primary.sql(FILL.format(20_000))
    runs = both, primary, standby = look(*pair), look(pair.primary), look(pair.standby)
    for run in runs:
        assert run.findings[0]["rule"] == "replica.receiver-dead"
        assert run.code == 2
        assert "pg_hba.conf" in run.findings[0]["next_step"]
        assert lag(run)["link"] == "down"
        assert "hunter2" not in run.stdout + run.stderr
    seen = lag(both)
    assert (seen["told_by"], seen["confidence"], seen["stage"]) == ("both", "proven", "send")
    assert seen["bytes"] > 1_000_000
    assert seen["seconds"] > 0
    assert "is told to follow 127.0.0.1:" in seen["link_error"]
    assert lag(primary)["bytes"] > 1_000_000  # its slot keeps it
    assert primary.finding("replica.slot-inactive")
    (slot,) = primary.of("replication_slot")
    assert slot["retained"] > 1_000_000
    assert slot["active"] is False
    disk = os.statvfs(pair.primary.data)
    assert slot["disk_free"] == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.2) or os.geteuid() != 0
    assert lag(standby)["bytes"] is None  # which the two equal positions of the standby would call 0
    assert lag(standby)["seconds"] is None
    assert lag(standby)["confidence"] == "blind"


def test_of_its_primary_only_the_address_is_told_however_it_is_written(look, pair):
    for conninfo in (
        "port = 1 password = ''hunter2 host=evil'' host = ''db.example'' user=u",
        "postgresql://u:hunter2@db.example:1/x?application_name=y",
        "host=db.example,other port=1 sslpassword=hunter2 password=hunter2",
    ):
        pair.standby.reload(primary_conninfo=conninfo)
        wait_until(lambda: not pair.standby.streams(), "the receiver to be gone")
        run = look(pair.standby)
        assert "hunter2" not in run.stdout + run.stderr
        assert "evil" not in run.stdout
        assert lag(run)["ask"] == "db.example:1"


def test_e_a_link_that_is_frozen(look, pair):
    pair.primary.sql(FILL.format(10))
    wait_until(pair.standby.caught_up, "the standby to catch up")
    with pair.primary.frozen("walsender"):
        pair.primary.sql(FILL.format(20_000))
        wait_until(lambda: heard(pair.standby) > 2.5, "the standby to have heard nothing for a while")
        for servers in (pair, [pair.primary]):
            run = look(*servers)
            seen = lag(run)
            assert run.findings[0]["rule"] == "replica.stalled"
            assert run.code == 2
            assert seen["stage"] == "send"
            assert seen["bytes"] > 500_000
            assert seen["link"] == "streaming"
            assert seen["link_moved"] is False
            assert "sender stand still" in run.findings[0]["next_step"]
        assert lag(look(*pair))["seconds"] > 2
        seen = lag(look(pair.standby))  # which cannot see it yet
        assert seen["confidence"] == "likely"
        assert seen["as_of"] > 2.5
        assert seen["ask"] == pair.primary.address
        pair.standby.reload(wal_sender_timeout="2s")  # after half of which, and 5 s, silence is too long
        wait_until(lambda: heard(pair.standby) > 6.2, "the standby to have heard nothing for too long")
        run = look(pair.standby)
        seen = lag(run)
        assert (seen["bytes"], seen["seconds"], seen["confidence"]) == (None, None, "blind")
        assert run.findings[0]["rule"] == "replica.stalled"


def test_f_a_slot_that_is_lost(look):
    with postgresql.pair(min_wal_size="32MB", max_wal_size="32MB") as pair:
        pair.primary.reload(max_slot_wal_keep_size="1MB")
        pair.standby.halt()
        pair.primary.sql("create table filled (n int, t text)")
        for _ in range(4):
            pair.primary.sql(FILL.format(1), "select pg_switch_wal()")
        pair.primary.sql("checkpoint", "select 1")
        assert pair.primary.value("select wal_status from pg_replication_slots") == "lost"
        alone = look(pair.primary)
        assert alone.findings[0]["rule"] == "replica.slot-lost"
        assert lag(alone)["bytes"] is None
        pair.standby.start()  # it asks for log from the start of a segment, before what it has replayed
        runs = both, standby = look(*pair), look(pair.standby)
        for run in runs:
            assert run.code == 2
            assert (lag(run)["bytes"] or 0) >= 0
    assert both.findings[0]["rule"] == "replica.slot-lost"
    assert "rebuild it" in both.findings[0]["next_step"]
    assert lag(both)["slot_lost"] is True
    assert lag(both)["bytes"] > 16 << 20
    (slot,) = both.of("replication_slot")
    assert (slot["status"], slot["retained"]) == ("lost", None)
    assert standby.findings[0]["rule"] == "replica.receiver-dead"
    assert lag(standby)["bytes"] is None


# ── the rules that follow from it ────────────────────────────────────────────────────────────────


def test_a_standby_that_is_late_by_design(look, pair):
    pair.standby.reload(recovery_min_apply_delay="20s")
    pair.primary.sql(FILL.format(10))
    wait_until(lambda: not pair.standby.caught_up(), "something to wait")
    for servers in (pair, [pair.standby]):
        run = look(*servers)
        seen = lag(run)
        assert (seen["apply"], seen["delay"], seen["seconds"]) == ("delayed", 20, 0)
        assert seen["bytes"] > 0
        assert not {rule for rule in rules(run) if rule.startswith("replica.")}
        assert any(finding["rule"] == "replica.delayed" for finding in run.findings)


@contextlib.contextmanager
def reading(pair):
    """A report on the standby that still needs the rows that are there now."""
    pair.primary.sql(FILL.format(1000))
    wait_until(pair.standby.caught_up, "the standby to catch up")
    with contextlib.closing(pair.standby.connect("report")) as session:
        session.run("begin isolation level repeatable read")
        session.run("select count(*) from filled")
        yield


def test_a_query_that_replay_waits_for(look, pair):
    pair.standby.reload(max_standby_streaming_delay="-1")
    with reading(pair):
        pair.primary.sql("delete from filled", "vacuum filled")
        wait = "select wait_event from pg_stat_activity where backend_type = 'startup'"
        wait_until(lambda: pair.standby.value(wait) == "RecoveryConflictSnapshot", "a conflict")
        run = look(*pair)
    assert "end that transaction" in run.finding("replica.apply-locked")["next_step"]
    assert lag(run)["apply"] == "locked"
    assert "report" in lag(run)["blocked_by"]


def test_a_query_that_replay_cancels(look, pair):
    pair.standby.reload(max_standby_streaming_delay="10ms")
    with reading(pair):
        meanwhile = Meanwhile(
            between_looks(pair.standby), lambda: pair.primary.sql("delete from filled", "vacuum filled")
        )
        run = look(*pair, "--window", "4s", when=meanwhile)
    assert lag(run)["conflicts"] == 1
    assert run.finding("replica.conflicts")


def test_a_chain_of_standbys(look, pair):
    with slot_of(pair.standby, "second"), postgresql.server(pair.standby, slot="second", cluster_name="second") as last:
        pair.primary.sql(FILL.format(10))
        wait_until(last.caught_up, "the last to catch up")
        run = look(*pair, last)
        middle, end = run.of("replica_lag")
        assert (middle["primary"], end["primary"]) == (pair.primary.address, pair.standby.address)
        assert {middle["told_by"], end["told_by"]} == {"both"}
        assert {middle["confidence"], end["confidence"]} == {"proven"}
        assert (middle["bytes"], end["bytes"]) == (0, 0)
        (seen,) = [one for one in look(pair.standby).of("replica_lag") if one["told_by"] == "primary"]
        assert seen["replica"].startswith("second")
        with pair.primary.frozen("walsender"):
            pair.primary.sql(FILL.format(20_000))
            wait_until(lambda: heard(pair.standby) > 1.5, "silence")
            run = look(*pair, last)
            middle, end = run.of("replica_lag")
            assert run.findings[0]["rule"] == "replica.stalled"
            assert run.findings[0]["subject"] == pair.standby.address
            assert end["bytes"] > 500_000  # it has what its own source has, and that is not all
            assert end["stage"] == "upstream"


def test_a_standby_that_is_fed_from_an_archive_alone(look):
    copy = "test ! -e ../%f && cp %p ../%f"
    with postgresql.server(archive_mode="on", archive_command=copy) as primary:
        fed = {"primary_conninfo": "", "restore_command": f"cp {primary.folder}/%f %p"}
        with postgresql.server(primary) as standby:
            standby.reload(**fed)
            primary.sql("create table filled (n int, t text)", "select pg_switch_wal()")
            wait_until(lambda: not standby.sql("select 1 from pg_stat_wal_receiver"), "no receiver")
            runs = both, alone = look(primary, standby), look(standby)
    for run in runs:
        assert lag(run)["link"] == "archive"
        assert any(finding["rule"] == "replica.archive-only" for finding in run.findings)
    assert lag(both)["bytes"] is not None
    assert (lag(alone)["bytes"], lag(alone)["confidence"]) == (None, "blind")
    assert alone.code == 3


def test_a_server_that_asks_without_the_right_to_see(look, pair):
    pair.primary.sql("create role guest login", "select 1")
    try:
        wait_until(pair.standby.caught_up, "the role to arrive")
        for servers in (pair, [pair.standby], [pair.primary]):
            run = look(*servers, role="guest")
            seen = lag(run)
            assert run.code == 3, servers
            assert seen["seconds"] is None or seen["confidence"] == "proven"
            assert "pg_monitor" in run.stdout
    finally:
        pair.primary.sql("drop role guest", "select 1")


def test_a_writer_that_is_read_only(look, pair):
    run = look(*pair, "--writer", pair.standby.address)
    assert run.findings[0]["rule"] == "db.read-only-writer"
    assert run.code == 2
    run = look(pair.primary, "--writer", pair.standby.address)  # which is asked with the same login
    assert run.findings[0]["rule"] == "db.read-only-writer"
    assert "db.read-only-writer" not in rules(look(*pair, "--writer", pair.primary.address))
    run = look(*pair, "--writer", f"localhost:{pair.standby.port}")  # another name of a server that is asked
    assert run.finding("db.read-only-writer")["subject"] == pair.standby.address
    assert len(run.of("db_node")) == 2


def test_a_primary_that_is_frozen(look, pair):
    pair.primary.sql(FILL.format(10))
    wait_until(pair.standby.caught_up, "the standby to catch up")
    with pair.primary.frozen():
        run = look(*pair)
    assert run.findings[0]["rule"] == "db.unreachable"
    seen = lag(run)
    assert seen["told_by"] == "replica"
    assert seen["ask"] == pair.primary.address


@pytest.mark.parametrize("writer", ["", "a:b", "h:1,h:2", "user@h:1", "h:99999"])
def test_a_writer_that_is_no_address(opsdoc, writer):
    run = opsdoc("db", "postgresql", "--dsn", "postgresql://127.0.0.1:1/", "--writer", writer)
    assert run.code == 64
    assert "--writer" in run.stderr


def test_without_a_window(look, pair):
    seen = lag(look(*pair, "--window", "0"))
    assert (seen["bytes"], seen["confidence"]) == (0, "proven")
    assert "--window 0" in seen["unknown"]["link_moved"]


def test_g_commits_that_wait_for_a_standby_that_is_missing(look, pair):
    pair.primary.reload(synchronous_standby_names="nosuch")
    with contextlib.closing(pair.primary.connect()) as session:
        session.autocommit()
        session.start(FILL.format(1)).waits("SyncRep")
        for servers in (pair, [pair.primary]):
            run = look(*servers)
            assert run.findings[0]["rule"] == "db.commit-waits"
            assert run.code == 2
            assert "nosuch" in run.findings[0]["summary"]
            assert lag(run)["link"] == "streaming"
            assert lag(run)["sync"] == "async"
        assert not rules(look(pair.standby))  # nobody reads there what nobody committed
