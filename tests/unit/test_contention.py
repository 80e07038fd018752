"""What holds a database: who waits for whom, who is left open, who cannot get in; and what was not seen is never OK."""

from __future__ import annotations

import io
import re

import pytest
from unit import sample_report

from opsdoc.model import Severity, Unknown, Unseen
from opsdoc.render import FORMATS, render, words
from opsdoc.signals import db_cause
from opsdoc.signals.alike import MOST
from opsdoc.signals.contention import (
    Client,
    DbNode,
    HotStatement,
    Limits,
    LockChain,
    OpenTransaction,
    PreparedTransaction,
    Waiter,
    judge,
)
from opsdoc.signals.replica_lag_facts import ReplicaLag

OK, WARNING, UNKNOWN, CRITICAL = Severity.OK, Severity.WARNING, Severity.UNKNOWN, Severity.CRITICAL
A, B = "10.0.0.1:5432", "10.0.0.2:5432"
DENIED = Unknown("permission denied")


def node(name=A, **more):
    """A small healthy primary."""
    made = {
        "connections": 12,
        "max_connections": 100,
        "role": "primary",
        "waiting": 0,
        "commit_waits": 0,
        "read_only": False,
        "replicas": 0,
        "window_seconds": 2.0,
        "by_hand": ("show activity",),
    }
    return DbNode(subject=name, node=name, id=f"n-{name}", **{**made, **more})


SESSIONS = (
    Waiter(14965, 0, (), "app", "orders", "idle in transaction", "", None, 12.5, False, "update orders set state = ?"),
    Waiter(
        14969, 1, (14965,), "app", "orders", "active", "ShareLock", 11.2, 11.3, False, "update orders set state = ?"
    ),
    Waiter(14973, 2, (14969, 14965), "ddl", "flyway", "active", "AccessExclusiveLock", 8.1, 8.2, True, "alter table o"),
    Waiter(14977, 3, (14973,), "app", "shop", "active", "AccessShareLock", 4.0, 4.0, False, "select * from orders"),
)


def chain(**more):
    """The chain of four."""
    made = {
        "node": A,
        "waiting": 3,
        "longest": 11.2,
        "root": 14965,
        "root_state": "idle in transaction",
        "root_open": 12.5,
        "root_user": "app",
        "root_application": "orders",
        "object": "relation orders",
        "sessions": SESSIONS,
        "end_root": "select pg_terminate_backend(14965)",
        "by_hand": ("show locks",),
    }
    return LockChain(subject=f"{A} session 14965", id="c", **{**made, **more})


def two(**more):
    """A chain of two, without an amplifier."""
    return chain(**{"waiting": 1, "sessions": SESSIONS[:2], **more})


def opened(**more):
    made = {
        "open": 700.0,
        "state": "idle in transaction",
        "user": "app",
        "application": "orders",
        "session": 77,
        "node": A,
        "end": "select pg_terminate_backend(77)",
        "by_hand": ("show activity",),
    }
    return OpenTransaction(subject=f"{A} session 77", id="o", **{**made, **more})


def prepared(**more):
    made = {
        "age": 42.0,
        "gid": "tx-1",
        "owner": "app",
        "database": "shop",
        "node": A,
        "locks": ("orders",),
        "end": ("commit prepared 'tx-1'", "rollback prepared 'tx-1'"),
        "by_hand": ("show prepared",),
    }
    return PreparedTransaction(subject=f"{A} prepared tx-1", id="p", **{**made, **more})


def lag(**more):
    return ReplicaLag(subject=B, replica=B, primary=A, id="l", **more)


def findings(*observations, unseen=()):
    return list(judge(observations, unseen, Limits()))


def bad(*observations, unseen=()):
    return [finding for finding in findings(*observations, unseen=unseen) if finding.severity is not OK]


def only(*observations, unseen=()):
    (found,) = bad(*observations, unseen=unseen)
    return found


# ── well ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_idle_server_is_ok_and_says_what_was_looked_at():
    (found,) = findings(node())
    assert (found.rule, found.severity) == ("db.fine", OK)
    assert found.summary == (
        f"nothing holds {A}: 12 of 100 connections used; no session waits for a lock; no transaction left open"
    )


def test_several_servers_are_told_in_one():
    (found,) = findings(node(), node(B, connections=50, role="replica"))
    assert found.summary.startswith(f"nothing holds both servers: at most 50 of 100 connections used ({B})")


