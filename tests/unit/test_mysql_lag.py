"""How far a MySQL or MariaDB replica is behind, from what real servers said in each state, alone and with its source.

The rows of MariaDB are of 10.11. Those of MySQL 5.7, 8.0 and 8.4 are written from its manual, for want of a server.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opsdoc.clients.mysql_target import Target
from opsdoc.clients.sql import Refusal, Said
from opsdoc.looks.mysql_lag import lags
from opsdoc.looks.mysql_pairs import Server, links
from opsdoc.looks.mysql_report import items
from opsdoc.looks.mysql_sides import side
from opsdoc.looks.mysql_watch import Look, Seen, Watched
from opsdoc.model import Unknown, Unseen
from opsdoc.parsers.mysql_replication import channels
from opsdoc.signals.contention_facts import LockChain
from opsdoc.signals.replica_lag_facts import ReplicaLag

SCENES = json.loads((Path(__file__).parent / "samples/mysql/replication-mariadb-10.11.json").read_text())
REPLICA, SOURCE = "127.0.0.1:33072", "127.0.0.1:33061"
A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4350f323-7565-4e59-8763-4b1b83a0ce0e"


def said(rows, refused=None):
    return Said(rows, refused or {})


def mariadb(name, looks):
    first, last = (side(at, said(answer["rows"]), mariadb=True) for at, answer in looks)
    return Server(name, first, last, mariadb=True, version=(10, 11, 19))


def lag_in(scene, *, both=False, chains=(), silent=None):
    """The one lag of a scene, by the replica alone or with its source."""
    servers = [mariadb(REPLICA, SCENES[scene]["replica"])]
    if both:
        servers.append(mariadb(SOURCE, SCENES[scene]["primary"]))
    (lag,) = lags(servers, links(servers, silent or {}), chains)
    return lag


# ── MariaDB, by the replica alone ────────────────────────────────────────────────────────────────


def test_one_that_is_well_says_so_because_heartbeats_came():
    lag = lag_in("idle")
    assert (lag.seconds, lag.bytes, lag.link, lag.apply, lag.link_moved) == (0, 0, "streaming", "idle", True)
    assert lag.confidence == "proven"
    assert 0 < lag.as_of <= 1
    assert lag.ask == SOURCE
    assert lag.product == "mariadb"


def test_a_stopped_sql_thread_has_a_backlog_and_null_is_not_zero():
    lag = lag_in("sql-stopped")
    assert (lag.link, lag.apply, lag.apply_error) == ("streaming", "stopped", None)
    assert isinstance(lag.seconds, Unknown)
    assert lag.bytes > 1000
    assert lag.missing == 20
    assert lag.stage == "apply"
    assert lag.confidence == "one-sided"


def test_a_stopped_io_thread_knows_nothing_of_what_it_lacks():
    lag = lag_in("io-stopped")
    assert (lag.link, lag.apply) == ("down", "idle")
    assert isinstance(lag.seconds, Unknown)
    assert isinstance(lag.bytes, Unknown)
    assert lag.missing is None
    assert lag.confidence == "blind"
    assert lag.ask == SOURCE


def test_what_is_late_by_design_is_not_late():
    lag = lag_in("delayed")
    assert (lag.seconds, lag.delay, lag.apply, lag.link_moved) == (0, 60, "delayed", True)
    assert lag.bytes > 1000


def test_a_duplicate_key_is_told_without_the_row():
    lag = lag_in("duplicate-key")
    assert (lag.apply, lag.apply_errno) == ("error", 1062)
    assert "Duplicate entry '?' for key 'PRIMARY'" in lag.apply_error
    assert "values(?,?)" in lag.apply_error.replace(" ", "")
    assert lag.bytes > 0


def test_a_frozen_primary_makes_no_zero():
    lag = lag_in("frozen")
    assert (lag.link, lag.link_moved) == ("streaming", False)
    assert lag.silence > lag.silence_expected == 2
    assert isinstance(lag.seconds, Unknown)
    assert isinstance(lag.bytes, Unknown)
    assert lag.confidence == "blind"


def test_a_window_too_short_for_heartbeats_says_which_would_do():
    looks = json.loads(json.dumps(SCENES["frozen"]["replica"]))
    for _, answer in looks:
        answer["rows"]["replica"][0]["Slave_heartbeat_period"] = 30.0
    servers = [mariadb(REPLICA, looks)]
    (lag,) = lags(servers, links(servers, {}))
    assert lag.silence < lag.silence_expected == 60
    assert "a heartbeat is due only every 30 s; --window 61s would tell" in lag.seconds.reason
    assert lag.confidence == "blind"


def test_an_applier_that_waits_for_a_row():
    chain = LockChain(
        subject="x", node=REPLICA, blocks_applier=True, root=20, root_user="app", root_state="idle in a transaction"
    )
    lag = lag_in("locked", chains=[chain])
    assert (lag.apply, lag.seconds) == ("locked", 3)
    assert lag.blocked_by == "session 20 of app (idle in a transaction)"
    assert lag_in("locked").apply == "running"
    elsewhere = chain.replaced(node=SOURCE)
    assert lag_in("locked", chains=[elsewhere]).blocked_by is None


def test_one_that_cannot_connect():
    lag = lag_in("connecting")
    assert lag.link == "connecting"
    assert "Can't connect" in lag.link_error or "error connecting" in lag.link_error
    assert isinstance(lag.seconds, Unknown)


# ── with the source ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scene", "seconds", "missing", "stage"),
    [
        ("idle", 0, 0, None),
        ("sql-stopped", None, 20, "apply"),
        ("io-stopped", None, 20, "receive"),
        ("delayed", 0, 20, "apply"),
        ("locked", 3, 6, "apply"),
        ("duplicate-key", None, 6, "apply"),
    ],
)
def test_both_sides_prove_it(scene, seconds, missing, stage):
    lag = lag_in(scene, both=True)
    assert (lag.told_by, lag.confidence, lag.ask, lag.primary) == ("both", "proven", None, SOURCE)
    assert (None if isinstance(lag.seconds, Unknown) else lag.seconds) == seconds
    assert (lag.missing, lag.stage, lag.as_of) == (missing, stage, 0)
    assert (lag.bytes > 0) == (missing > 0)
    assert lag.errant == 0


def test_an_idle_link_needs_no_heartbeat_where_the_source_says_that_there_is_no_more():
    scene = json.loads(json.dumps(SCENES["idle"]))
    for _, answer in scene["replica"]:
        answer["rows"]["replica"][0].update(Slave_heartbeat_period=30.0, Slave_received_heartbeats=0)
    servers = [mariadb(REPLICA, scene["replica"]), mariadb(SOURCE, scene["primary"])]
    (lag,) = lags(servers, links(servers, {}))
    assert (lag.seconds, lag.bytes, lag.confidence, lag.link_moved) == (0, 0, "proven", False)


def test_a_source_that_does_not_answer_is_the_reason():
    lag = lag_in("frozen", silent={SOURCE: "no answer in time"})
    assert "127.0.0.1:33061 does not answer: no answer in time" in lag.seconds.reason


def test_without_the_right_to_see_binary_logs_transactions_are_counted():
    scene = json.loads(json.dumps(SCENES["io-stopped"]))
    for _, answer in scene["primary"]:
        answer["rows"].pop("binlogs", None)
    servers = [mariadb(REPLICA, scene["replica"]), mariadb(SOURCE, scene["primary"])]
    (lag,) = lags(servers, links(servers, {}))
    assert (lag.missing, lag.confidence) == (20, "proven")
    assert isinstance(lag.bytes, Unknown)


def test_a_replica_that_was_written_to():
    scene = json.loads(json.dumps(SCENES["idle"]))
    for _, answer in scene["replica"]:
        row = answer["rows"]["replication"][0]
        sequence = int(row["state"].rpartition("-")[2])
        row["state"] += f",0-33072-{sequence + 3}"
    servers = [mariadb(REPLICA, scene["replica"]), mariadb(SOURCE, scene["primary"])]
    (lag,) = lags(servers, links(servers, {}))
    assert lag.errant == 3


def test_a_source_is_known_by_its_id_where_its_name_is_another():
    servers = [mariadb("db2:3306", SCENES["idle"]["replica"]), mariadb("db1:3306", SCENES["idle"]["primary"])]
    (lag,) = lags(servers, links(servers, {}))
    assert (lag.primary, lag.told_by) == ("db1:3306", "both")


def test_a_primary_alone_does_not_know_of_its_replicas():
    source = mariadb(SOURCE, SCENES["idle"]["primary"])
    source = source._replace(last=source.last._replace(dumps=("10.0.0.2:48762",)))
    (lag,) = lags([source], links([source], {}))
    assert lag.ask == "the replica on 10.0.0.2"
    assert (lag.told_by, lag.confidence, lag.primary) == ("primary", "blind", SOURCE)
    assert isinstance(lag.seconds, Unknown)


# ── chains, several sources, tables of heartbeats ────────────────────────────────────────────────


def row(source, *, behind=0, pos=100, period=1.0, beats=1, name="", **more):
    return {
        "Connection_name": name, "Master_Host": "h", "Master_Port": source, "Master_Server_Id": source,
        "Slave_IO_Running": "Yes", "Slave_SQL_Running": "Yes", "Seconds_Behind_Master": behind,
        "Master_Log_File": "bin.000001", "Read_Master_Log_Pos": pos, "Relay_Master_Log_File": "bin.000001",
        "Exec_Master_Log_Pos": pos, "Slave_received_heartbeats": beats, "Slave_heartbeat_period": period,
        "Slave_SQL_Running_State": "Slave has read all relay log; waiting for more updates",
        "Gtid_IO_Pos": f"0-1-{pos}", "Gtid_Slave_Pos": f"0-1-{pos}", **more,
    }  # fmt: skip


def server(number, *rows, beats=(), **more):
    """A MariaDB server `h:number` with channels; heartbeats came over each in the window."""

    def at(when, count):
        told = [{**one, "Slave_received_heartbeats": one["Slave_received_heartbeats"] + count} for one in rows]
        own = {"server_id": number, "port": number, "log_bin": 1, **more}
        aged = [{**beat, "age": beat["age"] + (when - 3), "age_utc": beat["age_utc"] + (when - 3)} for beat in beats]
        return side(when, said({"replication": [own], "replica": told, "heartbeat": aged}), mariadb=True)

    return Server(f"h:{number}", at(0.0, 0), at(3.0, 3), mariadb=True)


def seconds_of(*servers):
    return {lag.subject: lag.seconds for lag in lags(servers, links(servers, {}))}


def test_a_chain_is_as_late_as_the_latest_of_its_links():
    origin = server(1, written="0-1-100")
    middle = server(2, row(1, behind=40, pos=90), written="0-1-90")
    leaf = server(3, row(2, pos=90))
    assert seconds_of(origin, middle, leaf)["h:3"] == 40
    assert seconds_of(leaf)["h:3"] == 0
    (alone,) = lags([leaf], links([leaf], {}))
    assert alone.confidence == "one-sided"  # what came was written by server 1, and it follows server 2


def test_a_chain_that_is_cut_above():
    middle = server(2, row(1, behind=None, Slave_IO_Running="No"), written="0-1-90")
    leaf = server(3, row(2, pos=90))
    found = {lag.replica: lag for lag in lags([middle, leaf], links([middle, leaf], {}))}
    lag = found["h:3"]
    assert "h:2, which it follows, is a replica itself" in lag.seconds.reason
    assert (lag.bytes, lag.confidence) == (0, "blind")  # it has what h:2 has, which is old


def test_two_that_follow_each_other_are_no_chain():
    one = server(1, row(2), written="0-1-100")
    two = server(2, row(1, behind=50), written="0-1-100")
    assert seconds_of(one, two)["h:1"] == 0


def test_each_source_is_told_by_itself():
    both = server(3, row(1, name="eu"), row(2, behind=9, name="us"))
    assert seconds_of(both) == {"h:3 (eu)": 0, "h:3 (us)": 9}
    found = {lag.channel: lag for lag in lags([both], links([both], {}))}
    assert found["us"].name == "h:3 (us)"


def test_a_domain_that_it_was_told_not_to_follow_is_not_missing():
    origin = server(1, written="0-1-100,7-1-50")
    assert isinstance(seconds_of(origin, server(3, row(1)))["h:3"], Unknown)
    assert seconds_of(origin, server(3, row(1, Replicate_Ignore_Domain_Ids="7, 8")))["h:3"] == 0
    assert seconds_of(origin, server(3, row(1, Replicate_Do_Domain_Ids="0")))["h:3"] == 0


def test_null_hides_no_row():
    both = server(3, row(1, name="eu", behind=None, Slave_IO_Running="Connecting"), row(2, name="us"))
    assert isinstance(seconds_of(both)["h:3 (eu)"], Unknown)


BEAT = {"server_id": 1, "age": 12.0, "age_utc": 12.0}


@pytest.mark.parametrize(
    ("beat", "table"),
    [
        ({**BEAT, "age": 1.2, "age_utc": 1.2}, 1.2),
        ({**BEAT, "age": 1.2, "age_utc": -28798.8}, 1.2),  # in the server's zone, which is east of UTC
        ({**BEAT, "age": -17998.8, "age_utc": 1.2}, 1.2),
        (BEAT, None),  # it did not change: is its writer still there?
        ({**BEAT, "age": 28801.2, "age_utc": 1.2}, None),
        ({**BEAT, "age": -500, "age_utc": -500}, None),
    ],
)
def test_a_table_of_heartbeats(beat, table):
    one = server(3, row(1), beats=[beat])
    (lag,) = lags([one], links([one], {}))
    assert (None if isinstance(lag.heartbeat_table, Unknown) else lag.heartbeat_table) == table


def test_a_row_that_was_written_in_the_window_is_believed_however_old_it_is():
    old = server(3, row(1), beats=[BEAT])
    older = old.first._replace(heartbeats=tuple(beat._replace(age=12.0, age_utc=12.0) for beat in old.first.heartbeats))
    one = old._replace(first=older)
    (lag,) = lags([one], links([one], {}))
    assert lag.heartbeat_table == 12


def test_a_table_of_heartbeats_on_both_sides():
    origin = server(1, beats=[{"server_id": 1, "age": 28800.4, "age_utc": 0.4}], written="0-1-100")
    late = server(3, row(1), beats=[{"server_id": 1, "age": 28830.4, "age_utc": 30.4}])
    (lag,) = [lag for lag in lags([origin, late], links([origin, late], {})) if lag.replica == "h:3"]
    assert lag.heartbeat_table == pytest.approx(30.4)
    assert lag.behind == pytest.approx(30.4)
    dead = server(1, beats=[BEAT], written="0-1-100")
    (lag,) = [lag for lag in lags([dead, late], links([dead, late], {})) if lag.replica == "h:3"]
    assert "has ended" in lag.heartbeat_table.reason


def test_newer_mariadb_tells_the_time_between_what_came_and_what_is_applied():
    one = server(3, row(1, behind=None, Slave_SQL_Running="No", Master_Slave_time_diff=77))
    assert seconds_of(one)["h:3"] == 77


# ── MySQL, as its manual has it ──────────────────────────────────────────────────────────────────

MYSQL_84 = {
    "Replica_IO_State": "Waiting for source to send event", "Source_Host": "db1", "Source_Port": 3306,
    "Source_Log_File": "binlog.000012", "Read_Source_Log_Pos": 5000, "Relay_Log_File": "relay-bin.000021",
    "Relay_Log_Pos": 700, "Relay_Source_Log_File": "binlog.000011", "Replica_IO_Running": "Yes",
    "Replica_SQL_Running": "Yes", "Last_Errno": 0, "Last_Error": "", "Exec_Source_Log_Pos": 900,
    "Relay_Log_Space": 9700, "Seconds_Behind_Source": 7, "Last_IO_Errno": 0, "Last_IO_Error": "",
    "Last_SQL_Errno": 0, "Last_SQL_Error": "", "Source_Server_Id": 1, "Source_UUID": A, "SQL_Delay": 0,
    "SQL_Remaining_Delay": None, "Replica_SQL_Running_State": "Waiting for dependent transaction to commit",
    "Retrieved_Gtid_Set": f"{A}:1-100", "Executed_Gtid_Set": f"{A}:1-90", "Auto_Position": 1, "Channel_Name": "",
}  # fmt: skip
MYSQL_57 = {name.replace("Replica", "Slave").replace("Source", "Master"): text for name, text in MYSQL_84.items()}


@pytest.mark.parametrize("status", [MYSQL_84, MYSQL_57], ids=["8.4", "5.7"])
def test_both_dialects_of_mysql_are_one_record(status):
    (channel,) = channels([status])
    assert (channel.primary, channel.link, channel.applies, channel.behind) == ("db1:3306", "streaming", True, 7)
    assert channel.backlog == 9000  # of two files of the source: by the relay logs
    assert (channel.received.file, channel.received.number, channel.executed.number) == ("binlog.000012", 12, 11)
    assert channel.gtid_received == f"{A}:1-100"


def mysql(status, link=None, appliers=(), before=None, executed=f"{A}:1-90", **changes):
    def at(when, appliers_):
        rows = {
            "replication": [{"server_id": 2, "uuid": B, "port": 3306, "log_bin": 1, "executed": executed}],
            "replica": [{**status, **changes}],
            "links": [{"channel": "", "heartbeats": 5, "period": 30.0, **(link or {})}],
            "appliers": [{"channel": "", **one} for one in appliers_],
        }
        return side(when, said(rows), mariadb=False)

    first = at(0.0, appliers if before is None else before)
    return Server("db2:3306", first, at(2.0, appliers), mariadb=False, version=(8, 4, 3), client="mysql")


def lag_of(*servers):
    (lag,) = [lag for lag in lags(servers, links(servers, {})) if lag.replica == "db2:3306"]
    return lag


def test_mysql_tells_when_it_last_heard_of_its_source():
    idle = {"Seconds_Behind_Source": 0, "Replica_SQL_Running_State": "Replica has read all relay log; waiting"}
    lag = lag_of(mysql(MYSQL_84, {"heartbeat_age": 12.0}, Exec_Source_Log_Pos=9000, **idle))
    assert (lag.seconds, lag.as_of, lag.link_moved, lag.confidence) == (0, 12, False, "likely")
    assert (lag.silence, lag.silence_expected, lag.product) == (12, 60, "mysql")
    lag = lag_of(mysql(MYSQL_84, {"heartbeat_age": 75.0}, **idle))
    assert isinstance(lag.seconds, Unknown)
    assert lag.silence == 75
    lag = lag_of(mysql(MYSQL_84, {"heartbeat_age": 0.5}, **idle))
    assert (lag.seconds, lag.link_moved) == (0, True)


def test_a_transaction_that_takes_hours_is_late_although_mysql_says_0():
    applier = {"applying": f"{A}:91", "applying_age": 3600.0, "applied": f"{A}:90", "applied_age": 3700.0}
    status = {**MYSQL_84, "Seconds_Behind_Source": 0}
    assert lag_of(mysql(status, {"heartbeat_age": 0.5}, [applier])).seconds == 3600
    other = {**applier, "applying": f"{A}:90"}
    assert lag_of(mysql(status, {"heartbeat_age": 0.5}, [applier], before=[other])).seconds == 0


def test_a_stopped_applier_of_mysql_is_as_late_as_what_it_applied_last():
    applier = {"applied": f"{A}:90", "applied_age": 500.0}
    link = {"heartbeat_age": 0.5, "queued": f"{A}:100"}
    lag = lag_of(mysql(MYSQL_84, link, [applier], Replica_SQL_Running="No", Seconds_Behind_Source=None))
    assert (lag.seconds, lag.apply, lag.missing) == (500, "stopped", 10)


def test_sets_of_mysql_tell_what_is_missing_and_what_nobody_else_has():
    source = Server(
        "db1:3306",
        *(
            side(
                at,
                said(
                    {
                        "replication": [
                            {"server_id": 1, "uuid": A, "port": 3306, "log_bin": 1, "executed": f"{A}:1-105"}
                        ],
                        "binlogs": [
                            {"Log_name": "binlog.000011", "File_size": 1000},
                            {"Log_name": "binlog.000012", "File_size": 6000},
                        ],
                    }
                ),
                mariadb=False,
            )
            for at in (0.0, 2.0)
        ),
        mariadb=False,
        version=(8, 4, 3),
    )
    lag = lag_of(mysql(MYSQL_84, {"heartbeat_age": 0.5}, executed=f"{A}:1-90,{B}:1-4"), source)
    assert (lag.missing, lag.errant, lag.told_by) == (15, 4, "both")
    assert lag.bytes == 100 + 6000
    assert [stage.bytes for stage in lag.stages] == [1000, 9000]
    assert lag.by_hand[1].endswith("-e 'SELECT @@gtid_executed'")


def test_mysql_that_does_not_show_its_times_says_what_would_let_it():
    denied = Refusal("1142", "SELECT command denied to user 'monitor'@'%' for table 'replication_connection_status'")
    one = Watched(Target.of("mysql://monitor@db2:3306/"), settings={"version": "8.4.3"})
    idle = {**MYSQL_84, "Seconds_Behind_Source": 0, "Replica_SQL_Running_State": "Replica has read all relay log"}
    for at in (0.0, 2.0):
        rows = {"replica": [idle], "sessions": [{"id": 1, "command": "Query", "account": "monitor@%"}]}
        one.looks.append(Look(at, Said(rows, {"links": denied})))
    found = list(items(Seen([one]), 5))
    (lag,) = [item for item in found if isinstance(item, ReplicaLag)]
    assert "when heartbeats are due it does not tell" in lag.seconds.reason
    hints = [item.hint for item in found if isinstance(item, Unseen)]
    assert "on db2:3306: GRANT SELECT ON performance_schema.* TO 'monitor'@'%'" in hints


def test_a_row_of_group_replication_is_no_channel():
    assert channels([{"Channel_Name": "group_replication_applier", "Source_Host": ""}, {}, {1: 2}]) == ()
