"""MySQL and MariaDB: sources and replicas, found out by asking: how late they are, why, and what holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from opsdoc.clients.mysql_target import Target
from opsdoc.host import Host
from opsdoc.looks import mysql_report
from opsdoc.model import Malformed, Observation, Total, Unseen, UsageError, Window
from opsdoc.options import Duration, Opt, PasswordEnv, PasswordFile, Rows, TlsCa, Url, WindowLength
from opsdoc.parsers.dsn import mysql_dsn
from opsdoc.probes import probe
from opsdoc.signals import contention, db_cause, replica_lag
from opsdoc.signals.contention_facts import DbNode, HotStatement, LockChain, OpenTransaction, PreparedTransaction
from opsdoc.signals.replica_lag_facts import ReplicaLag

_TOUCHES = (
    (
        "each server: one session named opsdoc, which only reads, waits 1 s for a lock and 2 s for a statement, and "
        "ends with the run; it asks SHOW and the views of the system at both ends of the window"
    ),
    "no table of yours, but for one that is named heartbeat and has the columns ts and server_id",
)


@probe(
    judges=(replica_lag, contention),
    observes=(ReplicaLag, DbNode, LockChain, OpenTransaction, PreparedTransaction, HotStatement),
    precedence=db_cause.PRECEDENCE,
    example="opsdoc db mysql --dsn mysql://monitor@10.0.0.1/ --dsn mysql://monitor@10.0.0.2/",
    touches=_TOUCHES,
)
def mysql(
    host: Host,
    *,
    dsn: Annotated[list[Url], Opt("mysql://USER@HOST:PORT/, HOST:PORT or the path of a unix socket", "DSN")],
    writer: Annotated[str | None, Opt("the server that the application writes to", "HOST:PORT")] = None,
    user: Annotated[str | None, Opt("the user that asks", "NAME", group="How to get in")] = None,
    password_env: PasswordEnv = None,
    password_file: PasswordFile = None,
    tls_ca: TlsCa = None,
    window: WindowLength = Duration(2),
    rows: Rows = 5,
) -> Iterator[Observation | Unseen | Total | Window]:
    """Tell how far MySQL and MariaDB replicas are behind, why, and what holds the servers: locks, connections.

    Name all servers of a chain for the whole truth: one side alone says what it knows, and whom to ask. A user with
    PROCESS, REPLICATION CLIENT (MariaDB: REPLICA MONITOR, BINLOG MONITOR) and SELECT on performance_schema is enough;
    ~/.my.cnf is read. Whether a link is frozen is seen in a window of more than two periods of its heartbeat. -n is
    for what is not judged.
    """
    if not dsn:
        raise UsageError("--dsn is empty: write mysql://USER@HOST:PORT/")
    targets = [
        Target.of(one, user=user, password_env=password_env, password_file=password_file, ca=tls_ca) for one in dsn
    ]
    if writer is not None:
        writer = _address(writer)
        if writer not in [target.address for target in targets]:
            targets.append(targets[0]._replace(address=writer))
    yield from mysql_report.items(mysql_report.look(host, targets, window), rows, writer)


def _address(writer: str) -> str:
    """The same server as its DSN would be called."""
    try:
        parts = mysql_dsn(writer)
    except Malformed as error:
        raise UsageError(f"bad --writer: {error.detail}: write HOST:PORT") from None
    if parts.user is not None:
        raise UsageError("bad --writer: write HOST:PORT")
    return parts.address