def test_what_is_not_known_is_not_claimed():
    found = findings(node(waiting=None, connections=None))[-1]
    assert found.rule == "db.fine"
    assert "wait" not in found.summary
    assert "connections" not in found.summary


def test_nothing_seen_is_no_finding():
    assert findings() == []


# ── servers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("more", "rule", "severity"),
    [
        ({"connections": 79}, None, OK),
        ({"connections": 80}, "db.connections", WARNING),
        ({"connections": 94}, "db.connections", WARNING),
        ({"connections": 95}, "db.connections", CRITICAL),
        ({"connections": 77, "reserved": 3}, None, OK),
        ({"connections": 78, "reserved": 3}, "db.connections", WARNING),
        ({"full": True}, "db.connections", CRITICAL),
        ({"full": True, "reachable": False, "connections": None, "max_connections": None}, "db.connections", CRITICAL),
        ({"running": 59}, None, OK),
        ({"running": 60}, "db.running", WARNING),
        ({"active": 60}, "db.running", WARNING),
        ({"running": 1, "active": 60}, None, OK),
        ({"claimed": "primary"}, None, OK),
        ({"claimed": "primary", "read_only": True}, "db.read-only-writer", CRITICAL),
        ({"claimed": "primary", "role": "replica"}, "db.read-only-writer", CRITICAL),
        ({"role": "replica", "read_only": True}, None, OK),
        ({"commit_waits": 1, "commit_wait_seconds": 0.9, "replicas": 1}, None, OK),
        ({"commit_waits": 1, "commit_wait_seconds": 1.0, "replicas": 1}, "db.commit-waits", WARNING),
        ({"commit_waits": 1, "commit_wait_seconds": 5.0, "replicas": 1}, "db.commit-waits", CRITICAL),
        ({"commit_waits": 1, "commit_wait_seconds": None, "replicas": 1}, "db.commit-waits", WARNING),
        ({"commit_waits": 1, "commit_wait_seconds": 0.1, "replicas": 0}, "db.commit-waits", CRITICAL),
        ({"deadlocks": 0}, None, OK),
        ({"deadlocks": 1}, "db.deadlocks", WARNING),
        ({"deadlocks": 4, "window_seconds": 60.0}, None, OK),
        ({"deadlocks": 5, "window_seconds": 60.0}, "db.deadlocks", WARNING),
        ({"deadlocks": 5, "window_seconds": None}, None, OK),
        ({"history_length": 49_999}, None, OK),
        ({"history_length": 50_000}, "db.history", WARNING),
        ({"xid_age": 999_999_999}, None, OK),
        ({"xid_age": 1_000_000_000}, "db.wraparound", WARNING),
        ({"xid_age": 1_600_000_000}, "db.wraparound", CRITICAL),
        ({"sees_all": False, "grant": "GRANT pg_monitor TO opsdoc"}, "db.blind", UNKNOWN),
        ({"connections": DENIED}, "db.blind", UNKNOWN),
        ({"waiting": DENIED}, "db.blind", UNKNOWN),
        ({"role": DENIED}, "db.blind", UNKNOWN),
        ({"uptime": DENIED, "history_length": DENIED}, None, OK),
    ],
)
def test_a_server(more, rule, severity):
    found = bad(node(**more))
    assert [(one.rule, one.severity) for one in found] == ([(rule, severity)] if rule else [])
    for one in found:
        assert one.key == f"{rule}:{A}"
        assert one.evidence == (f"n-{A}",)
        assert one.next_step
        assert one.by_hand == ("show activity",)
    assert (not found) == any(one.rule == "db.fine" for one in findings(node(**more)))


CLIENTS = (
    Client("app (orders)", 20, "idle"),
    Client("app (orders)", 5, "idle in transaction"),
    Client("report", 2, "active"),
    Client("cron", 1),
    Client("opsdoc", 1),
)


def test_all_connections_used_is_told_with_who_has_them():
    found = only(
        node(full=True, reachable=False, connections=30, max_connections=30, reserved=3, clients=CLIENTS,
             counted_by="operating system", why="sorry, too many clients already")
    )  # fmt: skip
    assert found.severity is CRITICAL
    assert "(30 of 30, 3 of them kept for administrators)" in found.summary
    assert "by client: app (orders) 25, report 2, cron 1 and 1 more" in found.summary
    assert "idle 20, idle in transaction 5 and active 2" in found.summary
    assert "(sorry, too many clients already)" in found.summary
    assert "operating system" in found.confidence
    assert "superuser_reserved_connections" in found.next_step


