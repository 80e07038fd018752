"""The lines of access logs counted by cache status: of each zone, by the beginning of the URL, and by the URL itself.

By nginx's documentation MISS, EXPIRED and BYPASS (and SCARCE, asked for too rarely to be kept) went to the upstream
for the whole answer. HIT, STALE, UPDATING and REVALIDATED were answered from the cache, though for REVALIDATED the
upstream was asked whether it still holds, and for STALE it may have failed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from opsdoc.parsers.access_log import Block
from opsdoc.parsers.tally import CACHE_STATUSES

MISSES = ("MISS", "EXPIRED", "BYPASS", "SCARCE")
STALE = ("STALE", "UPDATING")  # answered with what is over its time
HITS = ("HIT", *STALE, "REVALIDATED")
STATUS = "upstream_cache_status"
URLS = ("request_uri", "request", "uri", "document_uri")  # what a log may have of a URL, the best first

MOST_URLS = 100_000  # that are told apart: about 30 MB
MOST_PREFIXES = 2_000
OTHER = "(other)"  # what has no path, or is one prefix too many
_HOSTS = ("host", "http_host", "server_name")
_REQUEST = re.compile(rb"[A-Z]{3,10} (\S+)")
_ABSOLUTE = re.compile(rb"https?://[^/?]*", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9._~-]{1,32}", re.ASCII)
_ID = re.compile(r"\d+|(?=.*\d)[0-9A-Fa-f-]{8,}|.*\d.*\d.*\d.*\d.*", re.ASCII)
_FILE = re.compile(r".+\.([A-Za-z][A-Za-z0-9]{0,5})", re.ASCII)


class Repeats(NamedTuple):
    """What URLs tell of fills: `missed` were missed, `again` misses were of one that had been missed before.

    `followed` misses could have been made good: the same URL was asked for again. `whole` is false where there were
    more URLs than are told apart; then these are some of them.
    """

    missed: int = 0
    again: int = 0
    followed: int = 0
    whole: bool = True

    def plus(self, other: Repeats) -> Repeats:
        """Those of two logs, which have no request in common."""
        return Repeats(
            self.missed + other.missed,
            self.again + other.again,
            self.followed + other.followed,
            self.whole and other.whole,
        )


class Zone:
    """The requests of one zone: by status, by prefix and status, and by URL."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.prefixes: dict[str, Counter[str]] = {}
        self._urls: dict[bytes, list[int]] = {}  # misses, and all that did not go round the cache
        self._whole = True

    def count(self, url: bytes, prefix: str, status: str, times: int) -> None:
        """Count requests for a URL."""
        self.statuses[status] += times
        counts = self.prefixes.get(prefix)
        if counts is None:
            prefix = prefix if len(self.prefixes) < MOST_PREFIXES else OTHER
            counts = self.prefixes.setdefault(prefix, Counter())
        counts[status] += times
        if status == "BYPASS":
            return
        seen = self._urls.get(url)
        if seen is None:
            if len(self._urls) >= MOST_URLS:
                self._whole = False
                return
            seen = self._urls[url] = [0, 0]
        seen[0] += times if status == "MISS" else 0
        seen[1] += times

    @property
    def repeats(self) -> Repeats:
        """What its URLs tell."""
        missed = [(misses, asked) for misses, asked in self._urls.values() if misses]
        return Repeats(
            len(missed),
            sum(misses - 1 for misses, _ in missed),
            sum(min(misses, asked - 1) for misses, asked in missed),
            self._whole,
        )


class CacheTally:
    """Counts blocks of lines of one log, in any order; `zone_of` says by the path of a request whose cache it met."""

    def __init__(self, zone_of: Callable[[str], str]) -> None:
        self.rows = 0
        self.unread = 0
        self._zone_of = zone_of
        self._zones: dict[str, Zone] = {}
        self._places: dict[bytes, tuple[Zone, str]] = {}
        self._lines: Counter[tuple[bytes, bytes, bytes]] = Counter()  # counted, but not yet looked at
        self._bare = False  # of them, what was asked for is a whole request line

    def add(self, block: Block) -> None:
        """Count a block that `tally.read` gave."""
        variables = block.fmt.variables
        url = next((name for name in URLS if name in variables), None)
        host = next((name for name in _HOSTS if name in variables), None)
        columns = block.columns([name for name in (STATUS, url, host) if name is not None])
        self.rows += columns.rows
        self.unread += columns.unread
        if STATUS not in columns.values:
            return
        nothing = [b""] * columns.rows
        lines = zip(
            columns.values[STATUS],
            columns.values[url] if url else nothing,
            columns.values[host] if host else nothing,
            strict=True,
        )
        self._lines.update(lines)
        self._bare = url == "request"
        if len(self._lines) > MOST_URLS:
            self._settle()

    @property
    def zones(self) -> Mapping[str, Zone]:
        """What was counted, by the name of the zone."""
        self._settle()
        return self._zones

    def _settle(self) -> None:
        """Look once at each distinct line: they are counted in C until there are many."""
        for (status, asked, name), times in self._lines.items():
            if status in CACHE_STATUSES:
                target = target_of(asked) if self._bare else asked
                zone, prefix = self._place(target)
                zone.count(name + target, prefix, status.decode(), times)
        self._lines.clear()

    def _place(self, target: bytes) -> tuple[Zone, str]:
        place = self._places.get(target)
        if place is None:
            path = path_of(target)
            place = self._zones.setdefault(self._zone_of(path), Zone()), prefix_of(path)
            if len(self._places) < MOST_URLS:
                self._places[target] = place
        return place


def target_of(request: bytes) -> bytes:
    """What a request line asks for: `/a?b` of `GET /a?b HTTP/1.1`; nothing of what is no request line."""
    match = _REQUEST.match(request)
    return match[1] if match else b""


def path_of(target: bytes) -> str:
    """The path of what was asked for, as it stands in the log, without its query; nothing where there is none."""
    path = target[:1024].partition(b"?")[0]
    if not path.startswith(b"/"):
        path = _ABSOLUTE.sub(b"", path, count=1)
    return path.decode("utf-8", "backslashreplace") if path.startswith(b"/") else ""


def prefix_of(path: str) -> str:
    """The first two parts of a path, in which what names one thing is `*`: `/shop/*`, `/static/*.js`.

    Only plain words are kept. What is long, holds many digits or anything that a word has not, may be an id, a token
    or an attack, and is `*`.
    """
    if not path:
        return OTHER
    _, first, *rest = path.split("/", 3)
    if not rest or not rest[0]:
        return f"/{_word(first)}"
    file = _FILE.fullmatch(rest[0]) if "." in rest[0] else None
    return f"/{_word(first)}/*.{file[1]}" if file is not None else f"/{_word(first)}/{_word(rest[0])}"


@lru_cache(4096)
def _word(part: str) -> str:
    return part if not part or (_PLAIN.fullmatch(part) and not _ID.fullmatch(part)) else "*"
