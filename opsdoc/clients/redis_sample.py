"""The biggest keys of a Redis server by a bounded sample that leaves no trace in its statistics."""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.redis_talk import WITHIN, Talk, talk
from opsdoc.clients.redis_target import Target
from opsdoc.model import Malformed
from opsdoc.parsers import redis_text
from opsdoc.parsers.resp import Failure, Reply
from opsdoc.redact import Redactor

BIGGEST = 20  # keys of a sample that are named
PAGE = 500  # keys that one SCAN is asked for: about 0.1 ms
BATCH = 50  # keys whose size is asked for at once
KEY_SENT = 4096  # bytes: a key that is longer is not sent back to ask for its size


class KeySample(NamedTuple):
    """The memory of keys, by SCAN and MEMORY USAGE: of at most `most` of them, for at most `seconds`.

    They are those that SCAN comes by first; where they stand depends on a hash that each server draws at its start. The
    answer is {looked_at, of, seconds, bytes, keys, refused, error, ended}: `of` is DBSIZE; `keys` are the biggest as
    {key, bytes}, biggest first, as redis-cli takes them between double quotes; `ended` is `all`, `most`, `time` or
    `error`; `refused` counts keys whose size was not told (on a replica in a cluster: all). One command is sent for
    each key. Types are not asked for: every way to learn them counts as a hit.
    """

    target: Target
    most: int
    seconds: float

    def key(self) -> str:
        return f"redis {self.target.address}: sample of {self.most} keys of database {self.target.database}"

    def answer(self, live: Live) -> dict[str, Any]:
        within = self.seconds + WITHIN
        return talk(self.target, live, within, lambda talking: _Sample(self, talking, live.redactor).taken())


class _Refused(Exception):
    """The server does not do what the sample needs."""


class _Sample:
    """Keys and their sizes, as far as time and number allow."""

    def __init__(self, wanted: KeySample, talk: Talk, redactor: Redactor) -> None:
        self._wanted = wanted
        self._talk = talk
        self._redactor = redactor
        self._began = time.monotonic()
        self._sizes: dict[bytes, int] = {}
        self._refused = 0

    def taken(self) -> dict[str, Any]:
        database = self._wanted.target.database
        of, error = None, None
        try:
            if database:
                self._one("SELECT", str(database))
            of = self._one("DBSIZE")
            ended = self._look()
        except _Refused as refused:
            ended, error = "error", self._redactor.text(str(refused))
        if database:
            self._talk.ask([("SELECT", "0")])
        biggest = heapq.nlargest(BIGGEST, self._sizes.items(), key=lambda item: item[1])
        return {
            "looked_at": len(self._sizes),
            "of": of if isinstance(of, int) else None,
            "seconds": round(time.monotonic() - self._began, 6),
            "bytes": sum(self._sizes.values()),
            "keys": [{"key": self._redactor.text(redis_text.key_name(key)), "bytes": size} for key, size in biggest],
            "refused": self._refused,
            "error": error,
            "ended": ended,
        }

    def _look(self) -> str:
        """Look at keys page by page; what ended it. Raises _Refused."""
        cursor, left = b"0", self._wanted.most
        seen: set[bytes] = set()
        for _ in range(2 + self._wanted.most // 10):  # a table that was emptied has empty pages without end
            if self._is_late():
                return "time"
            cursor, page = self._page(cursor, min(left, PAGE))
            fresh = [key for key in dict.fromkeys(page) if key not in seen]
            seen.update(fresh[:left])
            for start in range(0, min(left, len(fresh)), BATCH):
                if self._is_late():
                    return "time"
                self._measure(fresh[start : min(left, start + BATCH)])
            if len(fresh) > left:
                return "most"
            left -= len(fresh)
            if cursor == b"0":
                return "all"
            if left <= 0:
                return "most"
        return "most"

    def _is_late(self) -> bool:
        return time.monotonic() - self._began > self._wanted.seconds

    def _page(self, cursor: bytes, count: int) -> tuple[bytes, list[bytes]]:
        match self._one("SCAN", cursor, "COUNT", str(count)):
            case [bytes(after), [*keys]]:
                return after, [key for key in keys if isinstance(key, bytes)]
            case _:
                raise Malformed("not the answer to SCAN")

    def _measure(self, keys: Sequence[bytes]) -> None:
        asked = [key for key in keys if len(key) <= KEY_SENT]
        self._refused += len(keys) - len(asked)
        for key, size in zip(asked, self._talk.ask([("MEMORY", "USAGE", key) for key in asked]), strict=True):
            if isinstance(size, int):
                self._sizes[key] = size
            elif isinstance(size, Failure):
                if not self._sizes and size.code in ("NOPERM", "ERR"):
                    raise _Refused(redis_text.plain(size))
                self._refused += 1

    def _one(self, *words: str | bytes) -> Reply:
        (reply,) = self._talk.ask([words])
        if isinstance(reply, Failure):
            raise _Refused(redis_text.plain(reply))
        return reply
