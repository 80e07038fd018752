"""Whatever a server says of its replication becomes a record, and sets of transactions behave as sets."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.clients.sql import Refusal, Said
from opsdoc.looks import mysql_statements as asked
from opsdoc.looks.mysql_lag import lags
from opsdoc.looks.mysql_pairs import Server, links
from opsdoc.looks.mysql_sides import side
from opsdoc.model import Malformed, known
from opsdoc.parsers import gtid
from opsdoc.parsers.mysql_replication import channels

frugal = settings(max_examples=100, deadline=None)
UUIDS = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "4350f323-7565-4e59-8763-4b1b83a0ce0e")
COLUMNS = [
    name.replace("Master", word).replace("Slave", other)
    for name in (
        "Connection_name Channel_Name Master_Host Master_Port Master_Server_Id Master_UUID Slave_IO_Running "
        "Slave_SQL_Running Slave_SQL_Running_State Last_IO_Errno Last_IO_Error Last_SQL_Errno Last_SQL_Error "
        "Master_Log_File Read_Master_Log_Pos Relay_Master_Log_File Exec_Master_Log_Pos Relay_Log_Pos Relay_Log_Space "
        "Seconds_Behind_Master Master_Slave_time_diff SQL_Delay Slave_received_heartbeats Slave_heartbeat_period "
        "Gtid_IO_Pos Gtid_Slave_Pos Retrieved_Gtid_Set Executed_Gtid_Set Replicate_Do_Domain_Ids"
    ).split()
    for word, other in (("Master", "Slave"), ("Source", "Replica"))
]
TEXTS = [
    "Yes", "No", "Connecting", "Preparing", "127.0.0.1", "bin.000001", "bin.000002", "0-1-5", "0-2-9,1-1-4", "",
    f"{UUIDS[0]}:1-5:7", "Waiting until MASTER_DELAY seconds after master executed event", "NULL", "-1", "1e999", "nan",
    "Error 'Duplicate entry '7' for key 'PRIMARY'' on query. Default database: ''. Query: 'insert into t values(7)'",
]  # fmt: skip
values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(TEXTS)
    | st.text(max_size=12)
)
likely = st.fixed_dictionaries(
    {
        "Master_Host": st.just("h"),
        "Slave_IO_Running": st.just("Yes"),
        "Slave_SQL_Running": st.sampled_from(["Yes", "No"]),
    }
)
status = st.dictionaries(st.sampled_from(COLUMNS), values, max_size=20)
rows = st.builds(lambda one, more: {**more, **one}, likely, status) | status
others = st.dictionaries(
    st.sampled_from(
        "server_id port log_bin applied written state uuid executed channel heartbeats period heartbeat_age queued_age "
        "queued applying applied_age applying_age Log_name File_size host age age_utc".split()
    ),
    values,
    max_size=12,
)
NAMES = (asked.SERVER, asked.LINKS, asked.APPLIERS, asked.BINLOGS, asked.HEARTBEAT)
said = st.builds(
    lambda replica, more, refused: Said(
        {asked.REPLICA: replica, **more}, {asked.REPLICA: Refusal("1227", "denied")} if refused else {}
    ),
    st.lists(rows, max_size=3),
    st.dictionaries(st.sampled_from(NAMES), st.lists(others, max_size=3), max_size=6),
    st.booleans(),
)


@frugal
@given(st.lists(rows, max_size=4))
def test_any_rows_become_channels(given_rows):
    for channel in channels(given_rows):
        assert channel.behind is None or channel.behind >= 0
        assert channel.backlog is None or channel.backlog >= 0
        assert "insert" not in channel.apply_error or "(7)" not in channel.apply_error


@frugal
@given(st.lists(st.tuples(said, said, st.booleans(), st.booleans()), min_size=1, max_size=3))
def test_any_answers_become_lags_that_are_never_negative(answers):
    servers = [
        Server(
            f"h:{number}",
            side(1.0, first, mariadb=mariadb) if window else None,
            side(3.0, last, mariadb=mariadb),
            mariadb,
            (10, 11) if mariadb else (8, 4, 0),
        )
        for number, (first, last, mariadb, window) in enumerate(answers)
    ]
    for lag in lags(servers, links(servers, {"h": "frozen"})):
        for value in (lag.seconds, lag.bytes, lag.as_of, lag.missing, lag.errant, lag.silence, lag.heartbeat_table):
            assert (known(value) or 0) >= 0
        if known(lag.seconds) == 0 and lag.told_by == "replica":
            assert lag.link_moved is True or known(lag.as_of) is not None  # a 0 is as of a sign of life


@frugal
@given(st.text(max_size=60) | st.sampled_from(TEXTS))
def test_any_text_is_a_set_or_malformed(text):
    for read in (gtid.mysql_set, gtid.mariadb_position, gtid.mariadb_state):
        with contextlib.suppress(Malformed):
            read(text)


numbers = st.sets(st.tuples(st.sampled_from(UUIDS), st.integers(1, 40)), max_size=40)


def spelled(numbers_: set[tuple[str, int]]) -> str:
    return ",".join(f"{uuid}:{number}" for uuid, number in sorted(numbers_))


@frugal
@given(numbers, numbers)
def test_sets_of_mysql_differ_as_sets_do(some, others_):
    one, other = gtid.mysql_set(spelled(some)), gtid.mysql_set(spelled(others_))
    assert one.size == len(some)
    assert one.without(other).size == len(some - others_)
    assert one.without(other).without(one).size == 0
