"""Answers of servers that are none, and option files: whatever they hold, nothing raises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opsdoc.clients.mysql_target import Target
from opsdoc.clients.sql import Refusal, Said
from opsdoc.looks import mysql_contention, mysql_contention_sql
from opsdoc.looks.mysql_contention_sql import ROW_WAITS, SESSIONS, TRANSACTIONS
from opsdoc.looks.mysql_metadata_locks import Lock, Waiting, blocked, guessed, mode_of, wanted
from opsdoc.looks.mysql_watch import Look, Watched
from opsdoc.parsers.my_cnf import client_options

SCALARS = st.none() | st.integers() | st.floats() | st.text(max_size=30)
COLUMNS = (
    "id user host db command state seconds statement account trx session open_for waits_for locked modified counter"
    " value kind waiter blocker mode object status type place name data formatID gtrid_length bqual_length digest calls"
    " known_for Variable_name Value"
).split()
ROWS = st.lists(st.dictionaries(st.sampled_from(COLUMNS), SCALARS), max_size=4)
IDS = st.integers(-2, 5)


@st.composite
def waiting_rows(draw):
    """Sessions, transactions and waits among few ids, so that they meet."""
    state = st.sampled_from(["", "Waiting for table metadata lock", "updating"])
    statement = st.sampled_from(["alter table t add a int", "select * from t", "update t set a = ?"])
    sessions = [
        {"id": number, "state": draw(state), "statement": draw(statement), "seconds": draw(st.floats(0, 9))}
        for number in draw(st.lists(IDS, max_size=5))
    ]
    trx = [{"trx": str(number), "session": draw(IDS)} for number in draw(st.lists(IDS, max_size=5))]
    waits = [
        {"kind": "transactions", "waiter": draw(IDS), "blocker": draw(IDS), "object": "`a`.`t`"}
        for _ in range(draw(st.integers(0, 6)))
    ]
    return {SESSIONS: sessions, TRANSACTIONS: trx, ROW_WAITS: waits}


def items(rows, errors=None, version="10.11.6-MariaDB"):
    one = Watched(Target.of("h"), {"version": version, "performance_schema": "ON"})
    one.looks += [Look(0.0, Said(rows, {})), Look(1.0, Said(rows, errors or {}))]
    return list(mysql_contention.items([one], 5))


@given(st.data(), st.sampled_from(["10.11.6-MariaDB", "8.0.36", "", "x"]))
def test_any_rows_are_read(data, version):
    one = Watched(Target.of("h"), {"version": version, "performance_schema": "ON"})
    names = [statement.name for statement in mysql_contention_sql.last(one)]
    rows = {name: data.draw(ROWS) for name in names}
    errors = {name: Refusal(str(data.draw(st.integers(1000, 4200))), "no") for name in names if name not in rows}
    assert items(rows, errors, version)


@given(waiting_rows())
def test_any_waits_make_chains(rows):
    assert items(rows)


@given(st.text())
def test_any_option_file_is_read(text):
    assert all(isinstance(value, str) for value in client_options(text).values())
    assert isinstance(client_options("[client]\n" + text), dict)


LOCKS = st.builds(
    Lock,
    IDS,
    st.sampled_from(["SHARED_READ", "SHARED_WRITE", "EXCLUSIVE", "SHARED_UPGRADABLE", "INTENTION_EXCLUSIVE", "?"]),
    st.sampled_from(["a.t", "a.u", "", "."]),
    granted=st.booleans(),
)
WAITING = st.builds(Waiting, IDS, st.text(max_size=40), st.sampled_from(["a", ""]), st.floats(0, 9))


@given(st.lists(LOCKS, max_size=8), st.lists(WAITING, max_size=4), st.dictionaries(IDS, st.floats(0, 9)))
def test_nobody_waits_for_itself(locks, waiting, opened):
    held = [lock for lock in locks if lock.granted]
    found = [*blocked(locks), *blocked([*held, *wanted(waiting, held)]), *guessed(waiting, opened, {})]
    assert all(one.session not in one.blockers for one in found)
    assert all(mode_of(one.statement) for one in waiting)
