"""Who waits for whom for a metadata lock: by performance_schema, by the plugin of MariaDB, or by what else is known.

Which request waits for which is in no table: it follows from the modes, by the matrices in the server's manual of
metadata locks. A request also waits for stronger ones that wait themselves, which is how one ALTER stops all readers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

STRONG = frozenset(("EXCLUSIVE", "SHARED_NO_READ_WRITE", "SHARED_NO_WRITE"))  # all later writers queue behind these

_READS = frozenset(("SHARED", "SHARED_HIGH_PRIO", "SHARED_READ"))
_WRITES = frozenset(("SHARED_WRITE", "SHARED_WRITE_LOW_PRIO"))
_X, _SNRW, _SNW, _SRO, _SU = (
    "EXCLUSIVE",
    "SHARED_NO_READ_WRITE",
    "SHARED_NO_WRITE",
    "SHARED_READ_ONLY",
    "SHARED_UPGRADABLE",
)
_TABLE = frozenset((*_READS, *_WRITES, _X, _SNRW, _SNW, _SRO, _SU))
# For a request of a mode: the modes that it waits for where they are held by others, and where they wait themselves.
_HELD: Mapping[str, frozenset[str]] = {
    "SHARED": frozenset((_X,)),
    "SHARED_HIGH_PRIO": frozenset((_X,)),
    "SHARED_READ": frozenset((_X, _SNRW)),
    "SHARED_WRITE": frozenset((_X, _SNRW, _SNW, _SRO)),
    "SHARED_WRITE_LOW_PRIO": frozenset((_X, _SNRW, _SNW, _SRO)),
    _SU: frozenset((_X, _SNRW, _SNW, _SU)),
    _SRO: frozenset((_X, _SNRW, *_WRITES)),
    _SNW: frozenset((_X, _SNRW, _SNW, _SU, *_WRITES)),
    _SNRW: _TABLE - {"SHARED", "SHARED_HIGH_PRIO"},
    _X: _TABLE,
}
_WAITING: Mapping[str, frozenset[str]] = {
    "SHARED": frozenset((_X,)),
    "SHARED_READ": frozenset((_X, _SNRW)),
    "SHARED_WRITE": frozenset((_X, _SNRW, _SNW)),
    "SHARED_WRITE_LOW_PRIO": frozenset((_X, _SNRW, _SNW, _SRO)),
    _SU: frozenset((_X,)),
    _SRO: frozenset((_X, _SNRW)),
    _SNW: frozenset((_X,)),
    _SNRW: frozenset((_X,)),
}
_NONE: frozenset[str] = frozenset()

_DDL = re.compile(
    r"(?:ALTER|DROP|TRUNCATE|RENAME|OPTIMIZE|REPAIR|CREATE\s+(?:\w+\s+){0,3}?(?:INDEX|TRIGGER|TABLE|VIEW))\b",
    re.IGNORECASE,
)
_LOCK_TABLES = re.compile(r"LOCK\s+TABLES?\b.*\bWRITE\b", re.IGNORECASE)
_READING = re.compile(r"(?:SELECT|SHOW|DESC|EXPLAIN|CHECKSUM|WITH)\b", re.IGNORECASE)


class Lock(NamedTuple):
    """A metadata lock that a session has, or wants."""

    session: int
    mode: str
    object: str
    granted: bool


class Waiting(NamedTuple):
    """A session that waits for a metadata lock, as the list of sessions has it; `since` in seconds."""

    session: int
    statement: str
    database: str
    since: float


class Blocked(NamedTuple):
    """What a session wants, and for which others it waits; `guessed` where no table says it."""

    session: int
    mode: str
    object: str
    blockers: tuple[int, ...]
    guessed: bool = False


def blocked(locks: Sequence[Lock]) -> list[Blocked]:
    """Each request that waits, with those that it waits for."""
    found = []
    for want in (lock for lock in locks if not lock.granted):
        others = [lock for lock in locks if lock.object == want.object and lock.session != want.session]
        blockers = dict.fromkeys(lock.session for lock in others if _stops(want, lock))
        found.append(Blocked(want.session, want.mode, want.object, tuple(blockers)))
    return found


def _stops(want: Lock, other: Lock) -> bool:
    if want.mode in _TABLE and other.mode in _TABLE:
        return other.mode in (_HELD if other.granted else _WAITING).get(want.mode, _NONE)
    return other.granted and other.mode != want.mode  # the whole server's, a schema's, a backup's


def wanted(waiting: Iterable[Waiting], held: Sequence[Lock]) -> list[Lock]:
    """What sessions wait for where only the locks that are held are told.

    A statement that changes a table holds a weaker lock on it; of the others, the table is one that they name.
    """
    found = []
    for one in waiting:
        mode = mode_of(one.statement)
        own = [lock.object for lock in held if lock.session == one.session and lock.mode in (_SU, _SNW, _SRO)]
        named = [lock.object for lock in held if lock.session != one.session and _names(one, lock.object)]
        found += [Lock(one.session, mode, name, granted=False) for name in dict.fromkeys(own or named)]
    return found


def guessed(waiting: Sequence[Waiting], opened: Mapping[int, float], databases: Mapping[int, str]) -> list[Blocked]:
    """Who may hold what, where no table tells of metadata locks.

    `opened` maps sessions with a transaction to how long that is open. A statement that changes a table waits for
    transactions that are older than its wait, rather those in its database; all others wait for such a statement.
    """
    strong = [one for one in waiting if mode_of(one.statement) in STRONG]
    found = []
    for one in waiting:
        mode = mode_of(one.statement)
        if mode in STRONG:
            older = [session for session, age in opened.items() if session != one.session and age >= one.since]
            near = [session for session in older if databases.get(session, "") == one.database]
            blockers = near or older
        else:
            behind = [other for other in strong if other.session != one.session and other.since >= one.since]
            near = [other.session for other in behind if other.database == one.database]
            blockers = near or [other.session for other in behind]
        if blockers:
            found.append(Blocked(one.session, mode, "", tuple(blockers), guessed=True))
    return found


def mode_of(statement: str) -> str:
    """The mode of a metadata lock that a statement needs in the end."""
    if _DDL.match(statement):
        return _X
    if _LOCK_TABLES.match(statement):
        return _SNRW
    return "SHARED_READ" if _READING.match(statement) else "SHARED_WRITE"


def _names(one: Waiting, object_: str) -> bool:
    """Whether a statement names a table, `app.orders`, by its name alone only in its own database."""
    database, _, table = object_.rpartition(".")
    if not table:
        return False
    words = re.findall(r"[\w$]+", one.statement.lower())
    return table.lower() in words and (one.database == database or database.lower() in words)
