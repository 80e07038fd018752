"""Who waits for whom in MySQL and MariaDB: lock chains, the root first, and metadata locks that nobody tells of."""

from __future__ import annotations

from collections.abc import Iterator

from opsdoc.looks.db_chains import NOT_SEEN, Chain
from opsdoc.looks.mysql_waits import Moment
from opsdoc.looks.mysql_watch import Watched
from opsdoc.model import Unseen
from opsdoc.signals.contention_facts import LockChain

_BY_HAND = {
    False: "select * from sys.innodb_lock_waits; select * from sys.schema_table_lock_waits; show full processlist",
    True: "select * from information_schema.innodb_lock_waits; show full processlist",
}
_TELLS = {
    False: "UPDATE performance_schema.setup_instruments SET ENABLED = 'YES' WHERE NAME = 'wait/lock/metadata/sql/mdl'",
    True: "INSTALL SONAME 'metadata_lock_info'",
}


def lock_chains(one: Watched, now: Moment) -> Iterator[LockChain]:
    """The chains, those with most waiting sessions first."""
    for chain in now.chains:
        yield chain.observed(one.name, one.product, _end(one, now, chain), one.by_hand(_BY_HAND[one.mariadb]))


def without_holder(one: Watched, now: Moment) -> Iterator[Unseen]:
    """Sessions that wait for a metadata lock where nothing tells who has it."""
    if now.without_holder:
        sessions = ", ".join(map(str, now.without_holder[:5]))
        what = f"who holds the metadata lock that session {sessions} of {one.name} waits for"
        why = "the server does not tell who holds metadata locks"
        yield Unseen(what, "unsupported", why, f"on {one.name}: {_TELLS[one.mariadb]}")


def _end(one: Watched, now: Moment, chain: Chain) -> str:
    if chain.root.prepared:
        return one.by_hand(f"XA ROLLBACK {chain.root.prepared}") if len(now.prepared) == 1 else ""
    return one.by_hand(f"KILL {chain.root.id}") if chain.root.state != NOT_SEEN else ""
