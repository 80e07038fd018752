"""What one MySQL or MariaDB server says of replication, as records: itself, what it follows, and its binary log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from opsdoc.clients.sql import Refusal, Said
from opsdoc.looks.mysql_statements import APPLIERS, BINLOGS, HEARTBEAT, LINKS, REPLICA, SERVER
from opsdoc.model import Malformed
from opsdoc.parsers import gtid
from opsdoc.parsers.mysql_replication import Channel, Place, channels

Row = Mapping[str, Any]


class Times(NamedTuple):
    """What MySQL alone tells of a channel: seconds ago, and the transactions that are meant, by their ids.

    `heard` is since anything came; `came` is what came last; `applied` is how old the newest transaction is that was
    applied; `applying` maps those under way to their age, counted from their commit at the origin.
    """

    heartbeats: int | None = None
    period: float | None = None
    heard: float | None = None
    came: str = ""
    applied: float | None = None
    last_applied: tuple[str, ...] = ()
    applying: Mapping[str, float] = {}


class Heartbeat(NamedTuple):
    """A row of a table of heartbeats: how old it is where its text is in the server's zone, and where it is in UTC."""

    server_id: int
    age: float
    age_utc: float


class Side(NamedTuple):
    """One server at one time, `at` seconds since the run began. What it did not tell is None or empty."""

    at: float
    mariadb: bool = True
    server_id: int | None = None
    uuid: str = ""
    port: int | None = None
    applied: str = ""  # MariaDB: gtid_slave_pos
    written: str = ""  # MariaDB: gtid_binlog_pos
    state: str = ""  # MariaDB: gtid_binlog_state
    executed: str = ""  # MySQL: gtid_executed
    logs: bool | None = None
    channels: tuple[Channel, ...] = ()
    times: Mapping[str, Times] = {}
    binlogs: tuple[Place, ...] | None = None
    dumps: tuple[str, ...] = ()  # the addresses of the replicas that fetch from it
    heartbeats: tuple[Heartbeat, ...] = ()
    errors: Mapping[str, Refusal] = {}

    @property
    def untold(self) -> Refusal | None:
        """Why it does not tell what it follows, if it does not."""
        return self.errors.get(REPLICA)

    def channel(self, name: str) -> Channel | None:
        """The channel of that name."""
        return next((channel for channel in self.channels if channel.name == name), None)

    def beyond(self, place: Place | None) -> int | None:
        """Bytes of its binary log from a place on; None where it does not have, or does not tell, that file."""
        if place is None or not self.binlogs:
            return None
        names = [log.file for log in self.binlogs]
        if place.file not in names:
            return None
        after = self.binlogs[names.index(place.file) :]
        return max(0, sum(log.position for log in after) - place.position)

    def written_beyond(self, channel: Channel, reached: str, and_in: str = "") -> int | None:
        """Transactions for a channel of a replica beyond what that reached; None where nobody counts them.

        `reached` is a position of MariaDB or a set of MySQL, `and_in` another set.
        """
        try:
            if self.mariadb:
                written = gtid.mariadb_position(self.written).of(channel.only_domains, channel.but_domains)
                return written.ahead_of(gtid.mariadb_position(reached)) if written.last and reached else None
            executed = gtid.mysql_set(self.executed)
            beyond = executed.without(gtid.mysql_set(reached)).without(gtid.mysql_set(and_in))
        except Malformed:
            return None
        return beyond.size if executed.ranges else None

    def queued(self, channel: Channel) -> int | None:
        """Transactions that came over a channel and are not applied; None where nobody counts them."""
        try:
            if self.mariadb:
                came = gtid.mariadb_position(channel.gtid_received)
                return came.ahead_of(gtid.mariadb_position(channel.gtid_applied)) if came.last else None
            retrieved = gtid.mysql_set(channel.gtid_received)
            return retrieved.without(gtid.mysql_set(channel.gtid_applied)).size if retrieved.ranges else None
        except Malformed:
            return None

    def errant(self, source: Side, *, only_source: bool) -> int | None:
        """Transactions that it has and what it follows has not; None where nobody counts them.

        With several sources (`only_source` false) those of the others are not known, so that only its own count.
        """
        try:
            if self.mariadb:
                known = self.server_id is not None and self.state and source.state
                return gtid.mariadb_errant(self.state, self.server_id or 0, source.state) if known else None
            executed = gtid.mysql_set(self.executed)
            if not executed.ranges or not source.executed:
                return None
            mine = executed if only_source else executed.of(self.uuid)
            return mine.without(gtid.mysql_set(source.executed)).size
        except Malformed:
            return None


def side(at: float, said: Said, *, mariadb: bool, dumps: tuple[str, ...] = ()) -> Side:
    """What a server said at a time. A statement that was refused, or that older ones do not know, leaves a gap."""
    rows = said.rows
    server: Row = next(iter(rows.get(SERVER, ())), {})
    logs = rows.get(BINLOGS)
    return Side(
        at=at,
        mariadb=mariadb,
        server_id=_whole(server.get("server_id")),
        uuid=_text(server.get("uuid")),
        port=_whole(server.get("port")),
        applied=_text(server.get("applied")),
        written=_text(server.get("written")),
        state=_text(server.get("state")),
        executed=_text(server.get("executed")),
        logs=None if (logs_ := _whole(server.get("log_bin"))) is None else bool(logs_),
        channels=channels(rows.get(REPLICA, ())),
        times=_times(rows.get(LINKS, ()), rows.get(APPLIERS, ())),
        binlogs=None if logs is None else tuple(place for row in logs if (place := _log(row)) is not None),
        dumps=dumps,
        heartbeats=tuple(beat for row in rows.get(HEARTBEAT, ()) if (beat := _heartbeat(row)) is not None),
        errors=said.errors,
    )


def _times(links: Sequence[Row], appliers: Sequence[Row]) -> dict[str, Times]:
    names = dict.fromkeys(_text(row.get("channel")) for row in [*links, *appliers])
    return {
        name: _time(
            next((row for row in links if _text(row.get("channel")) == name), {}),
            [row for row in appliers if _text(row.get("channel")) == name],
        )
        for name in names
    }


def _time(link: Row, appliers: Sequence[Row]) -> Times:
    heard = [age for key in ("heartbeat_age", "queued_age") if (age := _age(link.get(key))) is not None]
    applied = [age for row in appliers if (age := _age(row.get("applied_age"))) is not None]
    under_way = {_text(row.get("applying")): _age(row.get("applying_age")) for row in appliers}
    return Times(
        heartbeats=_whole(link.get("heartbeats")),
        period=_age(link.get("period")),
        heard=min(heard, default=None),
        came=_text(link.get("queued")),
        applied=min(applied, default=None),
        last_applied=tuple(_text(row.get("applied")) for row in appliers),
        applying={name: age for name, age in under_way.items() if name and age is not None},
    )


def _log(row: Row) -> Place | None:
    name, size = _text(row.get("Log_name")), _whole(row.get("File_size"))
    return Place(name, size) if name and size is not None and size >= 0 else None


def _heartbeat(row: Row) -> Heartbeat | None:
    server_id = _whole(row.get("server_id"))
    age, age_utc = (_number(row.get(key)) for key in ("age", "age_utc"))
    return None if server_id is None or age is None or age_utc is None else Heartbeat(server_id, age, age_utc)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    if isinstance(value, int):
        return int(value)
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20 else None


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and abs(number) < 1e12 else None


def _age(value: object) -> float | None:
    """Seconds ago; what lies ahead by a clock that differs is now."""
    number = _number(value)
    return None if number is None else max(0.0, number)
