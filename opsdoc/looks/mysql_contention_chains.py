"""Who waits for whom in MySQL and MariaDB: lock chains, the root first, and metadata locks that nobody tells of."""

from __future__ import annotations

from collections.abc import Iterator

from opsdoc.looks.db_chains import NOT_SEEN, PREPARED, Chain
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
        yield _chain(one, now, chain)


def without_holder(one: Watched, now: Moment) -> Iterator[Unseen]:
    """Sessions that wait for a metadata lock where nothing tells who has it."""
    if now.without_holder:
        sessions = ", ".join(map(str, now.without_holder[:5]))
        what = f"who holds the metadata lock that session {sessions} of {one.name} waits for"
        why = "the server does not tell who holds metadata locks"
        yield Unseen(what, "unsupported", why, f"on {one.name}: {_TELLS[one.mariadb]}")


def _chain(one: Watched, now: Moment, chain: Chain) -> LockChain:
    root = chain.root
    shown = tuple(
        waiter._replace(session=_shown(waiter.session), blocked_by=tuple(map(_shown, waiter.blocked_by)))
        for waiter in chain.sessions
    )
    return LockChain(
        subject=f"{one.name} prepared {root.prepared}" if root.prepared else f"{one.name} session {root.id}",
        node=one.name,
        product=one.product,
        waiting=chain.waiting,
        longest=chain.longest,
        root=_shown(root.id),
        root_state=root.state,
        root_open=root.open,
        root_user=root.user,
        root_application=root.application,
        root_prepared=root.prepared,
        root_is_applier=root.applier,
        blocks_applier=chain.blocks_applier,
        object=chain.object,
        sessions=shown,
        end_root=_end(one, now, chain),
        by_hand=(one.by_hand(_BY_HAND[one.mariadb]),),
    )


def _end(one: Watched, now: Moment, chain: Chain) -> str:
    if chain.root.prepared:
        return one.by_hand(f"XA ROLLBACK {chain.root.prepared}") if len(now.prepared) == 1 else ""
    return one.by_hand(f"KILL {chain.root.id}") if chain.root.state != NOT_SEEN else ""


def _shown(session: int) -> int:
    return max(PREPARED, session)
