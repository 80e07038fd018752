"""PostgreSQL: a primary, its standbys and theirs, found out by asking: how late they are, why, and what holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from opsdoc.clients.postgresql import Target
from opsdoc.host import Host
from opsdoc.looks import postgresql_report, postgresql_watch
from opsdoc.model import Malformed, Observation, Total, Unseen, UsageError, Window
from opsdoc.options import Duration, Opt, PasswordEnv, PasswordFile, Rows, TlsCa, Url, WindowLength
from opsdoc.parsers.dsn import postgresql_dsn
from opsdoc.probes import probe
from opsdoc.signals import contention, db_cause, replica_lag
from opsdoc.signals.contention_facts import DbNode, HotStatement, LockChain, OpenTransaction, PreparedTransaction
from opsdoc.signals.replica_lag_facts import ReplicaLag, ReplicationSlot

_TOUCHES = (
    (
        "each server: one session named opsdoc, which only reads, waits 0.2 s for a lock and 2 s for a statement, and "
        "ends with the run; it asks the views of the system at both ends of the window, and no table of yours"
    ),
)


@probe(
    judges=(replica_lag, contention),
    observes=(ReplicaLag, ReplicationSlot, DbNode, LockChain, OpenTransaction, PreparedTransaction, HotStatement),
    precedence=db_cause.PRECEDENCE,
    example="opsdoc db postgresql --dsn postgresql://monitor@10.0.0.1/ --dsn postgresql://monitor@10.0.0.2/",
    touches=_TOUCHES,
)
def postgresql(
    host: Host,
    *,
    dsn: Annotated[list[Url], Opt("postgresql://USER@HOST:PORT/DB, 'host=… port=…' or service=NAME", "DSN")],
    writer: Annotated[str | None, Opt("the server that the application writes to", "HOST:PORT")] = None,
    user: Annotated[str | None, Opt("the role that asks", "NAME", group="How to get in")] = None,
    password_env: PasswordEnv = None,
    password_file: PasswordFile = None,
    tls_ca: TlsCa = None,
    window: WindowLength = Duration(2),
    rows: Rows = 5,
) -> Iterator[Observation | Unseen | Total | Window]:
    """Tell how far PostgreSQL replicas are behind, why, and what holds the servers: locks, transactions, connections.

    Name all servers of a chain for the whole truth: one side alone says what it knows, and whom to ask. A role with
    pg_monitor is enough; passwords are found where libpq finds them, too (pgpass, service files). -n is for what is
    not judged. A window of 0 shows no rates.
    """
    if not dsn:
        raise UsageError("--dsn is empty: write postgresql://USER@HOST:PORT/DB")
    targets = [
        Target.of(one, user=user, password_env=password_env, password_file=password_file, ca=tls_ca) for one in dsn
    ]
    if writer is not None:
        writer = _address(writer)
        if writer not in [target.address for target in targets]:
            targets.append(_elsewhere(targets[0], writer))
    seen = postgresql_watch.watch(host, targets, window, postgresql_report.FIRST, postgresql_report.LAST)
    yield from postgresql_report.items(host, seen, rows, writer)


def _address(writer: str) -> str:
    """The same server as its DSN would be called."""
    try:
        dsn = postgresql_dsn(f"postgresql://{writer}/")
    except Malformed:
        dsn = None
    if not writer or dsn is None or dsn.user is not None or len(dsn.addresses) > 1:
        raise UsageError("bad --writer: write HOST:PORT")
    return dsn.address


def _elsewhere(target: Target, address: str) -> Target:
    """Another server with the same login."""
    place, _, port = address.rpartition(":")
    if "://" in target.dsn.partition("=")[0]:
        dsn = f"{target.dsn}{'&' if '?' in target.dsn else '?'}host={place.strip('[]')}&port={port}"
    else:
        dsn = f"{target.dsn} host='{place.strip('[]')}' port={port}"
    return target._replace(address=address, dsn=dsn)
