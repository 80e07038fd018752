"""What PostgreSQL's answers come to: statistics that were reset, blockers without a process, errors, names for psql."""

from __future__ import annotations

import shlex

import pytest

from opsdoc.clients.postgresql import Target
from opsdoc.clients.postgresql_errors import Foreign, explained
from opsdoc.clients.sql import Refusal, Said
from opsdoc.looks.postgresql_contention import items
from opsdoc.looks.postgresql_contention_chains import lock_chains
from opsdoc.looks.postgresql_contention_hot import hot_statements, spent_on_us
from opsdoc.looks.postgresql_watch import Look, Watched
from opsdoc.model import Denied, Malformed, Unknown, Unreachable, Unseen, Unsupported
from opsdoc.signals.contention_facts import DbNode, HotStatement


def watched(first, last=None, errors=None):
    """A server that said these rows at both ends of a window, or at one."""
    looks = [Look(1.0, Said(first, {}))]
    if last is not None:
        looks.append(Look(3.0, Said(last, errors or {})))
    return Watched(Target.of("postgresql://db:5432/"), looks)


def told(total, *rows, text=False):
    return [{"told": {"all": total, "rows": [[10, 5, n, c, ms, *([{"query": f"q{n}"}] * text)] for n, c, ms in rows]}}]


def hottest(before, now):
    one = watched({"statements before": before}, {"statements": now})
    return [item for item in hot_statements(one, 5) if isinstance(item, HotStatement)]


def test_statements_are_those_of_the_window():
    before, now = told(500.0, (1, 10, 300.0), (2, 1, 200.0)), told(700.0, (1, 12, 400.0), (2, 1, 200.0), text=True)
    (one,) = hottest(before, now)
    assert (one.statement, one.calls, one.seconds, one.mean) == ("q1", 2, pytest.approx(0.1), pytest.approx(0.05))
    assert (one.share, one.lifetime) == (pytest.approx(0.5), False)


def test_statements_that_are_new_and_statistics_that_were_reset():
    (new,) = hottest(told(500.0), told(600.0, (3, 4, 80.0), text=True))
    assert (new.calls, new.seconds) == (4, pytest.approx(0.08))
    (after,) = hottest(told(900.0, (1, 50, 800.0)), told(30.0, (1, 2, 30.0), text=True))
    assert (after.calls, after.seconds, after.share) == (2, pytest.approx(0.03), 1.0)


def test_where_nothing_ran_in_the_window_it_is_all_time():
    (one,) = hottest(told(500.0, (1, 10, 300.0)), told(500.0, (1, 10, 300.0), text=True))
    assert (one.lifetime, one.calls, one.share) == (True, 10, pytest.approx(0.6))


def spent(ours, before=(100, 50.0), statements=16, errors=None):
    session = {"version_num": 150000, "version": "15.0", "read_only": False, "seconds": 0.2, "statements": statements}
    rows = [{"told": {"all": 900.0, "ours": ours, "rows": [], "took": 0.002}}]
    last = {"statements": rows, "session": [{**session, "before": before and list(before)}]}
    return spent_on_us(watched({}, last, errors))


def test_what_ours_took_is_told_by_the_server_where_it_counts_ours_alone():
    assert spent([114, 60.0]) == pytest.approx(0.012)
    assert spent([113, 60.0], errors={"slots": Refusal("42501", "denied")}) == pytest.approx(0.012)
    assert spent([130, 60.0]) is None, "another run said the same at the same time"
    assert spent([14, 5.0]) is None, "the statistics were reset"
    assert spent([114, 60.0], before=None) is None, "it keeps none"


def waiting(pid, blockers, **more):
    blank = dict.fromkeys(
        "user application state kind database query open waits locktype mode xid relation object".split()
    )
    return {**blank, "pid": pid, "blockers": blockers, **more}


def prepared(gid, xid, *relations):
    return {
        "gid": gid, "quoted": f"'{gid}'", "owner": "app", "database": "shop", "xid": xid, "age": 5.0, "holds_back": 1,
        "locks": [], "relations": list(relations),
    }  # fmt: skip


