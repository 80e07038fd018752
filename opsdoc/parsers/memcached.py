"""What memcached's `stats` say: the protocol's lines, and the slab classes behind `items` and `slabs`.

Written from the output of 1.6.18 and doc/protocol.txt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from opsdoc.model import Malformed

LINE_CAP = 8 << 10  # bytes
LINES_CAP = 20_000  # 63 slab classes with 40 numbers each are 2,500

_STAT = re.compile(r"STAT (\S{1,250})(?: (.*))?", re.DOTALL)
_ERROR = re.compile(r"(?:CLIENT_|SERVER_)?ERROR\b")
_CLASS = re.compile(r"(?:items:)?([0-9]{1,3}):(\w{1,60})", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?")


class Stats(NamedTuple):
    """The answer to one `stats` command as it was written."""

    fields: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """A field; None where this server has it not, or empty."""
        return self.fields.get(name) or None

    def whole(self, name: str) -> int | None:
        """A field that is a whole number."""
        text = self.fields.get(name, "")
        return int(text) if _WHOLE.fullmatch(text) else None

    def number(self, name: str) -> float | None:
        """A field that is a number, such as `rusage_user`, in the unit it is written in."""
        text = self.fields.get(name, "")
        return float(text) if _NUMBER.fullmatch(text) else None

    @property
    def slabs(self) -> tuple[Slab, ...]:
        """The slab classes of `stats items`, of `stats slabs`, or of both put together, by their number."""
        classes: dict[int, dict[str, int]] = {}
        for name in self.fields:
            value = self.whole(name)
            if value is not None and (match := _CLASS.fullmatch(name)):
                classes.setdefault(int(match[1]), {})[match[2]] = value
        return tuple(_slab(number, fields) for number, fields in sorted(classes.items()))


class Slab(NamedTuple):
    """A slab class. What was not asked for, or what this version does not count, is None."""

    number: int
    chunk_bytes: int | None  # the size of its items
    items: int | None
    memory: int | None  # bytes of its pages
    pages: int | None
    free_chunks: int | None
    hits: int | None
    sets: int | None
    evicted: int | None
    evicted_unfetched: int | None  # thrown away before they were ever read
    evicted_age: int | None  # seconds since the last one that was evicted had been used: small is churn
    age: int | None  # seconds, of the oldest item
    out_of_memory: int | None
    reclaimed: int | None  # expired ones whose place was taken


def _slab(number: int, fields: Mapping[str, int]) -> Slab:
    memory: int | None = None
    match [fields.get(name) for name in ("chunk_size", "chunks_per_page", "total_pages")]:
        case [int(size), int(chunks), int(pages)]:
            memory = size * chunks * pages
    return Slab(
        number,
        chunk_bytes=fields.get("chunk_size"),
        items=fields.get("number", fields.get("used_chunks")),
        memory=memory,
        pages=fields.get("total_pages"),
        free_chunks=fields.get("free_chunks"),
        hits=fields.get("get_hits"),
        sets=fields.get("cmd_set"),
        evicted=fields.get("evicted"),
        evicted_unfetched=fields.get("evicted_unfetched"),
        evicted_age=fields.get("evicted_time"),
        age=fields.get("age"),
        out_of_memory=fields.get("outofmemory"),
        reclaimed=fields.get("reclaimed"),
    )


class Refusal(NamedTuple):
    """An answer that tells of an error, such as `CLIENT_ERROR unauthenticated`."""

    text: str


class Reader:
    """Reads answers to `stats` from what `receive` gives: some bytes, or whatever it raises when there are no more."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._data = bytearray()

    def answer(self) -> dict[str, str] | Refusal:
        """The next answer. Raises Malformed, after which this reader is of no more use."""
        fields: dict[str, str] = {}
        for _ in range(LINES_CAP):
            line = self._line()
            if line in ("END", "RESET"):
                return fields
            if _ERROR.match(line):
                return Refusal(line)
            stat = _STAT.fullmatch(line)
            if stat is None:
                raise Malformed(f"not a line of memcached: {line[:40]!r}")
            fields[stat[1]] = stat[2] or ""
        raise Malformed(f"an answer to stats has more than {LINES_CAP} lines")

    def _line(self) -> str:
        seen = 0
        while (end := self._data.find(b"\r\n", seen)) < 0:
            if len(self._data) > LINE_CAP:
                raise Malformed(f"not a line of memcached: {bytes(self._data[:40])!r}")
            seen = max(0, len(self._data) - 1)
            self._data += self._receive()
        line = self._data[:end].decode("utf-8", "backslashreplace")
        del self._data[: end + 2]
        return line