def test_nothing_else_is_judged_of_a_server_that_lets_nobody_in():
    found = bad(node(full=True, reachable=False, sees_all=False, connections=DENIED, xid_age=2_000_000_000))
    assert [one.rule for one in found] == ["db.connections"]
    assert "how many it may have it did not say" in found[0].summary


def test_a_blind_spot_names_what_could_be_missed_and_the_grant():
    found = only(node(sees_all=False, grant="GRANT pg_monitor TO opsdoc", replicas=DENIED))
    assert "locks, open transactions and waits of theirs would be missed and its replicas: permission denied" in (
        found.summary
    )
    assert found.next_step == "GRANT pg_monitor TO opsdoc"


@pytest.mark.parametrize(
    ("lags", "severity"),
    [((), WARNING), ((lag(sync="async"),), CRITICAL), ((lag(sync="sync"),), WARNING), ((lag(sync="quorum"),), WARNING)],
)
def test_commits_that_wait_for_a_replica_that_is_not_there_never_end(lags, severity):
    found = only(node(commit_waits=2, commit_waits_for="nosuch", commit_wait_seconds=1.5, replicas=1), *lags)
    assert found.severity is severity
    assert "2 commits on 10.0.0.1:5432 wait for a synchronous replica (nosuch), the longest for 1.5 s" in found.summary
    assert ("never end" in found.summary) == (severity is CRITICAL)


# ── servers that give no answer ──────────────────────────────────────────────────────────────────

DEAD = {"reachable": False, "connections": None, "max_connections": None, "role": None, "why": "no answer in 3 s"}


@pytest.mark.parametrize(
    ("more", "lags", "reason", "severity"),
    [
        ({}, (), "timeout", UNKNOWN),
        ({}, (), "denied", UNKNOWN),
        ({"claimed": "primary"}, (), "unreachable", CRITICAL),
        ({"claimed": "primary"}, (), "denied", UNKNOWN),
        ({"claimed": "primary"}, (), "malformed", UNKNOWN),
        ({"role": "primary"}, (), None, CRITICAL),
        ({"role": "replica"}, (), None, WARNING),
        ({}, (lag(link="down"),), "timeout", CRITICAL),
        ({}, (lag(link="streaming", link_moved=False, silence=36.0, silence_expected=35.0),), "timeout", CRITICAL),
        ({}, (lag(link="streaming", link_moved=False, silence=35.0, silence_expected=35.0),), "timeout", UNKNOWN),
        ({}, (lag(link="streaming", link_moved=Unknown("one look")),), "timeout", UNKNOWN),
        ({"claimed": "primary"}, (lag(link="streaming", link_moved=False),), "timeout", CRITICAL),
        ({}, (lag(link="streaming", link_moved=True),), "timeout", UNKNOWN),
        ({"name": B}, (lag(link="streaming", link_moved=True),), "timeout", UNKNOWN),
        ({"name": B}, (lag(link="down"),), "timeout", WARNING),
    ],
)
def test_a_server_without_an_answer(more, lags, reason, severity):
    dead = node(**{**DEAD, **more})
    unseen = (Unseen(dead.name, reason, "no answer", "open the port"),) if reason else ()
    found = only(dead, *lags, unseen=unseen)
    assert (found.rule, found.severity) == ("db.unreachable", severity)
    assert "(no answer in 3 s)" in found.summary
    assert found.next_step == "open the port" if reason else "process lives" in found.next_step
    assert not any(one.rule == "db.fine" for one in findings(dead, *lags, unseen=unseen))


def test_what_the_machine_shows_of_a_frozen_server_is_told():
    found = only(node(**{**DEAD, "connections": 28, "clients": CLIENTS[:1], "counted_by": "operating system"}))
    assert "its machine shows 28 connections to it (app (orders) 20)" in found.summary


# ── locks ────────────────────────────────────────────────────────────────────────────────────────


def test_a_chain_names_its_root_and_the_amplifier():
    found = only(node(), chain())
    assert (found.rule, found.severity, found.subject) == ("db.lock-chain", WARNING, f"{A} session 14965")
    assert found.summary == (
        f"session 14965 of app (orders), idle in transaction, open for 12.5 s, holds up 3 sessions on {A}, the longest "
        "for 11.2 s (relation orders); session 14973 (alter table o) is the amplifier: whoever comes later queues "
        "behind it, readers too, 1 so far"
    )
    assert found.next_step.startswith("cancel session 14973 first")
    assert "select pg_terminate_backend(14965)" in found.next_step
    assert found.by_hand == ("show locks",)


