"""Statements and errors without values: what stays can be read, and what is somebody's data does not stay."""

from __future__ import annotations

import pytest

from opsdoc.parsers.postgresql_title import Backend, backend, title
from opsdoc.parsers.sql_text import READ, masked, masked_error


@pytest.mark.parametrize(
    ("text", "product", "shown"),
    [
        ("SELECT *\n\tFROM t WHERE a = 'x'  AND b=7", None, "SELECT * FROM t WHERE a = ? AND b=?"),
        ("select 1.5e-10, .5, 0xff, t1.c2 from t1", None, "select ?, ?, ?, t1.c2 from t1"),
        ("select 'it''s', E'it\\'s', U&'x', B'01', X'ff', N'x'", "postgresql", "select ?, …"),
        ("select $$it's$$, $a$ $$ $b$ $a$, $1", "postgresql", "select ?, ?, $1"),
        ('select "users"."first name" from "users" where x = $2', None, "select ?.? from ? where x = $2"),
        ('select "users"."first name" from "users"', "postgresql", 'select "users"."first name" from "users"'),
        ("select \"it's 7\" from t where a = 'x'", "postgresql", "select ? from t where a = ?"),
        ("select data #> '{a,b}' from t -- it's\nwhere a=1", "postgresql", "select data #> ? from t where a=?"),
        ("select /* a /* 'b' */ it's */ 1, 2", "postgresql", "select ?, ?"),
        ("select a from t where b like '%\\' escape '\\' and c", "postgresql", "select a from t where b like ?"),
        ("select `a b`, `it's` from `t` # it's\nwhere x", "mysql", "select `a b`, ? from `t` where x"),
        ("select \"it's\", _utf8mb4'x', _latin1 'y'", "mysql", "select ?, ?, ?"),
        (
            "select a from t where b = 'it\\'s' and c",
            "mysql",
            "select a from t where b = ?",
        ),  # without backslashes, too
        ("/*!40001 SQL_NO_CACHE */ select 1 -- x", "mariadb", "select ?"),
        ("insert into t values (1,2,3,4,5)", None, "insert into t values (?, …)"),
        ("select a from t where b = 'unter", None, "select a from t where b = ?"),
        ("select a from t /* unter", None, "select a from t"),
        ("select 'C:\\' , a", "postgresql", "select ?"),  # it may be one literal where backslashes mean something
        ("commit", None, "commit"),
        ("", None, ""),
    ],
)
def test_a_statement_without_its_values(text, product, shown):
    assert masked(text, 200, product) == shown
    assert masked(shown, 200, product) == shown


def test_a_backslash_alone_as_the_escape_is_no_reason_to_hide_what_follows():
    text = "select a from t where b like 'x' escape '\\' and c = 7 order by d"
    assert masked(text, 200, "postgresql") == "select a from t where b like ? escape ? and c = ? order by d"


def test_what_is_long_is_cut():
    assert masked("select " + "a, " * 100, 20) == "select a, a, a, a,…"
    assert masked(f"update t set x = '{'z' * READ}' where y = 1") == "update t set x = ?…"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "Error 'Duplicate entry '7-o'brien' for key 'k'' on query. Default database: 'a'. Query: 'ins (7, 'o''b')'",
            "Error 'Duplicate entry '?' for key 'k'' on query. Default database: 'a'. Query: 'ins (?, ?)'",
        ),
        (
            "Could not execute Write_rows on table t; Duplicate entry '7' for key 'k', Error_code: 1; the event's log",
            "Could not execute Write_rows on table t; Duplicate entry '?' for key 'k', Error_code: 1; the event's log",
        ),
        ("Incorrect integer value: 'a b' for column 'x' at row 1", None),
        ("check the manual for the right syntax to use near 'a' and b = 'c' at line 1", "near '?' at line 1"),
        (
            'invalid input syntax for type integer: "bob"\nLINE 1: select bob',
            'invalid input syntax for type integer: "?"',
        ),
        ("Key (id, name)=(7, bob (x)) already exists.", "Key (id, name)=(?) already exists."),
        ("Failing row contains (7, bob).", "Failing row contains (?)."),
        ("value 'unter", "value '?…"),
    ],
)
def test_an_error_without_values(text, shown):
    line = masked_error(text)
    assert "bob" not in line
    assert "a b" not in line
    assert line.endswith(shown or "'?' for column 'x' at row 1")
    assert masked_error(line) == line


@pytest.mark.parametrize(
    "text",
    [
        "error connecting to master 'repl@db1:3306' - retry-time: 2 message: Access denied for user 'repl'@'localhost'",
        "Got fatal error 1236 from master when reading data from binary log: 'Could not find first log file name in'",
        "Error executing row event: 'Table 'app.t' doesn't exist'",
        "Column 1 of table 'app.t' cannot be converted from type 'varchar(10)' to type 'int(11)'",
        "Unknown column 'x' in 'field list'",
        "Cannot add a child row: a foreign key constraint fails (`app`.`t`, CONSTRAINT `fk` FOREIGN KEY (`a`))",
        'duplicate key value violates unique constraint "t_pkey"',
        'relation "foo" does not exist',
        'no pg_hba.conf entry for host "127.0.0.1", user "bob", database "shop", no encryption',
        'connection to server at "127.0.0.1", port 5432 failed: FATAL: password authentication failed for user "bob"',
        'connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: No such file or directory',
        'could not translate host name "nosuch" to address: Name or service not known',
        "FATAL: sorry, too many clients already",
    ],
)
def test_an_error_that_names_things_stays_as_it_is(text):
    assert masked_error(text) == text


# ── titles of processes ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("postgres: app shop 10.0.0.5(4) idle in transaction", Backend("app shop", "10.0.0.5", "idle in transaction")),
        ("postgres: 15/main: app shop [local] SELECT waiting", Backend("app shop", "[local]", "SELECT waiting")),
        ("postgres: app my shop ::1(1) idle in t (a)", Backend("app my shop", "::1", "idle in t (a)")),
        ("postgres: app shop db1.a(5) COMMIT waiting for 0/3000148", Backend("app shop", "db1.a", "COMMIT waiting")),
        ("postgres: app shop [local] ", Backend("app shop", "[local]", "")),
        ("postgres: walsender repl 127.0.0.1(5555) streaming 0/3000148", None),
        ("postgres: 15/main: walsender repl 127.0.0.1(5555) streaming 0/3000148", None),
        ("postgres: checkpointer ", None),
        ("postgres: parallel worker for PID 4711 ", None),
        ("postgres: startup recovering 000000010000000000000003", None),
        ("/usr/lib/postgresql/15/bin/postgres -D /x", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_title_tells_what_a_process_does_for_whom(text, found):
    assert backend(text) == found


@pytest.mark.parametrize(
    ("state", "kinds"),
    [
        ("idle", "idle"),
        ("idle in transaction (aborted)", "idle idle_in_transaction"),
        ("SELECT", "active"),
        ("UPDATE waiting", "active waiting"),
        ("authentication", ""),
    ],
)
def test_kinds_of_work(state, kinds):
    one = Backend("app shop", "[local]", state)
    assert [
        name for name in ("idle", "idle_in_transaction", "active", "waiting") if getattr(one, name)
    ] == kinds.split()


def test_only_titles_of_postgresql_are_titles():
    assert title("postgres: checkpointer ") == "checkpointer"
    assert title("vim postgres: x") is None
