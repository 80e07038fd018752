"""What `opsdoc db` costs: time beyond its window, and what it asks of each of three servers, as these count it."""

from __future__ import annotations

import contextlib
import json
import shlex
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rows import OPSDOC, WINDOW, Cost, Row, compared, cost_of, told
from servers import mariadb, postgresql
from servers.mariadb import Mariadb
from servers.postgresql import Postgresql

# What people ask, one after another, of each server.
PSQL = (
    "select * from pg_stat_replication",
    "select * from pg_stat_wal_receiver",
    "select pg_is_in_recovery(), now() - pg_last_xact_replay_timestamp()",
    "select * from pg_replication_slots",
    "select pid, usename, state, now() - xact_start, pg_blocking_pids(pid), query from pg_stat_activity",
    "select * from pg_prepared_xacts",
    "select calls, total_exec_time, query from pg_stat_statements order by total_exec_time desc limit 20",
)
MARIADB = (
    "SHOW ALL SLAVES STATUS",
    "SHOW FULL PROCESSLIST",
    "SELECT * FROM information_schema.innodb_trx",
    "XA RECOVER",
)
_MEASURED = {"pg_stat_statements.track_planning": "on"}
_OF_POSTGRESQL = f"""select coalesce(sum(calls), 0)::int, coalesce(sum(total_exec_time + total_plan_time), 0) / 1000
from pg_stat_statements s join pg_roles r on r.oid = s.userid where rolname = '{postgresql.WATCHER}'"""
_OF_MARIADB = f"""SELECT SUM(count_star) AS calls, SUM(sum_timer_wait) / 1e12 AS seconds
FROM performance_schema.events_statements_summary_by_user_by_event_name
WHERE user = '{mariadb.WATCHER}' AND event_name <> 'statement/com/Quit'"""


class Asked(NamedTuple):
    """What a server was asked so far, or while something ran: statements, and seconds that they took there."""

    statements: int
    seconds: float


class Run(NamedTuple):
    """One run of opsdoc: what it took, beyond its window by its own report, and what it says that it cost a server."""

    beyond: float
    cost: Cost
    stated: float


class Servers(NamedTuple):
    """Three of them, how ours and the usual look at them, and how each counts what it is asked.

    `limit` is how much longer than the usual ours may take: `mariadb` starts in no time, Python does not.
    """

    product: str
    ours: Sequence[str]
    usual: str
    usual_name: str
    limit: float
    asked: Callable[[], list[Asked]]


def postgresql_servers(rounds: int) -> list[Row]:
    with _postgresql() as servers:
        return _rows(servers, rounds)


def mariadb_servers(rounds: int) -> list[Row]:
    with _mariadb() as servers:
        return _rows(servers, rounds)


# ── the servers ──────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _postgresql() -> Iterator[Servers]:
    """Planning is measured there, too, which it is not by default."""
    with contextlib.ExitStack() as made:
        primary = made.enter_context(postgresql.server(**_MEASURED))
        primary.sql("create extension pg_stat_statements")
        standbys = [made.enter_context(postgresql.server(primary, slot=name)) for name in ("one", "two")]
        servers = [primary, *standbys]
        dsns = [one.dsn(postgresql.WATCHER) for one in servers]
        usual = [["psql", "-X", "-A", dsn, "-c", query] for dsn in dsns for query in PSQL]
        yield Servers(
            "a PostgreSQL primary and two standbys",
            [*OPSDOC, "db", "postgresql", *(word for dsn in dsns for word in ("--dsn", dsn))],
            "\n".join(map(shlex.join, usual)),
            f"`psql -c` with {len(PSQL)} usual queries of each, one by one",
            1.0,
            lambda: [_postgresql_asked(one) for one in servers],
        )


def _postgresql_asked(one: Postgresql) -> Asked:
    ((calls, seconds),) = one.sql(_OF_POSTGRESQL)
    return Asked(calls, float(seconds))


