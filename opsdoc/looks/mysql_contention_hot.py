"""The statements that a MySQL or MariaDB server spends its time on, by its own statistics of the window, and ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from opsdoc.looks.mysql_contention_sql import HOT
from opsdoc.looks.mysql_sessions import number, whole
from opsdoc.looks.mysql_watch import Look, Watched
from opsdoc.model import Total, Unseen
from opsdoc.signals.contention_facts import HotStatement

OURS = 2  # calls of each of our own statements in the window at most
SLACK = 0.5  # seconds between the ages that a server tells and the times of our looks

_BY_HAND = """select schema_name, digest_text, count_star, sum_timer_wait / 1e12 from
performance_schema.events_statements_summary_by_digest order by sum_timer_wait desc limit 20"""
_OF_THE_SYSTEM = re.compile(r"`?(?:information_schema|performance_schema)`?|SHOW |SET NAMES ", re.IGNORECASE)

Key = tuple[str, str]  # the schema and the digest of a statement


class _Spent(NamedTuple):
    """How often a statement ran and how long in all, in seconds; `known_for` is how old its entry is."""

    calls: int
    seconds: float
    text: str
    known_for: float


def hot_statements(one: Watched, rows: int) -> Iterator[HotStatement | Unseen | Total]:
    """The first `rows` of those that ran in the window, or without one of all time. 0 is all of them."""
    last = one.last
    if last is None or not one.settings:
        return
    if not one.is_on("performance_schema"):
        yield Unseen(
            f"statements of {one.name}",
            "unsupported",
            "performance_schema is off: its hottest statements are not known",
            "performance_schema = ON in its configuration, and a restart",
        )
        return
    now = _told(last)
    spent = list(now.values()) if one.first is None else _of_window(_told(one.first), now, last.at - one.first.at)
    of = sum(statement.seconds for statement in spent)
    hottest = sorted(spent, key=lambda statement: -statement.seconds)
    for statement in hottest[: rows or None]:
        yield _statement(one, statement, of)
    if hottest:
        yield Total(HotStatement.kind, len(hottest))


def _told(look: Look) -> dict[Key, _Spent]:
    rows = [row for row in look.rows(HOT) if row.get("digest") is not None]
    return {(str(row.get("place")), str(row.get("digest"))): _spent(row) for row in rows}


def spent_on_us(look: Look, statements: int | None) -> float | None:
    """Seconds that our session, of so many statements, took by the server's statistics; None where it keeps none."""
    row = next((row for row in look.rows(HOT) if row.get("digest") is None), None)
    if row is None or statements is None or (whole(row.get("calls")) or 0) < statements - 1:
        return None
    return number(row.get("seconds"))


def _spent(row: Mapping[str, Any]) -> _Spent:
    calls, seconds = whole(row.get("calls")) or 0, number(row.get("seconds")) or 0.0
    return _Spent(calls, seconds, str(row.get("statement") or ""), number(row.get("known_for")) or 0.0)


def _of_window(before: Mapping[Key, _Spent], now: Mapping[Key, _Spent], window: float) -> list[_Spent]:
    """What ran in between; one that was not among those looked at before counts only where its entry is new."""
    spent = []
    for key, statement in now.items():
        was = before.get(key)
        if was is None and statement.known_for > window + SLACK:
            continue
        calls, seconds = (was.calls, was.seconds) if was and was.calls <= statement.calls else (0, 0.0)  # else a reset
        ran = statement.calls - calls
        if ran > (OURS if _OF_THE_SYSTEM.search(statement.text) else 0):
            spent.append(statement._replace(calls=ran, seconds=max(0.0, statement.seconds - seconds)))
    return spent


def _statement(one: Watched, spent: _Spent, of: float) -> HotStatement:
    return HotStatement(
        subject=f"{one.name} {spent.text:.60}",
        node=one.name,
        product=one.product,
        statement=spent.text,
        seconds=spent.seconds,
        calls=spent.calls,
        mean=spent.seconds / spent.calls if spent.calls else None,
        share=min(1.0, spent.seconds / of) if of > 0 else None,
        lifetime=one.first is None,
        by_hand=(one.by_hand(_BY_HAND),),
    )