@pytest.mark.parametrize(
    ("made", "severity", "limit"),
    [
        (two(longest=0.9), OK, None),
        (two(longest=1.0), WARNING, "contention.lock_wait"),
        (two(longest=29.9), WARNING, "contention.lock_wait"),
        (two(longest=30.0), CRITICAL, "contention.lock_wait"),
        (two(longest=0.5, waiting=4), OK, None),
        (two(longest=0.5, waiting=5), WARNING, "contention.lock_waiting"),
        (two(longest=0.5, waiting=10), CRITICAL, "contention.lock_waiting"),
        (two(longest=DENIED), WARNING, None),
        (two(longest=None), WARNING, None),
        (two(longest=0.5, blocks_applier=True), WARNING, None),
        (chain(longest=0.5), WARNING, None),
    ],
)
def test_a_chain_is_judged_by_how_many_wait_and_how_long(made, severity, limit):
    found = findings(made)[0]
    assert (found.rule, found.severity) == ("db.lock-chain", severity)
    assert (found.threshold.name if found.threshold else None) == limit
    assert bool(found.next_step) == (severity is not OK)


def test_an_applier_at_the_root_is_not_to_be_ended():
    found = only(two(root_is_applier=True, root_state="applying", end_root="kill 14965"))
    assert "do not end the applier" in found.next_step
    assert "kill 14965" not in found.next_step


def test_a_root_at_work_is_looked_at_first():
    assert "look at what it runs" in only(two(root_state="active")).next_step


def test_a_prepared_root_is_named_and_is_critical():
    held = two(root=0, root_prepared="tx-1", root_state="", root_user="", root_application="", root_open=None)
    found = {one.rule: one for one in bad(held, prepared())}
    assert found["db.lock-chain"].summary.startswith(f"the prepared transaction tx-1 holds up 1 session on {A}")
    assert found["db.prepared"].severity is CRITICAL
    assert "1 session waits for it" in found["db.prepared"].summary


def test_cycles_and_strange_ids_do_no_harm():
    ring = (Waiter(1, 0, (2,), amplifier=True), Waiter(2, 1, (1,)), Waiter(2, 1, (9,)))
    assert "is the amplifier" in only(chain(sessions=ring)).summary


def test_many_chains_are_summed_up():
    found = bad(*(two(node=f"n{number:02}", root_user=f"u{number}") for number in range(MOST + 5)))
    assert len(found) == MOST + 1


# ── transactions ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({"idle": 59.9, "open": 100.0}, None),
        ({"idle": 60.0}, "db.idle-transaction"),
        ({"idle": 5.0, "open": 299.0}, None),
        ({"idle": None, "open": 300.0, "state": "active"}, "db.long-transaction"),
        ({"idle": DENIED, "open": 300.0}, "db.long-transaction"),
        ({"idle": DENIED, "open": DENIED}, None),
    ],
)
def test_a_transaction_that_stays_open(more, rule):
    found = bad(opened(**more))
    assert [(one.rule, one.severity) for one in found] == ([(rule, WARNING)] if rule else [])
    for one in found:
        assert one.key == f"{rule}:{A}/app/orders"
        assert "select pg_terminate_backend(77) ends it" in one.next_step


def test_what_an_open_transaction_holds_is_told():
    found = only(opened(idle=90.0, client="10.0.0.7", locks=2, changed=1, holds_back=48_000))
    assert found.summary == (
        f"session 77 of app (orders) from 10.0.0.7 on {A} has a transaction open and does nothing for 90 s, open for "
        "12 min; it holds 2 locks, changed 1 row and keeps 48,000 transactions from being cleaned up"
    )


def test_the_root_of_a_chain_is_told_there():
    assert [one.rule for one in bad(two(), opened(session=14965, idle=90.0))] == ["db.lock-chain"]
    assert len(bad(two(), opened(session=14965, idle=90.0, node=B))) == 2


@pytest.mark.parametrize(
    ("age", "severity"),
    [(0.5, OK), (1.0, WARNING), (299.0, WARNING), (300.0, CRITICAL), (Unknown("XA RECOVER does not tell"), WARNING)],
)
def test_a_prepared_transaction_in_doubt(age, severity):
    found = bad(node(), prepared(age=age))
    assert [(one.rule, one.severity) for one in found] == ([("db.prepared", severity)] if severity else [])
    for one in found:
        assert "holds locks on orders" in one.summary
        assert "commit prepared 'tx-1' or rollback prepared 'tx-1'" in one.next_step
        assert ("unknown" in one.confidence) == isinstance(age, Unknown)


