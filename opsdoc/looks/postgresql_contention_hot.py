"""The statements that a PostgreSQL server spends its time on, by its own statistics of the window, and ours there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from opsdoc.clients.postgresql_spent import UNCOUNTED
from opsdoc.looks.postgresql_contention_sql import COUNTED, HOT, MOST_COUNTED
from opsdoc.looks.postgresql_watch import Watched
from opsdoc.model import Total, Unseen
from opsdoc.signals.contention_facts import HotStatement

_NO_EXTENSION = "pg_stat_statements is not in the database that was named: its hottest statements are not known"
_INSTALL = "CREATE EXTENSION pg_stat_statements (and shared_preload_libraries = 'pg_stat_statements')"
_BY_HAND = "select calls, total_exec_time, query from pg_stat_statements order by total_exec_time desc limit 20"
_MILLI = 1000.0

Key = tuple[int, int, int]  # user, database and the id of the statement


class _Spent(NamedTuple):
    """How often a statement ran and how long in all, in seconds."""

    calls: int
    seconds: float
    text: str = ""


class _Told(NamedTuple):
    """What the statistics held at one time; `seconds` is that of all statements, ours included."""

    seconds: float
    statements: Mapping[Key, _Spent]


def hot_statements(one: Watched, rows: int) -> Iterator[HotStatement | Unseen | Total]:
    """The first `rows` of those that ran in the window or, where none did, of all time. 0 is all of them."""
    look = one.told[-1]
    if look.rows(HOT) == []:
        yield Unseen(f"statements of {one.name}", "unsupported", _NO_EXTENSION, _INSTALL)
    if (row := look.row(HOT)) is None:
        return
    now, first = _told(row), one.told[0].row(COUNTED)
    spent = _of_window(_told(first), now) if first is not None and len(one.told) > 1 else _Told(0.0, {})
    lifetime = not spent.statements
    told = now if lifetime else spent
    hottest = sorted(told.statements.values(), key=lambda statement: -statement.seconds)
    for statement in hottest[: rows or None]:
        yield _statement(one, statement, told.seconds, lifetime=lifetime)
    if hottest:
        yield Total(HotStatement.kind, len(hottest))


def spent_on_us(one: Watched) -> float | None:
    """Seconds that our statements took by its statistics, and by its clock for the one that reads them.

    None where it keeps none, or others' are among them: those of another run, as the same role.
    """
    session, row = one.session, one.told[-1].row(HOT)
    if session is None or session.before is None or row is None or "ours" not in row["told"]:
        return None
    calls, milliseconds = (now - before for now, before in zip(row["told"]["ours"], session.before, strict=True))
    refused = sum(len(look.said.errors) for look in one.told)  # which are not counted
    if calls != session.statements - UNCOUNTED - refused or milliseconds < 0:
        return None
    return float(round(milliseconds / _MILLI + row["told"]["took"], 6))


def _told(row: Mapping[str, Any]) -> _Told:
    told = row["told"]
    statements: dict[Key, _Spent] = {}
    for user, database, query, calls, milliseconds, *more in told["rows"] or ():
        before = statements.get((user, database, query), _Spent(0, 0.0))  # it stands there for each nesting
        text = (more[0]["query"] or "") if more else ""
        statements[user, database, query] = _Spent(before.calls + calls, before.seconds + milliseconds / _MILLI, text)
    return _Told((told["all"] or 0.0) / _MILLI, statements)


def _of_window(before: _Told, now: _Told) -> _Told:
    """What ran in between; after a reset of the statistics, what is counted now."""
    all_before = len(before.statements) < MOST_COUNTED
    was_reset = now.seconds < before.seconds
    spent: dict[Key, _Spent] = {}
    for key, statement in now.statements.items():
        was = None if was_reset else before.statements.get(key)
        if was is None and not (all_before or was_reset):
            continue  # it may have been there among those that were not looked at
        calls, seconds = (was.calls, was.seconds) if was and was.calls <= statement.calls else (0, 0.0)
        if statement.calls > calls:
            spent[key] = _Spent(statement.calls - calls, max(0.0, statement.seconds - seconds), statement.text)
    return _Told(now.seconds - (0.0 if was_reset else before.seconds), spent)


def _statement(one: Watched, spent: _Spent, of: float, *, lifetime: bool) -> HotStatement:
    return HotStatement(
        subject=f"{one.name} {spent.text:.60}",
        node=one.name,
        statement=spent.text,
        seconds=spent.seconds,
        calls=spent.calls,
        mean=spent.seconds / spent.calls if spent.calls else None,
        share=min(1.0, spent.seconds / of) if of > 0 else None,
        lifetime=lifetime,
        by_hand=(one.by_hand(_BY_HAND),),
    )
