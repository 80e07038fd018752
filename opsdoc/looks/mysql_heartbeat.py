"""How far a MySQL replica is behind by a table of heartbeats, which somebody writes at the origin (pt-heartbeat).

Its rows come through chains and know no idle time. But a text without a zone is in one of two, and a row that stands
still may be one whose writer has ended.
"""

from __future__ import annotations

from opsdoc.looks.mysql_pairs import Link
from opsdoc.looks.mysql_sides import Heartbeat, Side
from opsdoc.model import Unknown

FRESH = 2.0  # seconds: pt-heartbeat writes every second
SAME = 1.5  # seconds between two ages that are one
AHEAD = -2.0  # seconds: what is further ahead is in another zone, not by another clock


def behind_by_table(link: Link) -> float | Unknown | None:
    """Seconds, with what is late by design in them; None where there is no such table, or no row of its source."""
    row = _row(link.replica.last, link)
    if row is None:
        return None
    if link.source is not None and (theirs := _same(row, link.source.last)) is not None:
        return _by_both(row, theirs)
    age = _age(row)
    if isinstance(age, Unknown) or age <= FRESH or _was_written(row, link):
        return age
    return Unknown(
        f"the row of server {row.server_id} in its table of heartbeats is {age:,.0f} s old and did not change: either "
        "its writer has ended, or nothing is applied"
    )


def _by_both(row: Heartbeat, theirs: Heartbeat) -> float | Unknown:
    """By the difference of the two rows, in which the zone is gone."""
    nearest = min((age for age in theirs[1:] if age > AHEAD), default=None)
    if nearest is None or nearest > FRESH:
        return Unknown(f"whoever writes the heartbeats of server {row.server_id} has ended: its source has no new ones")
    return max(0.0, row.age_utc - theirs.age_utc + max(0.0, nearest))


def _row(side: Side, link: Link) -> Heartbeat | None:
    """The row of the server that it follows, or else, in a chain, the newest that is not its own."""
    rows = [row for row in side.heartbeats if row.server_id != side.server_id]
    source = next((row for row in rows if row.server_id == link.channel.primary_id), None)
    if source is not None or len(side.channels) > 1:
        return source
    return min(rows, key=lambda row: row.age_utc, default=None)


def _same(row: Heartbeat, side: Side) -> Heartbeat | None:
    return next((one for one in side.heartbeats if one.server_id == row.server_id), None)


def _age(row: Heartbeat) -> float | Unknown:
    """By the one zone in which it does not lie ahead."""
    ages = [age for age in row[1:] if age > AHEAD]
    if not ages:
        return Unknown("the rows of its table of heartbeats lie ahead of its clock")
    if max(ages) - min(ages) > SAME:
        return Unknown(
            f"the row of server {row.server_id} in its table of heartbeats is {min(ages):,.0f} s or {max(ages):,.0f} s "
            "old: whether it is in UTC it does not say"
        )
    return max(0.0, min(ages))


def _was_written(row: Heartbeat, link: Link) -> bool:
    first, elapsed = link.replica.first, link.elapsed
    before = None if first is None else _same(row, first)
    return before is not None and elapsed is not None and row.age_utc - before.age_utc < elapsed / 2
