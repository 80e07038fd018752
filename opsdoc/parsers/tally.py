"""The lines of access logs counted: attempts by server and cause over time, response times, limits, statuses.

Lines are counted in C by what is the same in many of them; Python looks once at each distinct one.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, repeat
from typing import NamedTuple, TypeVar

from opsdoc.parsers.access_log import Block, Columns, blocks
from opsdoc.parsers.attempts import ANSWERS, NO_LIVE, Attempt, Trace, visits_of
from opsdoc.parsers.log_format import LogFormat
from opsdoc.parsers.log_lines import Layout
from opsdoc.parsers.timings import Connects, Quantiles, Timings

MOST_SERVERS = 20_000
MOST_TRACES = 20_000
MOST_SLOTS = 300_000  # 10 seconds of one server
_SETTLED = 64  # blocks between two looks at what was counted: 8 MiB
_PLAIN = ANSWERS | {b"-", b""}  # one attempt that was answered, or none
_STATUS = re.compile(rb"\d{3}", re.ASCII)
CACHE_STATUSES = frozenset(b"MISS BYPASS EXPIRED STALE UPDATING REVALIDATED HIT SCARCE".split())
_LIMITS = frozenset(b"DELAYED REJECTED DELAYED_DRY_RUN REJECTED_DRY_RUN".split())
_CONNECT, _HEADER, _RESPONSE = "upstream_connect_time", "upstream_header_time", "upstream_response_time"
_NO_DIGITS = b"0123456789."
# What distinct lines are made of; what is looked at where an attempt failed; and what else where times are read.
_COUNTED = (
    "status",
    "upstream_addr",
    "upstream_status",
    "upstream_cache_status",
    "limit_req_status",
    "limit_conn_status",
)
_LISTED = (_CONNECT, _HEADER)
_TIMED = ("status", "upstream_addr", "upstream_status")

_T = TypeVar("_T")
_Row = tuple[bytes, ...]
_Failed = tuple[_Row, "bytes | None", "bytes | None"]


class Slot(NamedTuple):
    """Ten seconds of a server from `start` (unix time) on: attempts that were answered, and that failed."""

    start: int
    fine: int
    failed: int


class _Line(NamedTuple):
    """What is the same in many lines, and how many of them there were in each slot."""

    values: Mapping[str, bytes]
    slots: Counter[int | None]

    @property
    def plain(self) -> bool:
        """Whether one attempt was answered, or there was none: its times tell nothing of a cause."""
        return self.values.get("upstream_status", b"-") in _PLAIN


def read(data: bytes, fmt: LogFormat) -> Iterator[Block]:
    """Lines of a log, of any number, as the blocks that a `Tally` takes."""
    return blocks(data, fmt)


class Tally:
    """Counts blocks of lines, in any order, of any formats.

    `overflow` counts what was left out because there were too many distinct servers, traces, slots or times; it is 0
    unless somebody made that log up. `first` and `last` are the unix times of the earliest and the latest line that
    begins or ends a block.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.unread = 0
        self.first: float | None = None
        self.last: float | None = None
        self._variables: set[str] = set()
        self._overflow = 0
        self._traces: Counter[Trace] = Counter()
        self._statuses: Counter[int] = Counter()
        self._cache: Counter[str] = Counter()
        self._limited: Counter[tuple[str, str, int | None]] = Counter()
        self._timings = Timings()
        self._servers: dict[str, dict[int, list[int]]] = {}  # fine and failed attempts, by slot
        self._slots = self._blocks = 0
        # Counted, but not yet looked at, by slot: all lines, and those with attempts that failed.
        self._lines: dict[Layout, dict[_Row, _Line]] = {}
        self._failed: dict[Layout, dict[_Failed, Counter[int | None]]] = {}
        self._retried: dict[Layout, Counter[tuple[_Row, bytes]]] = {}

    def add(self, block: Block) -> None:
        """Count a block that `read` gave."""
        for at in (block.first, block.last):
            if at is not None:
                self.first = at if self.first is None else min(self.first, at)
                self.last = at if self.last is None else max(self.last, at)
        self._variables.update(block.fmt.variables)
        timed = self._timings.due()
        columns = block.columns(_listed(block.fmt, timed=timed), _COUNTED)
        self.unread += columns.unread
        self.rows += columns.rows
        if columns.rows:
            self._count(columns)
            if timed:
                self._timings.add(columns.values)
        self._timings.passed(columns.rows)
        self._blocks += 1
        if self._blocks % _SETTLED == 0:
            self._settle()

    # ── what came of it ──────────────────────────────────────────────────────────────────────────

    def has(self, variable: str) -> bool:
        """Whether a format had this variable, of those that a tally reads."""
        return variable in self._variables

    @property
    def overflow(self) -> int:
        """What was left out."""
        self._settle()
        return self._overflow + self._timings.overflow

    @property
    def traces(self) -> Mapping[Trace, int]:
        """How many requests had each trace. All are here, those without an upstream included."""
        self._settle()
        return self._traces

    @property
    def statuses(self) -> Mapping[int, int]:
        """Requests by the status that the client got."""
        self._settle()
        return self._statuses

    @property
    def cache(self) -> Mapping[str, int]:
        """Requests by `$upstream_cache_status`, where a cache was asked."""
        self._settle()
        return self._cache

    @property
    def limited(self) -> Mapping[tuple[str, str, int | None], int]:
        """Requests that met a limit: `req` or `conn`, REJECTED, DELAYED or these with _DRY_RUN, and their status."""
        self._settle()
        return self._limited

    @property
    def servers(self) -> tuple[str, ...]:
        """The addresses that were tried, the most common not necessarily first."""
        self._settle()
        return tuple(self._servers)

    @property
    def retry_seconds(self) -> Quantiles:
        """The time that the failed attempts of a request took, of those that another attempt made good."""
        self._settle()
        return self._timings.retries()

    def series(self, address: str) -> tuple[Slot, ...]:
        """The attempts on a server over time, where there were any."""
        self._settle()
        slots = self._servers.get(address, {})
        return tuple(Slot(start, *slots[start]) for start in sorted(slots))

    def times(self, address: str) -> Quantiles:
        """Response times of the attempts that a server answered."""
        return self._timings.response.quantiles(address)

    def header(self, address: str) -> Quantiles:
        """The same, until the header of the answer had been read."""
        return self._timings.header.quantiles(address)

    def connect(self, address: str) -> Connects:
        """Connect times of all attempts that got a connection."""
        return self._timings.connect.connects(address)

    # ── counting ─────────────────────────────────────────────────────────────────────────────────

    def _count(self, columns: Columns) -> None:
        """Count what is the same in many lines, block by block, for each has few distinct ones."""
        layout, slots = columns.layout, columns.slots
        rows: Iterable[_Row] = zip(*columns.packed, strict=True) if columns.packed else repeat((), columns.rows)
        if slots is None or isinstance(slots, int):
            counted = Counter({(row, slots): count for row, count in Counter(rows).items()})
        else:
            counted = Counter(zip(rows, slots, strict=True))
        lines = self._lines.setdefault(layout, {})
        failed: set[_Row] = set()
        for (row, slot), count in counted.items():
            line = lines.get(row)
            if line is None:
                line = lines[row] = _Line(layout.values(row), Counter())
            line.slots[slot] += count
            if not line.plain:
                failed.add(row)
        place = layout.place("upstream_status")
        if failed and place is not None:
            self._count_failed(columns, place, {row[place] for row in failed})

    def _count_failed(self, columns: Columns, place: int, texts: set[bytes]) -> None:
        """Count lines with an attempt that failed, or several; of these it matters, too, which of their times came."""
        values, slots = columns.values, columns.slots
        chosen = list(compress(range(columns.rows), map(texts.__contains__, columns.packed[place])))

        def of(column: Sequence[_T]) -> list[_T]:
            return [column[number] for number in chosen]

        rows = list(zip(*map(of, columns.packed), strict=True))
        connects, headers = (
            _shapes(of(values[name])) if name in values else repeat(None) for name in (_CONNECT, _HEADER)
        )
        each = repeat(slots) if slots is None or isinstance(slots, int) else of(slots)
        failed = self._failed.setdefault(columns.layout, defaultdict(Counter))
        for row, connect, header, slot in zip(rows, connects, headers, each, strict=False):
            failed[row, connect, header][slot] += 1
        if _RESPONSE in values:
            retried = self._retried.setdefault(columns.layout, Counter())
            # Without the time of the last attempt few are distinct.
            retried.update(
                (row, spent)
                for row, time in zip(rows, of(values[_RESPONSE]), strict=True)
                if (spent := time.rpartition(b" ")[0])
            )

    def _settle(self) -> None:
        """Look once at each distinct line."""
        for lines in self._lines.values():
            for line in lines.values():
                self._line(line.values, sum(line.slots.values()))
                if line.plain:
                    self._trace(line.slots, line.values, None, None)
            lines.clear()
        for layout, failed in self._failed.items():
            for (row, connect, header), slots in failed.items():
                values = layout.values(row)
                if values.get("upstream_status", b"-") not in _PLAIN:
                    self._trace(slots, values, connect, header)
            failed.clear()
        for layout, retried in self._retried.items():
            for (row, spent), count in retried.items():
                values = layout.values(row)
                self._timings.add_retry(values.get("status", b"-"), values["upstream_status"], spent, count)
            retried.clear()

    def _line(self, values: Mapping[str, bytes], count: int) -> None:
        status = _number(values)
        if status is not None:
            self._statuses[status] += count
        cache = values.get("upstream_cache_status")
        if cache in CACHE_STATUSES:
            self._cache[cache.decode()] += count
        for kind in ("req", "conn"):
            limit = values.get(f"limit_{kind}_status")
            if limit in _LIMITS:
                self._limited[kind, limit.decode(), status] += count

    def _trace(
        self, slots: Counter[int | None], values: Mapping[str, bytes], connect: bytes | None, header: bytes | None
    ) -> None:
        status, count = _number(values), sum(slots.values())
        addresses, codes = values.get("upstream_addr", b"-"), values.get("upstream_status")
        trace = Trace(visits_of(addresses, codes, connect, header, status), status)
        if trace in self._traces or len(self._traces) < MOST_TRACES:
            self._traces[trace] += count
        else:
            self._overflow += count
        for visit in trace.visits:
            for attempt in visit.attempts:
                if attempt.cause != NO_LIVE and not attempt.given_up:
                    self._attempt(attempt, slots)

    def _attempt(self, attempt: Attempt, slots: Counter[int | None]) -> None:
        server = self._servers.get(attempt.address)
        if server is None:
            if len(self._servers) >= MOST_SERVERS:
                self._overflow += sum(slots.values())
                return
            server = self._servers[attempt.address] = {}
        for slot, count in slots.items():
            if slot is None:
                continue
            if slot not in server:
                if self._slots >= MOST_SLOTS:
                    self._overflow += count
                    continue
                self._slots += 1
                server[slot] = [0, 0]
            server[slot][attempt.cause != ""] += count


# ── values ───────────────────────────────────────────────────────────────────────────────────────


def _listed(fmt: LogFormat, *, timed: bool) -> tuple[str, ...]:
    response = _RESPONSE if _RESPONSE in fmt.variables else "request_time"
    return (response, *_LISTED, *_TIMED) if timed else (response, *_LISTED)


def _shapes(times: list[bytes]) -> list[bytes]:
    """Times without their digits: `-` where there was none, nothing for one, and what stands between attempts."""
    return b"\n".join(times).translate(None, _NO_DIGITS).split(b"\n")


def _number(values: Mapping[str, bytes]) -> int | None:
    """The status that the client got."""
    status = values.get("status", b"")
    return int(status) if _STATUS.fullmatch(status) else None
