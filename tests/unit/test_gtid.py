"""Sets of global transaction ids: exact differences of MySQL's, and what MariaDB's positions allow to say."""

from __future__ import annotations

import pytest

from opsdoc.model import Malformed
from opsdoc.parsers.gtid import mariadb_errant, mariadb_position, mariadb_state, mariadb_writers, mysql_set

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4350f323-7565-4e59-8763-4b1b83a0ce0e"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        (f"{A}:1", 1),
        (f"{A}:1-5", 5),
        (f"{A}:1-5:7:9-10", 8),
        (f"{A}:1-5,\n{B}:1-3", 8),
        (f"{A.upper()}:1-5,{A}:4-6", 6),  # the same server, and ranges that overlap
        (f"{A}:1-2:3-4", 4),
        (f"{A}:1-5:nightly:1-3:7", 9),  # tags, since MySQL 8.3
        (f"{A}:1-5:nightly:1-3,{A}:nightly:2-4", 9),
        (f"{A}:1-9223372036854775806", 9223372036854775806),
    ],
)
def test_how_many_a_set_of_mysql_has(text, count):
    assert mysql_set(text).size == count


@pytest.mark.parametrize(
    ("text", "other", "count"),
    [
        (f"{A}:1-10", "", 10),
        (f"{A}:1-10", f"{A}:1-10", 0),
        (f"{A}:1-10", f"{A}:1-7", 3),
        (f"{A}:1-10", f"{A}:3-4:6", 7),
        (f"{A}:1-10", f"{B}:1-10", 10),
        (f"{A}:2-3:5-6:8", f"{A}:1-8", 0),
        (f"{A}:1-3:7-9", f"{A}:2-8", 2),
        (f"{A}:5", f"{A}:1-3:7-9", 1),
        (f"{A}:nightly:1-5", f"{A}:1-5", 5),
        (f"{A}:1-20", f"{A}:1:3:5-7:19-30", 13),
    ],
)
def test_what_of_a_set_is_not_in_another(text, other, count):
    assert mysql_set(text).without(mysql_set(other)).size == count


def test_the_transactions_that_began_on_one_server():
    assert mysql_set(f"{A}:1-5:nightly:1-3,{B}:1-9").of(A.upper()).size == 8


@pytest.mark.parametrize(
    "text",
    ["x", A, f"{A}:", f"{A}:0", f"{A}:5-1", f"{A}:1-", f"{A}:-1", f"{A}:٣", f"{A}:{'9' * 30}", "0-1-5", f"{A}:1-2-3"],
)
def test_what_is_no_set_of_mysql(text):
    with pytest.raises(Malformed):
        mysql_set(text)


@pytest.mark.parametrize(
    ("primary", "replica", "count"),
    [
        ("0-1-214", "0-1-214", 0),
        ("0-1-214", "0-1-164", 50),
        ("0-2-215", "0-1-214", 1),  # another server wrote the last one
        ("0-1-214", "0-2-220", 0),
        ("0-1-10,1-7-5", "0-1-10", 5),
        ("0-1-10", "", 10),
        ("", "0-1-10", 0),
        ("0-1-10", " 0-1-8 , 0-2-9 ", 1),
    ],
)
def test_how_far_one_position_of_mariadb_is_ahead(primary, replica, count):
    assert mariadb_position(primary).ahead_of(mariadb_position(replica)) == count


@pytest.mark.parametrize(
    ("replica", "primary", "count"),
    [
        ("0-1-214", "0-1-214", 0),
        ("0-1-214,0-2-217", "0-1-214", 3),  # the replica, server 2, wrote three after what it had
        ("0-1-216,0-2-215", "0-1-216", 1),  # one, and then more came: one at least
        ("0-2-100,0-1-214", "0-2-100,0-1-214", 0),  # it was the primary once
        ("0-2-120,0-1-214", "0-2-100,0-1-214", 1),
        ("5-2-9,0-1-214", "0-1-214", 0),  # a domain of its own, by design
        ("0-3-300,0-1-214", "0-1-214", 0),  # a transaction of a third server
    ],
)
def test_what_only_a_replica_of_mariadb_has(replica, primary, count):
    assert mariadb_errant(replica, 2, primary) == count


@pytest.mark.parametrize("text", ["x", "0-1", "0-1-2-3", "0-1-٣", f"0-1-{'9' * 30}", f"{A}:1-5", "-1-1-1"])
def test_what_is_no_position_of_mariadb(text):
    with pytest.raises(Malformed):
        mariadb_state(text)
    assert mariadb_writers(text) == set()


def test_who_wrote_last():
    assert mariadb_writers("0-1-5,1-7-9") == {1, 7}


def test_a_set_without_end_is_refused():
    with pytest.raises(Malformed, match="characters"):
        mysql_set("x" * (2 << 20))
