"""MariaDB servers in the states that are recorded: each as sick as it is meant to be when it is made."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from servers import mariadb, programs
from servers.mariadb import Mariadb

LISTEN = "--window 3s"  # in which heartbeats come: there is one a second
ROW = "secret-row-data"

Sick = Callable[[contextlib.ExitStack], Sequence[Mariadb]]


class Bare:
    """A server that is asked by somebody who may log in and no more."""

    def __init__(self, server: Mariadb) -> None:
        self.pid = server.pid
        self.dsn = lambda: server.dsn(mariadb.BARE)


def pair(stack: contextlib.ExitStack, *words: str) -> list[Mariadb]:
    """A replica and its primary with a table of orders, in step."""
    made = stack.enter_context(mariadb.pair(*words))
    for one in (made.primary, made.replica):
        one.sql("SET sql_log_bin = 0")
        one.sql(f"GRANT BINLOG MONITOR ON *.* TO {mariadb.WATCHER}@'%'")
        one.sql("SET sql_log_bin = 1")
    made.primary.sql("CREATE TABLE app.orders (id INT PRIMARY KEY AUTO_INCREMENT, item VARCHAR(60))")
    write(made.primary)
    made.in_step()
    return [made.replica, made.primary]


def well(stack: contextlib.ExitStack) -> list[Mariadb]:
    """Both with statistics of their statements, of which there is a load."""
    both = pair(stack, "--performance-schema=ON")
    for one in both:
        stack.enter_context(reading(one))
    return both


@contextlib.contextmanager
def reading(one: Mariadb) -> Iterator[None]:
    """Somebody who reads a few rows, 20 times a second."""
    over = threading.Event()
    session = one.session()

    def run() -> None:
        while not over.wait(0.05):
            session.sql("SELECT COUNT(*) FROM orders WHERE id BETWEEN 3 AND 70")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


def write(primary: Mariadb, rows: int = 20) -> None:
    for _ in range(rows):
        primary.sql(f"INSERT INTO app.orders (item) VALUES ('{ROW}')")


def alone(sick: Sick) -> Sick:
    """The same, and only the replica is asked."""
    return lambda stack: sick(stack)[:1]


def sql_stopped(stack: contextlib.ExitStack) -> list[Mariadb]:
    replica, primary = pair(stack)
    replica.sql("STOP SLAVE SQL_THREAD")
    write(primary)
    time.sleep(0.5)
    return [replica, primary]


def io_stopped(stack: contextlib.ExitStack) -> list[Mariadb]:
    replica, primary = pair(stack)
    replica.sql("STOP SLAVE IO_THREAD")
    write(primary)
    return [replica, primary]


def late_by_design(stack: contextlib.ExitStack) -> list[Mariadb]:
    replica, primary = pair(stack)
    replica.sql("STOP SLAVE")
    replica.sql("CHANGE MASTER TO master_delay = 60, master_heartbeat_period = 1")
    replica.sql("START SLAVE")
    write(primary)
    time.sleep(1.5)
    return [replica, primary]


def duplicate_key(stack: contextlib.ExitStack) -> list[Mariadb]:
    replica, primary = pair(stack)
    replica.sql("SET sql_log_bin = 0")
    replica.sql("INSERT INTO app.orders VALUES (7777, 'of the replica')")
    replica.sql("SET sql_log_bin = 1")
    primary.sql(f"INSERT INTO app.orders VALUES (7777, '{ROW}')")
    programs.wait_until(lambda: replica.slave()["Last_SQL_Errno"], "the error")
    return [replica, primary]


def frozen(stack: contextlib.ExitStack) -> list[Mariadb]:
    replica, primary = pair(stack)
    stack.enter_context(primary.frozen())
    return [replica, primary]


def seldom_a_heartbeat(stack: contextlib.ExitStack) -> list[Mariadb]:
    """A link as it is by default: a heartbeat every 30 s."""
    replica, primary = pair(stack)
    replica.sql("STOP SLAVE")
    replica.sql("CHANGE MASTER TO master_heartbeat_period = 30")
    replica.sql("START SLAVE")
    programs.wait_until(replica.replicates, "the replica to go on")
    return [replica, primary]


def written_to(stack: contextlib.ExitStack) -> list[Mariadb]:
    replica, primary = pair(stack)
    replica.sql(f"INSERT INTO app.orders VALUES (5000, '{ROW}')")
    return [replica, primary]


def locked(stack: contextlib.ExitStack) -> list[Mariadb]:
    """A report on the replica that was left open, for which the applier waits; and a transaction left prepared."""
    replica, primary = pair(stack)
    lost = primary.session()
    lost.sql("XA START 'invoice-7'", "UPDATE orders SET item = 'y' WHERE id = 2", "XA END 'invoice-7'")
    lost.sql("XA PREPARE 'invoice-7'")
    lost.close()
    report = replica.session()
    report.sql("BEGIN", "SELECT * FROM orders WHERE id = 1 FOR UPDATE")
    primary.sql(f"UPDATE app.orders SET item = '{ROW}' WHERE id = 1")
    programs.wait_until(lambda: (replica.slave()["Seconds_Behind_Master"] or 0) >= 2, "the lag")
    return [replica, primary]


def chain(stack: contextlib.ExitStack) -> list[Mariadb]:
    """A replica of a replica whose applier stands."""
    replica, primary = pair(stack)
    last = stack.enter_context(mariadb.server(follows=replica))
    programs.wait_until(last.caught_up, "the last to catch up")
    replica.sql("STOP SLAVE SQL_THREAD")
    write(primary)
    time.sleep(0.5)
    return [last, replica, primary]


def two_sources(stack: contextlib.ExitStack) -> list[Mariadb]:
    """A replica of two, of which it was stopped to follow one."""
    near, far = [stack.enter_context(mariadb.server(f"--gtid-domain-id={domain}")) for domain in (1, 2)]
    both = stack.enter_context(mariadb.server())
    for one in (near, far):
        one.sql("CREATE TABLE IF NOT EXISTS app.orders (id INT PRIMARY KEY AUTO_INCREMENT, item VARCHAR(60))")
    both.follow(near, "near")
    both.follow(far, "far")
    both.sql("STOP SLAVE 'far'")
    return [both, near]


def forbidden(stack: contextlib.ExitStack) -> list[Bare]:
    return [Bare(pair(stack)[0])]


MYSQL: tuple[tuple[str, Callable[[contextlib.ExitStack], Sequence[Mariadb | Bare]], str], ...] = (
    ("well", well, LISTEN),
    ("replica-alone", alone(well), LISTEN),
    ("sql-stopped", sql_stopped, ""),
    ("sql-stopped-replica-alone", alone(sql_stopped), ""),
    ("io-stopped", io_stopped, ""),
    ("io-stopped-replica-alone", alone(io_stopped), ""),
    ("late-by-design", late_by_design, LISTEN),
    ("duplicate-key", duplicate_key, ""),
    ("frozen-primary", frozen, LISTEN),
    ("frozen-primary-replica-alone", alone(frozen), LISTEN),
    ("seldom-a-heartbeat-replica-alone", alone(seldom_a_heartbeat), ""),
    ("written-to", written_to, ""),
    ("locked", locked, ""),
    ("chain", chain, LISTEN),
    ("two-sources", two_sources, LISTEN),
    ("denied", forbidden, ""),
)
