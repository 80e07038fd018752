"""What INFO of Redis says: its fields, and those of them that are tables of their own.

Written from the output of 7.0 and the source of src/server.c; fields come and go with versions, so that every one may
be missing. Times are in seconds here, whatever unit a field has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from opsdoc.model import Malformed

FIELDS_CAP = 20_000  # lines: a server with every module has fewer than 2,000
NAME_CAP = 200  # characters

_WHOLE = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,19})?")
Tables = Iterator[tuple[str, Mapping[str, str]]]


class Command(NamedTuple):
    """What calls of a command cost since the counters were reset. Older servers count no failures: None."""

    name: str  # `get`, `config|get`
    calls: int
    seconds: float
    rejected: int | None = None  # before it was run: no permission, out of memory, wrong arguments
    failed: int | None = None


class Latency(NamedTuple):
    """How long calls of a command took, in seconds, by percentile: `{50.0: 0.000012, 99.9: …}`."""

    name: str
    percentiles: Mapping[float, float]


class Database(NamedTuple):
    """The keys of a database; `average_ttl` is an estimate in seconds, None where no key has one."""

    number: int
    keys: int
    expires: int
    average_ttl: float | None


class Replica(NamedTuple):
    """A replica as its master sees it; `lag` is the age of its last word in seconds."""

    address: str
    state: str
    offset: int | None
    lag: int | None


class Watched(NamedTuple):
    """A master as a Sentinel sees it. `sentinels` counts the one asked, too."""

    name: str
    status: str  # ok, sdown, odown, disconnected
    address: str
    replicas: int | None
    sentinels: int | None


class Info(NamedTuple):
    """The fields of an answer as they were written."""

    fields: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """A field; None where this server has it not, or empty."""
        return self.fields.get(name) or None

    def whole(self, name: str) -> int | None:
        """A field that is a whole number."""
        return _whole(self.fields.get(name))

    def number(self, name: str) -> float | None:
        """A field that is a number, with or without `%` behind it."""
        return _number(self.fields.get(name))

    def flag(self, name: str) -> bool | None:
        """A field that is 0 or 1."""
        return {"0": False, "1": True}.get(self.fields.get(name, ""))

    @property
    def commands(self) -> tuple[Command, ...]:
        """The calls by command (INFO commandstats)."""
        return tuple(_commands(self._tables(r"cmdstat_(.+)")))

    @property
    def errors(self) -> dict[str, int]:
        """How often each kind of error was the reply (INFO errorstats, 6.2 and later): `{"OOM": 3}`."""
        counts = {name: _whole(table.get("count")) for name, table in self._tables(r"errorstat_(.+)")}
        return {name: count for name, count in counts.items() if count is not None}

    @property
    def latencies(self) -> tuple[Latency, ...]:
        """How long commands took (INFO latencystats, 7.0 and later)."""
        return tuple(_latencies(self._tables(r"latency_percentiles_usec_(.+)")))

    @property
    def databases(self) -> tuple[Database, ...]:
        """The databases that hold keys."""
        return tuple(_databases(self._tables(r"db([0-9]{1,9})")))

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """The replicas that are connected to this server."""
        return tuple(_replicas(self._tables(r"slave([0-9]{1,9})")))

    @property
    def watched(self) -> tuple[Watched, ...]:
        """The masters that this Sentinel watches."""
        return tuple(_watched(self._tables(r"master([0-9]{1,9})")))

    def _tables(self, names: str) -> Tables:
        """Fields of the form `name:key=value,key=value`: what a pattern picks of their names, and what they hold."""
        for name, value in self.fields.items():
            if (match := re.fullmatch(names, name)) and "=" in value:
                pairs = (part.partition("=") for part in value.split(","))
                yield match[1], {key: held for key, _, held in pairs}


def parse(text: str) -> Info:
    """INFO of any sections. Raises Malformed where there is not one field in it."""
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.rstrip("\r").partition(":")
        if colon and name and not name.startswith("#") and len(name) <= NAME_CAP and len(fields) < FIELDS_CAP:
            fields.setdefault(name, value)
    if not fields:
        raise Malformed(f"not the answer to INFO: {text[:40]!r}")
    return Info(fields)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and _WHOLE.fullmatch(text) else None


def _number(text: str | None) -> float | None:
    bare = (text or "").removesuffix("%")
    return float(bare) if _NUMBER.fullmatch(bare) else None


def _micro(text: str | None) -> float | None:
    number = _number(text)
    return None if number is None else number / 1e6


def _commands(tables: Tables) -> Iterator[Command]:
    for name, table in tables:
        calls, seconds = _whole(table.get("calls")), _micro(table.get("usec"))
        if calls is not None and seconds is not None:
            yield Command(name, calls, seconds, _whole(table.get("rejected_calls")), _whole(table.get("failed_calls")))


def _latencies(tables: Tables) -> Iterator[Latency]:
    for name, table in tables:
        seen = {_number(percentile.removeprefix("p")): _micro(value) for percentile, value in table.items()}
        yield Latency(name, {key: value for key, value in seen.items() if key is not None and value is not None})


def _databases(tables: Tables) -> Iterator[Database]:
    for name, table in tables:
        keys, expires, ttl = (_whole(table.get(field)) for field in ("keys", "expires", "avg_ttl"))
        if keys is not None and expires is not None:
            yield Database(int(name), keys, expires, ttl / 1000 if ttl else None)


def _replicas(tables: Tables) -> Iterator[Replica]:
    for _, table in tables:
        if "ip" in table:
            address = joined(table["ip"], table.get("port", ""))
            yield Replica(address, table.get("state", ""), _whole(table.get("offset")), _whole(table.get("lag")))


def _watched(tables: Tables) -> Iterator[Watched]:
    for _, table in tables:
        if "name" in table:
            counts = _whole(table.get("slaves")), _whole(table.get("sentinels"))
            yield Watched(table["name"], table.get("status", ""), _address(table.get("address", "")), *counts)


def joined(host: str, port: str | int) -> str:
    """Host and port as one address: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(text: str) -> str:
    """An address whose last colon is that of the port, in brackets where it must be."""
    host, colon, port = text.rpartition(":")
    return joined(host, port) if colon else text
