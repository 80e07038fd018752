"""What one PostgreSQL server says of replication, as records: itself, those that follow it, and its slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from opsdoc.clients.sql import Said
from opsdoc.looks.postgresql_statements import REPLICAS, SIDE, SLOTS
from opsdoc.model import Malformed
from opsdoc.parsers.lsn import latest, lsn

_APPLIER_WAITS = ("Lock", "BufferPin")


class Receiver(NamedTuple):
    """The process of a standby that receives. `status` is None where we may not see it; times are seconds ago.

    `heard` is when the last message came, and until the first one, when it `started`.
    """

    status: str | None
    started: float | None
    heard: float | None
    slot: str | None
    upstream: str | None
    written: int | None
    flushed: int | None
    end: int | None  # of the log of the sender, as it told last


class Side(NamedTuple):
    """One server at one time, in seconds: `at` is of our clock, `started`, `now` and `last_commit` are of its own."""

    at: float
    standby: bool
    system: str | None = None  # what all copies of one database have in common
    started: float | None = None
    pid: int | None = None  # of the process that serves us
    now: float | None = None
    written: int | None = None
    received: int | None = None
    replayed: int | None = None
    paused: bool | None = None
    last_commit: float | None = None
    conflicts: int | None = None
    settings: Mapping[str, str] = {}
    archive: bool | None = None
    follows: bool | None = None  # whether it is told whom to follow; None where we may not see that
    application: str | None = None
    upstream: str | None = None
    receiver: Receiver | None = None
    waits_for: str | None = None  # the wait event of its applier
    blocked_by: str | None = None

    @property
    def end(self) -> int | None:
        """How far its log reaches."""
        return latest(self.received, self.replayed) if self.standby else self.written

    @property
    def itself(self) -> tuple[str | None, float | None, str | None] | None:
        """What no other running server has, whatever it is called; None where it does not tell."""
        told = self.system, self.started, self.settings.get("port")
        return None if None in told else told

    def seconds_of(self, setting: str, per_second: float = 1000.0) -> float | None:
        """A setting that is a time; PostgreSQL keeps it in milliseconds, if not told otherwise."""
        text = self.settings.get(setting, "")
        return int(text) / per_second if text.isascii() and text.isdecimal() else None


class Sender(NamedTuple):
    """A replica as the server that it follows sees it. All but `pid` is None where we may not see it."""

    pid: int
    application: str | None = None
    address: str | None = None
    port: int | None = None
    state: str | None = None
    sync: str | None = None
    written: int | None = None
    sent: int | None = None
    write: int | None = None
    flush: int | None = None
    replay: int | None = None
    write_lag: float | None = None
    flush_lag: float | None = None
    replay_lag: float | None = None
    heard: float | None = None
    slot: str | None = None


class Slot(NamedTuple):
    """A slot; `restart` is None where it keeps nothing: never used, or lost."""

    name: str
    type: str
    active: bool | None = None
    written: int | None = None
    restart: int | None = None
    status: str | None = None
    safe: int | None = None


class Look(NamedTuple):
    """All that a server said at one end of the window."""

    side: Side
    senders: tuple[Sender, ...] = ()
    slots: tuple[Slot, ...] = ()


def look(at: float, said: Said) -> Look | None:
    """What a server said at a time of ours, in seconds; None where it did not say what it is.

    Raises Malformed where something is no answer of PostgreSQL.
    """
    sides = said.rows.get(SIDE.name)
    if not sides:
        return None
    senders = [_sender(row) for row in said.rows.get(REPLICAS.name, ())]
    slots = [_slot(row) for row in said.rows.get(SLOTS.name, ())]
    return Look(_side(at, sides[0]), tuple(senders), tuple(slots))


# ── rows to records ──────────────────────────────────────────────────────────────────────────────


class _Row:
    """A row of which each value is of the type that is asked for, or null."""

    def __init__(self, row: object) -> None:
        self._row: Mapping[str, Any] = row if isinstance(row, dict) else {}

    def text(self, name: str) -> str | None:
        value: str | None = self._of(name, str)
        return value

    def whole(self, name: str) -> int | None:
        value: int | None = self._of(name, int)
        return value

    def number(self, name: str) -> float | None:
        value = self._of(name, int, float)
        return None if value is None else float(value)

    def switch(self, name: str) -> bool | None:
        value: bool | None = self._of(name, bool)
        return value

    def position(self, name: str) -> int | None:
        text = self.text(name)
        return None if text is None else lsn(text)

    def row(self, name: str) -> _Row | None:
        value = self._of(name, dict)
        return None if value is None else _Row(value)

    def texts(self, name: str) -> dict[str, str]:
        return {key: value for key, value in (self._of(name, dict) or {}).items() if isinstance(value, str)}

    def _of(self, name: str, *types: type) -> Any:
        value = self._row.get(name)
        if value is None or (isinstance(value, types) and not (isinstance(value, bool) and bool not in types)):
            return value
        raise Malformed(f"{name} is a {type(value).__name__} in an answer of PostgreSQL")


def _side(at: float, told: object) -> Side:
    row = _Row(told)
    standby = row.switch("standby")
    if standby is None:
        raise Malformed("the server does not tell whether it is a standby")
    receiver, applier = row.row("receiver"), row.row("applier")
    waits_for, blocked_by = _applier(applier) if applier is not None else (None, None)
    return Side(
        at,
        standby,
        row.text("system"),
        row.number("started"),
        row.whole("pid"),
        row.number("now"),
        row.position("written"),
        row.position("received"),
        row.position("replayed"),
        row.switch("paused"),
        row.number("last_commit"),
        row.whole("conflicts"),
        row.texts("settings"),
        row.switch("archive"),
        row.switch("follows"),
        row.text("application"),
        row.text("url") or _address(row.text("host"), row.text("port")),
        None if receiver is None else _receiver(receiver),
        waits_for,
        blocked_by,
    )


def _address(host: str | None, port: str | int | None) -> str | None:
    """`host:port`; a folder of sockets is `unix:/folder:port`."""
    if not host:
        return None
    place = f"unix:{host}" if host.startswith("/") else f"[{host}]" if ":" in host else host
    return f"{place}:{port or 5432}"


def _receiver(row: _Row) -> Receiver:
    return Receiver(
        row.text("status"),
        row.number("started"),
        row.number("heard"),
        row.text("slot_name") or None,
        _address(row.text("sender_host"), row.whole("sender_port")),  # from version 11 on
        row.position("written_lsn"),  # from version 13 on
        row.position("flushed_lsn") or row.position("received_lsn"),
        row.position("latest_end_lsn"),
    )


def _applier(row: _Row) -> tuple[str | None, str | None]:
    """What the applier waits for, and who holds that, in words."""
    kind, event, blocker = row.text("type"), row.text("event"), row.row("blocker")
    held = kind in _APPLIER_WAITS or (event or "").startswith("RecoveryConflict")
    if not held or blocker is None:
        return event, "a session that reads there" if held else None
    application, open_for = blocker.text("application"), blocker.number("open")
    of = f" of {blocker.text('user') or 'somebody'}{f' ({application})' if application else ''}"
    return event, f"session {blocker.whole('pid')}{of}{f', open for {open_for:.0f} s' if open_for is not None else ''}"


def _sender(told: object) -> Sender:
    row = _Row(told)
    return Sender(
        pid=row.whole("pid") or 0,
        application=row.text("application"),
        address=row.text("address"),
        port=row.whole("port"),
        state=row.text("state"),
        sync=row.text("sync"),
        written=row.position("written"),
        sent=row.position("sent"),
        write=row.position("write"),
        flush=row.position("flush"),
        replay=row.position("replay"),
        write_lag=row.number("write_lag"),
        flush_lag=row.number("flush_lag"),
        replay_lag=row.number("replay_lag"),
        heard=row.number("heard"),
        slot=row.text("slot"),
    )


def _slot(told: object) -> Slot:
    row = _Row(told)
    return Slot(
        row.text("slot") or "",
        row.text("type") or "physical",
        row.switch("active"),
        row.position("written"),
        row.position("restart"),
        row.text("status"),
        row.whole("safe"),
    )