def test_each_prepared_transaction_has_a_chain_of_its_own():
    rows = {
        "waits": [
            waiting(11, [0], xid="700", locktype="transactionid", waits=3.0),
            waiting(12, [0], relation=16400, locktype="relation", mode="AccessExclusiveLock", waits=2.0),
            waiting(0, None),
        ],
        "prepared": [prepared("a", "700"), prepared("b", "701", 16400)],
    }
    found = {chain.root_prepared: chain for chain in lock_chains(watched(rows))}
    assert {gid: chain.sessions[1].session for gid, chain in found.items()} == {"a": 11, "b": 12}
    assert all(chain.root == 0 and chain.sessions[1].blocked_by == (0,) for chain in found.values())
    assert "rollback prepared" in found["a"].end_root
    assert "/shop" in found["a"].end_root
    assert found["b"].sessions[1].amplifier


def test_a_prepared_transaction_that_is_gone_again_is_told_as_one():
    (chain,) = lock_chains(watched({"waits": [waiting(11, [0], xid="9", locktype="transactionid")], "prepared": []}))
    assert (chain.root, chain.root_state, chain.end_root) == (0, "prepared", "")


def test_a_refused_statement_is_a_blind_spot_and_never_nothing():
    errors = {"node": Refusal("57014", "too slow"), "waits": Refusal("42501", "permission denied")}
    seen = list(items([watched({}, {}, errors)], 5))
    (node,) = [item for item in seen if isinstance(item, DbNode)]
    assert node.connections == Unknown("too slow")
    (unseen,) = [item for item in seen if isinstance(item, Unseen)]
    assert (unseen.reason, unseen.detail, unseen.hint) == (
        "denied", "permission denied", "GRANT pg_monitor TO the role that asks",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind", "hint"),
    [
        ('FATAL:  password authentication failed for user "app"', Denied, "--password-env"),
        ('FATAL:  no pg_hba.conf entry for host "::1", user "app", database "d", no encryption', Denied, "sslmode=req"),
        ('FATAL:  role "a b" does not exist', Denied, 'CREATE ROLE "a b" LOGIN'),
        ('FATAL:  permission denied for database "shop"', Denied, 'GRANT CONNECT ON DATABASE "shop"'),
        ('FATAL:  database "shop" does not exist', Unreachable, "dbname=postgres"),
        ("received invalid response to SSL negotiation: H", Malformed, "5432"),
        ("server closed the connection unexpectedly", Malformed, "5432"),
        ("FATAL:  désolé", Foreign, "5432"),
        ("FATAL:  unsupported startup parameter: options", Unsupported, "name the server itself"),
    ],
)
def test_why_there_is_no_session(text, kind, hint):
    meant = explained("db:5432", f'connection to server at "db" (10.0.0.1), port 5432 failed: {text}\n', connected=True)
    assert type(meant) is kind
    assert hint in meant.hint
    assert meant.detail.startswith("db:5432: ")
    assert "connection to server" not in meant.detail


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("FATAL:  sorry, too many clients already", "53300"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "53300"),
        ('FATAL:  too many connections for role "app"', "53300"),
        ("FATAL:  the database system is starting up", "57P03"),
        ("FATAL:  the database system is not yet accepting connections", "57P03"),
    ],
)
def test_a_server_that_is_there_and_lets_nobody_in(text, code):
    meant = explained("db:5432", text, connected=True)
    assert isinstance(meant, Refusal)
    assert (meant.code, meant.text) == (code, text.removeprefix("FATAL:").strip())


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("postgresql://u:secret@db:5433/x", "postgresql://db:5433/o%27s"),
        ("host=/run/pg port=5433 password=secret", r"host=/run/pg port=5433 dbname='o\'s'"),
        ("service=shop", r"service=shop dbname='o\'s'"),
    ],
)
def test_the_command_by_hand_names_the_server_and_no_secret(dsn, words):
    command = Watched(Target.of(dsn)).by_hand("select  1", "o's")
    assert shlex.split(command) == ["psql", words, "-c", "select 1"]
