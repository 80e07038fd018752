"""Databases in the states that are recorded: each as sick as it is meant to be when it is made."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from servers import postgresql, programs
from servers.postgresql import Pair, Postgresql

FILL = "insert into orders select n, repeat('x', 40) from generate_series(1, {}) n"


class Server(Protocol):
    """What a scene is about."""

    pid: int

    def dsn(self) -> str: ...


class Databases:
    """Servers and what was done to them, as a program is handled here; `{dsns}` names those that are asked."""

    def __init__(self, sick: Callable[[contextlib.ExitStack], Sequence[Server]]) -> None:
        self._made = contextlib.ExitStack()
        try:
            asked = sick(self._made)
        except BaseException:
            self._made.close()
            raise
        self.pid = asked[0].pid
        self.facts: dict[str, object] = {"dsns": " ".join(f"--dsn {one.dsn()}" for one in asked)}

    def stop(self) -> None:
        self._made.close()


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────


def postgresql_pair(stack: contextlib.ExitStack, **settings: object) -> Pair:
    """A primary with a table of orders, and its standby, in step."""
    pair = stack.enter_context(postgresql.pair(**settings))
    pair.primary.sql("create extension pg_stat_statements", "create table orders (n int, item text)", FILL.format(100))
    programs.wait_until(pair.standby.caught_up, "the standby to catch up")
    for one in pair:
        one.sql("select pg_stat_statements_reset()", "select count(*) from orders where n between 3 and 70")
    return pair


def alone(sick: Callable[[contextlib.ExitStack], Sequence[Postgresql]], number: int) -> Callable[..., list[Postgresql]]:
    """The same, and only one of the servers is asked."""
    return lambda stack: [sick(stack)[number]]


def paused(stack: contextlib.ExitStack) -> Pair:
    pair = postgresql_pair(stack)
    pair.standby.sql("select pg_wal_replay_pause()")
    pair.primary.sql(FILL.format(50_000))
    time.sleep(1.5)  # the standby tells what it received once a second
    return pair


def cut_off(stack: contextlib.ExitStack) -> Pair:
    """The standby has the wrong address of its primary, with a password."""
    pair = postgresql_pair(stack)
    pair.standby.reload(primary_conninfo="host=127.0.0.1 port=1 user=postgres password=not-to-be-seen")
    pair.primary.sql("select pg_terminate_backend(active_pid) from pg_replication_slots")
    programs.wait_until(lambda: not pair.standby.streams(), "no receiver")
    pair.primary.sql(FILL.format(50_000))
    return pair


def frozen_link(stack: contextlib.ExitStack) -> Pair:
    pair = postgresql_pair(stack)
    stack.enter_context(pair.primary.frozen("walsender"))
    pair.primary.sql(FILL.format(20_000))
    time.sleep(2)
    return pair


def lost_slot(stack: contextlib.ExitStack) -> Pair:
    pair = postgresql_pair(stack, min_wal_size="32MB", max_wal_size="32MB")
    pair.primary.reload(max_slot_wal_keep_size="1MB")
    pair.standby.halt()
    for _ in range(4):
        pair.primary.sql(FILL.format(1), "select pg_switch_wal()")
    pair.primary.sql("checkpoint", "select 1")
    pair.standby.start()
    return pair


def late_by_design(stack: contextlib.ExitStack) -> Pair:
    pair = postgresql_pair(stack)
    pair.standby.reload(recovery_min_apply_delay="60s")
    pair.primary.sql(FILL.format(100))
    programs.wait_until(lambda: not pair.standby.caught_up(), "something to wait")
    return pair


def hanging_commits(stack: contextlib.ExitStack) -> list[Postgresql]:
    pair = postgresql_pair(stack)
    pair.primary.reload(synchronous_standby_names="berlin")
    session = stack.enter_context(contextlib.closing(pair.primary.connect()))
    session.autocommit()
    session.start(FILL.format(1)).waits("SyncRep")
    return [pair.primary]


def chain(stack: contextlib.ExitStack) -> list[Postgresql]:
    """A standby of a standby."""
    pair = postgresql_pair(stack)
    last = stack.enter_context(postgresql.server(pair.standby, slot="second", cluster_name="second"))
    return [*pair, last]


def locked(stack: contextlib.ExitStack) -> Pair:
    """A transaction that was left open, and those that wait for it; one that was prepared and forgotten."""
    pair = postgresql_pair(stack)
    prepared = stack.enter_context(contextlib.closing(pair.primary.connect("billing")))
    prepared.run("update orders set item = 'y' where n = 2")
    prepared.run("prepare transaction 'invoice-7'")
    root, second, alters, reads = [
        stack.enter_context(contextlib.closing(pair.primary.connect(name)))
        for name in ("shop", "shop", "migration", "report")
    ]
    root.run("update orders set item = 'y' where n = 1")
    second.start("update orders set item = 'z' where n = 1").waits()
    alters.start("alter table orders add column more int").waits()
    reads.start("select count(*) from orders where item = 'not to be seen'").waits()
    return pair


POSTGRESQL: tuple[tuple[str, Callable[[contextlib.ExitStack], Sequence[Postgresql]], str], ...] = (
    ("well", postgresql_pair, ""),
    ("standby-alone", alone(postgresql_pair, 1), ""),
    ("chain", chain, ""),
    ("paused", paused, ""),
    ("paused-primary-alone", alone(paused, 0), ""),
    ("cut-off", cut_off, ""),
    ("cut-off-standby-alone", alone(cut_off, 1), ""),
    ("cut-off-primary-alone", alone(cut_off, 0), ""),
    ("frozen-link", frozen_link, ""),
    ("slot-lost", lost_slot, ""),
    ("late-by-design", late_by_design, ""),
    ("commits-hang", hanging_commits, "--window 0"),
    ("locked", locked, ""),
)
