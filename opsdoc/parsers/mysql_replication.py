"""A channel of a MySQL or MariaDB replica: the rows of SHOW REPLICA STATUS in all dialects, made one record.

Written from MariaDB 10.11 and the manuals of MariaDB 11.8 and MySQL 5.7 to 8.4. Each column may be missing, null, a
number or text; what cannot be read is None. Errors are masked: the one of a duplicate key has the row in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from opsdoc.parsers.redis_info import joined
from opsdoc.parsers.sql_text import masked_error

TEXT_CAP = 200  # characters of a state, a name or a file
SET_CAP = 1 << 20  # characters of a set of transaction ids

Link = Literal["streaming", "connecting", "down"]

_WHOLE = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?", re.ASCII)
_DELAYING = re.compile(r"Waiting until (?:MASTER|SOURCE)_DELAY seconds", re.IGNORECASE)
_IDLE = re.compile(r"(?:Slave|Replica) has read all relay log", re.IGNORECASE)
_LOCKED = re.compile(r"Waiting for .* lock", re.IGNORECASE)


class Place(NamedTuple):
    """A position in a binary log of the primary."""

    file: str
    position: int

    @property
    def number(self) -> int | None:
        """The number of the file: `bin.000012` is 12."""
        digits = self.file.rpartition(".")[2]
        return int(digits) if _WHOLE.fullmatch(digits) else None


class Channel(NamedTuple):
    """One source that a replica follows. Seconds, bytes; `name` is empty for the only or default one.

    `behind` is Seconds_Behind_Master as it stands there, `difference` what MariaDB 11.6 and later tell: the time
    between the last event that came and the last one applied, by the primary's clock. `heartbeats` were counted since
    the link was made; the primary sends one each `period` in which it has nothing else to send.
    """

    name: str
    host: str
    port: int | None
    primary_id: int | None
    primary_uuid: str
    link: Link | None
    link_error: str
    link_errno: int | None
    applies: bool | None
    applier: str  # its state, in the server's words
    apply_error: str
    apply_errno: int | None
    received: Place | None
    executed: Place | None
    relay_position: int | None
    relay_space: int | None
    behind: float | None
    difference: float | None
    delay: float | None
    heartbeats: int | None
    period: float | None
    gtid_received: str  # MariaDB: a position; MySQL: a set
    gtid_applied: str
    only_domains: frozenset[int] = frozenset()  # of MariaDB, where it was told to follow some, or not to
    but_domains: frozenset[int] = frozenset()

    @property
    def primary(self) -> str:
        """Its source as host:port."""
        return joined(self.host, self.port) if self.port is not None else self.host

    @property
    def is_delaying(self) -> bool:
        """Whether the applier waits because it was told to stay behind."""
        return _DELAYING.match(self.applier) is not None

    @property
    def is_idle(self) -> bool:
        """Whether it has applied all that came."""
        return _IDLE.match(self.applier) is not None

    @property
    def waits_for_lock(self) -> bool:
        """Whether the applier says that it waits for a lock, which it does for those of tables, not of rows."""
        return _LOCKED.match(self.applier) is not None

    @property
    def backlog(self) -> int | None:
        """Bytes that came and are not applied: exact within one file of the primary's, else what the relay logs hold.

        Relay logs are removed once they are applied, so that the latter is at most one file too much.
        """
        if self.received is None or self.executed is None:
            return None
        if self.received.file == self.executed.file:
            return max(0, self.received.position - self.executed.position)
        if self.relay_space is None:
            return None
        return max(0, self.relay_space - (self.relay_position or 0))


def channels(rows: Iterable[Mapping[str, Any]]) -> tuple[Channel, ...]:
    """The channels of an answer; a row that names no source, as a row of Group Replication, is none."""
    return tuple(channel for row in rows if (channel := _channel(_modern(row))).host)


def _modern(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row by the new names in lower case: `Master_Host` and `Source_Host` are both `source_host`."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(name, str):
            found.setdefault(name.lower().replace("master", "source").replace("slave", "replica"), value)
    return found


def _channel(row: Mapping[str, Any]) -> Channel:
    return Channel(
        name=_text(row, "connection_name") or _text(row, "channel_name"),
        host=_text(row, "source_host"),
        port=_whole(row, "source_port"),
        primary_id=_whole(row, "source_server_id"),
        primary_uuid=_text(row, "source_uuid"),
        link=_link(_text(row, "replica_io_running")),
        link_error=masked_error(_text(row, "last_io_error", SET_CAP)),
        link_errno=_whole(row, "last_io_errno") or None,
        applies={"yes": True, "no": False}.get(_text(row, "replica_sql_running").lower()),
        applier=_text(row, "replica_sql_running_state") or _text(row, "replica_sql_state"),
        apply_error=masked_error(_text(row, "last_sql_error", SET_CAP)),
        apply_errno=_whole(row, "last_sql_errno") or None,
        received=_place(row, "source_log_file", "read_source_log_pos"),
        executed=_place(row, "relay_source_log_file", "exec_source_log_pos"),
        relay_position=_whole(row, "relay_log_pos"),
        relay_space=_whole(row, "relay_log_space"),
        behind=_number(row, "seconds_behind_source"),
        difference=_number(row, "source_replica_time_diff"),
        delay=_number(row, "sql_delay") or None,
        heartbeats=_whole(row, "replica_received_heartbeats"),
        period=_number(row, "replica_heartbeat_period"),
        gtid_received=_text(row, "gtid_io_pos", SET_CAP) or _text(row, "retrieved_gtid_set", SET_CAP),
        gtid_applied=_text(row, "gtid_replica_pos", SET_CAP) or _text(row, "executed_gtid_set", SET_CAP),
        only_domains=_numbers(row, "replicate_do_domain_ids"),
        but_domains=_numbers(row, "replicate_ignore_domain_ids"),
    )


def _numbers(row: Mapping[str, Any], name: str) -> frozenset[int]:
    return frozenset(int(word) for word in re.findall(r"[0-9]{1,10}", _text(row, name), re.ASCII))


def _link(running: str) -> Link | None:
    """`Yes`, `No`, `Connecting`, and `Preparing` of MariaDB."""
    if running.lower() in ("connecting", "preparing"):
        return "connecting"
    known: dict[str, Link] = {"yes": "streaming", "no": "down"}
    return known.get(running.lower())


def _place(row: Mapping[str, Any], file: str, position: str) -> Place | None:
    name, at = _text(row, file), _whole(row, position)
    return Place(name, at) if name and at is not None and at >= 0 else None


def _text(row: Mapping[str, Any], name: str, most: int = TEXT_CAP) -> str:
    value = row.get(name)
    return value[:most] if isinstance(value, str) else ""


def _whole(row: Mapping[str, Any], name: str) -> int | None:
    value = row.get(name)
    if isinstance(value, int):  # a flag is none of these columns
        return value
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else None


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    return max(0.0, float(value)) if isinstance(value, int | float) and abs(value) < 1e15 else None