def test_a_prepared_transaction_of_a_moment_ago_is_told_to_be_fine():
    assert findings(node(), prepared(age=0.5))[-1].summary.endswith("1 transaction prepared a moment ago")


def test_locks_that_are_unknown_are_said_to_be():
    assert "what it locks is unknown (permission denied)" in only(prepared(locks=DENIED)).summary


# ── statements ───────────────────────────────────────────────────────────────────────────────────


def hot(text, seconds, **more):
    return HotStatement(subject=text, id=text, seconds=seconds, statement=text, node=A, **more)


def test_hot_statements_are_only_a_note():
    (found,) = findings(
        hot("c", 1.0), hot("b", 9.0, share=0.4, calls=1200, mean=0.0075), hot("d", 0.5), hot("a", 2.0), hot("e", DENIED)
    )
    assert (found.rule, found.severity) == ("db.hot-statement", OK)
    assert found.summary == (f"where {A} spends its time, for orientation: b (40 %, 1,200 calls, 8 ms each), a and c")
    assert found.confidence == "in the window"
    assert findings(hot("a", 1.0, lifetime=True))[0].confidence == "over the lifetime of its statistics"


# ── together ─────────────────────────────────────────────────────────────────────────────────────


def test_all_rules_have_their_place():
    dead = node(**DEAD)
    seen = [
        node(full=True), dead, node(claimed="primary", read_only=True), node(commit_waits=1, replicas=0), chain(),
        prepared(), opened(idle=90.0), opened(idle=None), node(running=99), node(deadlocks=9),
        node(xid_age=2_000_000_000), node(history_length=60_000), node(sees_all=False), node(), hot("a", 1.0),
    ]  # fmt: skip
    rules = {finding.rule for one in seen for finding in findings(one)}
    assert rules == {rule for rule in db_cause.PRECEDENCE if rule.startswith("db.")}


def test_a_troubled_server_is_not_called_well_and_another_is():
    found = findings(node(), node(B), chain())
    assert [one.subject for one in found if one.rule == "db.fine"] == [B]


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────

HOSTILE = "x\x1b[31m\n<script>alert(1)</script>```"


def shown(form, *observations, **options):
    found = findings(*observations)
    result = sample_report.result(*observations, findings=tuple(found), probe="db.postgresql", totals={})
    out = io.StringIO()
    render(sample_report.report(result, title="db postgresql"), form, out, **options)
    return out.getvalue()


def test_the_lock_tree_in_a_terminal_has_the_root_first_and_each_beneath_what_it_waits_for():
    lines = shown("text", chain(longest=40.0), width=80).splitlines()
    tree = [line for line in lines if re.match(r" +(\\_ )?session 149", line) and "·" in line]
    assert [re.findall(r"session (\d+)", line)[0] for line in tree] == ["14965", "14969", "14973", "14977"]
    depths = [line.index("session") for line in tree]
    assert depths == [6, 9, 12, 15]
    assert "\\_ session 14973 · amplifier · blocked by 14969, 14965" in tree[2]
    assert all(words.cells(line) <= 80 for line in lines)


def test_the_lock_tree_in_a_ticket():
    page = shown("md", chain(longest=40.0))
    assert "\n\\_ session 14969 · blocked by 14965 · user app" in page
    assert "\n   \\_ session 14973 · amplifier" in page


def test_the_lock_tree_on_a_page():
    page = shown("html", chain(longest=40.0))
    assert '<li class="level-0"><b>session 14965</b>' in page
    assert '<li class="level-2"><b>session 14973</b> <mark>amplifier</mark>' in page


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_sessions_are_only_text_however_deep(form):
    deep = tuple(
        Waiter(n, n * 10**6, (n - 1,), HOSTILE, HOSTILE, HOSTILE, HOSTILE, statement=HOSTILE) for n in range(300)
    )
    page = shown(
        form, chain(sessions=deep, root_user=HOSTILE, object=HOSTILE), opened(idle=99.0, user=HOSTILE),
        prepared(gid=HOSTILE), node(connections=99, clients=(Client(HOSTILE, 99, HOSTILE),)),
    )  # fmt: skip
    assert "\x1b" not in page
    assert "<script>alert" not in page or form != "html"
    if form == "text":
        assert all(words.cells(line) <= 130 for line in page.splitlines())