@contextlib.contextmanager
def _mariadb() -> Iterator[Servers]:
    """They measure statements, which MariaDB does not by default."""
    with contextlib.ExitStack() as made:
        primary = made.enter_context(mariadb.server("--performance-schema=ON"))
        primary.sql(f"GRANT BINLOG MONITOR ON *.* TO {mariadb.WATCHER}@'%'")
        replicas = [made.enter_context(mariadb.server("--performance-schema=ON", follows=primary)) for _ in range(2)]
        servers = [primary, *replicas]
        dsns = [one.dsn(mariadb.WATCHER) for one in servers]
        login = ["-u", mariadb.WATCHER, f"-p{mariadb.WATCHER_PASSWORD}", "-h", "127.0.0.1"]
        usual = [
            ["mariadb", "--no-defaults", *login, "-P", str(one.port), "-e", query]
            for one in servers
            for query in MARIADB
        ]
        yield Servers(
            "a MariaDB primary and two replicas",
            [*OPSDOC, "db", "mysql", *(word for dsn in dsns for word in ("--dsn", dsn))],
            "\n".join(map(shlex.join, usual)),
            f"`mariadb -e` with {len(MARIADB)} usual queries of each, one by one",
            4.0,
            lambda: [_mariadb_asked(one) for one in servers],
        )


def _mariadb_asked(one: Mariadb) -> Asked:
    (row,) = one.sql(_OF_MARIADB)
    return Asked(int(str(row["calls"] or 0)), float(str(row["seconds"] or 0)))


# ── the rows ─────────────────────────────────────────────────────────────────────────────────────


def _rows(servers: Servers, rounds: int) -> list[Row]:
    usual = ["/bin/sh", "-ec", servers.usual]
    runs: list[Run] = []
    ours: list[Asked] = []
    costs: list[Cost] = []
    theirs: list[Asked] = []
    for number in range(rounds + 1):
        run, asked = _most_asked(servers, lambda: _run(servers.ours))
        cost, theirs_asked = _most_asked(servers, lambda: cost_of(usual))
        if number:  # the first of each warms the caches
            runs, ours = [*runs, run], [*ours, asked]
            costs, theirs = [*costs, cost], [*theirs, theirs_asked]
    what, beside, limit = f"`opsdoc db`, {servers.product}", servers.usual_name, servers.limit
    own = [run.beyond for run in runs]
    spent, others = [one.seconds for one in ours], [one.seconds for one in theirs]
    walls = [run.cost.wall - WINDOW for run in runs]
    stated = statistics.median(run.stated / asked.seconds for run, asked in zip(runs, ours, strict=True))
    most, beyond, took = max(one.statements for one in ours), statistics.median(own), statistics.median(spent)
    ratio = took / statistics.median(others)
    return [
        Row(f"{what}: wall beyond its window", told(own), "", "< 500 ms", f"{1000 * beyond:.0f} ms", beyond < 0.5),
        compared(f"{what}: the same with its start, beside {beside}", walls, [cost.wall for cost in costs], limit),
        compared(f"{what}: CPU, beside the same", [run.cost.cpu for run in runs], [cost.cpu for cost in costs], limit),
        Row(
            f"{what}: statements that the busiest server counts",
            f"{most}, at both ends of the window",
            f"{max(one.statements for one in theirs)}, once",
            "≤ 20",
            str(most),
            most <= 20,
        ),
        Row(
            f"{what}: their time on the server, by its own statistics",
            told(spent),
            told(others),
            "< 100 ms",
            f"{1000 * took:.0f} ms, {ratio:.1f} ×",
            took < 0.1,
        ),
        Row(
            f"{what}: that time as the report states it, beside what the server's statistics hold afterwards",
            told([run.stated for run in runs]),
            told(spent),
            "0.8–1.25 ×",
            f"{stated:.2f} ×",
            0.8 <= stated <= 1.25,
        ),
    ]


def _run(command: Sequence[str]) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.json"
        cost = cost_of([*command, "--window", f"{WINDOW}s", "-o", str(page), "--json"])
        report = json.loads(page.read_text())
    (result,) = report["results"]
    nodes = [item for item in result["observations"] if item["kind"] == "db_node"]
    by = {node["own_seconds_by"] for node in nodes}
    if len(nodes) != 3 or by != {"server"}:
        raise SystemExit(f"opsdoc saw {len(nodes)} servers, of which the cost is told by {sorted(map(str, by))}")
    return Run(report["elapsed_seconds"] - WINDOW, cost, max(node["own_seconds"] for node in nodes))


def _most_asked(servers: Servers, run: Callable[[], Any]) -> tuple[Any, Asked]:
    """What it gives, and the most that it asks of any of the servers."""
    before = servers.asked()
    given = run()
    grown = [
        (now.statements - was.statements, now.seconds - was.seconds)
        for was, now in zip(before, servers.asked(), strict=True)
    ]
    return given, Asked(max(count for count, _ in grown), max(seconds for _, seconds in grown))
