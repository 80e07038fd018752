"""The playbooks replica-lag and cache-stale on real pairs, with what goes wrong in them made for real."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from servers import redis
from servers.postgresql import PASSWORD, WATCHER
from servers.programs import wait_until

SECRET = "Hunter2Secret9"
QUICK = ("-p", "window=1s")
A_FEW = "CREATE TABLE app.t ENGINE=InnoDB SELECT 1 AS a"


def named(postgresql_pair):
    """The parameters that name both servers of PostgreSQL."""
    login = {"user": WATCHER, "password": PASSWORD}
    primary, standby = postgresql_pair.primary.dsn(**login), postgresql_pair.standby.dsn(**login)
    return ("-p", f"dsn={primary}", "-p", f"dsn2={standby}", *QUICK)


def named_mysql(mariadb_pair):
    """Those of MariaDB."""
    return ("-p", f"mysql={mariadb_pair.primary.dsn()}", "-p", f"mysql2={mariadb_pair.replica.dsn()}", *QUICK)


def outcome(run, rule):
    """The severity and the summary of a finding of a playbook."""
    (found,) = [finding for finding in run.findings if finding["rule"] == rule]
    return found["severity"], found["summary"]


def told(run, *folders):
    """Everything that a run left: what it wrote, and its files."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [run.stdout, run.stderr, *map(Path.read_text, files)]


def test_a_pair_of_postgresql_that_keeps_up(opsdoc, postgresql_pair):
    run = opsdoc.json("run", "replica-lag", *named(postgresql_pair))
    assert outcome(run, "replica-lag.cause") == (
        "ok",
        "not the replicas: they keep up, and nothing holds the servers",
    )
    assert outcome(run, "replica-lag.stale") == ("ok", "no replica that was seen is 5.0 s behind")
    assert outcome(run, "replica-lag.holds")[0] == "ok"
    run = opsdoc.json("run", "cache-stale", *named(postgresql_pair), "-p", "second_delete=5s")
    severity, summary = outcome(run, "cache-stale.refill")
    assert (severity, summary.partition(",")[0]) == ("ok", "no: no replica that was seen is 5.0 s behind")
    assert outcome(run, "cache-stale.cache")[1].startswith("no cache was named")


def test_replay_that_is_paused_stops_readers_in_the_past(opsdoc, postgresql_pair, tmp_path):
    postgresql_pair.standby.sql("select pg_wal_replay_pause()")
    postgresql_pair.primary.sql("create table t as select generate_series(1, 50000) as a")
    case, page = tmp_path / "case", tmp_path / "r.html"
    run = opsdoc.json("run", "replica-lag", *named(postgresql_pair), "-p", "stale=100ms", "--record", case, "-o", page)
    assert run.code == 2
    severity, summary = outcome(run, "replica-lag.cause")
    assert severity == "critical"
    assert summary.startswith(f"what arrives is not applied: replay is paused on {postgresql_pair.standby.address}")
    assert outcome(run, "replica-lag.stale")[0] == "warning"
    assert "shows readers what was true" in outcome(run, "replica-lag.stale")[1]
    assert not [text for text in told(run, tmp_path) if PASSWORD in text]
    again = opsdoc.json("run", "replica-lag", "--replay", case)
    assert [(one["rule"], one["summary"]) for one in again.findings] == [
        (one["rule"], one["summary"]) for one in run.findings
    ]
    run = opsdoc.json("run", "cache-stale", *named(postgresql_pair), "-p", "second_delete=1h")
    severity, summary = outcome(run, "cache-stale.refill")
    assert severity == "critical"
    assert summary.startswith("yes, and no second delete is late enough, for a replica stands still: replay is paused")


def test_a_replica_of_mariadb_that_is_late_by_design_is_later_than_the_second_delete(opsdoc, mariadb_pair):
    replica = mariadb_pair.replica
    for sql in ("STOP SLAVE", "CHANGE MASTER TO master_delay = 60", "START SLAVE"):
        replica.sql(sql)
    mariadb_pair.primary.sql(A_FEW)
    wait_until(lambda: "MASTER_DELAY" in str(replica.slave()["Slave_SQL_Running_State"]), "it to wait by design")
    run = opsdoc.json("run", "cache-stale", *named_mysql(mariadb_pair), "-p", "second_delete=2s")
    severity, summary = outcome(run, "cache-stale.refill")
    assert severity == "critical"
    assert summary.startswith(f"yes: {replica.address} is ")
    assert summary.endswith("behind, and the second delete comes after 2.0 s")


def test_a_replica_of_mariadb_that_applies_nothing(opsdoc, mariadb_pair):
    mariadb_pair.replica.sql("STOP SLAVE SQL_THREAD")
    mariadb_pair.primary.sql(A_FEW)
    run = opsdoc.json("run", "replica-lag", *named_mysql(mariadb_pair))
    severity, summary = outcome(run, "replica-lag.cause")
    assert (severity, summary.partition(":")[0]) == ("critical", "what arrives is not applied")
    assert mariadb_pair.replica.address in summary


@pytest.fixture
def cache():
    with redis.standalone() as one, contextlib.closing(one.client()) as client:
        yield one, client


def test_keys_without_an_end_keep_what_is_wrong(opsdoc, mariadb_pair, cache):
    one, client = cache
    client.do("MSET", "a", "1", "b", "2", "c", "3")
    client.do("EXPIRE", "a", "1000")
    options = (*named_mysql(mariadb_pair), "-p", f"url={one.url}", "-p", "second_delete=30s")
    run = opsdoc.json("run", "cache-stale", *options)
    assert outcome(run, "cache-stale.refill")[0] == "ok"
    assert outcome(run, "cache-stale.cache") == (
        "warning",
        f"{one.address} holds 2 keys without a time to live: what is wrong in them stays",
    )
    client.do("DEL", "b", "c")
    run = opsdoc.json("run", "cache-stale", *options)
    severity, summary = outcome(run, "cache-stale.cache")
    assert severity == "ok"
    assert summary.startswith(f"each key of {one.address} has a time to live")


@pytest.mark.parametrize(("playbook", "finding"), [("replica-lag", "cause"), ("cache-stale", "refill")])
def test_without_a_server_it_says_what_is_wanted(opsdoc, playbook, finding):
    run = opsdoc.json("run", playbook)
    severity, summary = outcome(run, f"{playbook}.{finding}")
    assert severity == "unknown"
    assert "-p dsn=postgresql://HOST/ or -p mysql=mysql://HOST/" in summary


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://ops:{SECRET}@127.0.0.1:1/",
        f"postgresql://ops@127.0.0.1:1/?password={SECRET}",
        f"host=127.0.0.1 port=1 user=ops password='two {SECRET}'",
        rf"host=127.0.0.1 port=1 user=ops password=two\ {SECRET}",
    ],
)
def test_a_password_in_a_dsn_is_in_no_output_and_no_case(opsdoc, tmp_path, dsn):
    planned = opsdoc("run", "replica-lag", "-p", f"dsn={dsn}", "--dry-run")
    page = tmp_path / "r.html"
    run = opsdoc.json("run", "replica-lag", "-p", f"dsn={dsn}", *QUICK, "--record", tmp_path / "case", "-o", page)
    assert run.code == 3
    assert outcome(run, "replica-lag.cause")[0] == "unknown"
    assert {"case.json", "recording.json", "r.html"} <= {path.name for path in tmp_path.rglob("*")}
    assert not [text for text in (*told(planned), *told(run, tmp_path)) if SECRET in text]
    again = opsdoc.json("run", "replica-lag", "--replay", tmp_path / "case")
    assert again.report["summary"] == run.report["summary"]
